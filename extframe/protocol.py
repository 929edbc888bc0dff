"""The protocol's words: names, addresses, spec files, manifests and the JSON envelope. Does no I/O."""

from __future__ import annotations

import os
import re
from collections.abc import Callable, Hashable, Mapping
from dataclasses import dataclass, field
from typing import Any
from urllib.parse import urlsplit

import msgspec

from .errors import ProtocolError, SpecError
from .text import quoted

ACTIVATE = "Plugin.Activate"
NAME_LIMIT = 255  # bytes: NAME_MAX of Linux's file systems
MANIFEST_LIMIT = 64 * 1024  # bytes: a manifest is a few words, each of which is looked up in every use of the plugin
UNIX_PATH_LIMIT = 107  # bytes: sun_path of unix(7) without its closing NUL
TLS_VERSIONS = {771: "TLSv1.2", 772: "TLSv1.3"}  # the numbers of Go's crypto/tls, as spec files have them


# --- names --------------------------------------------------------------------------------------------


def check_name(name: str) -> str:
    """Return ``name`` if it can only mean a file inside a plugin directory.

    Raises:
        SpecError: it is empty, a dot name, holds a separator or a control character, or is over 255 bytes.
            The engine joins names into paths unchecked (moby ``pkg/plugins/discovery.go``); this is where we
            differ.
    """
    fault = _name_fault(name)
    if fault is not None:
        raise SpecError(
            f"{quoted(name)} cannot be a plugin's name: {fault}; a name is a file name without its extension"
        )
    return name


_CONTROL = re.compile(r"[\x00-\x1f\x7f-\x9f]")


def _name_fault(name: str) -> str | None:
    if not isinstance(name, str):
        return "it is not text"
    if not name:
        return "it is empty"
    if name in (".", ".."):
        return "it names a directory"
    for character, words in (("/", "a slash"), ("\\", "a backslash"), ("\0", "a NUL character")):
        if character in name:
            return f"it holds {words}"
    if _CONTROL.search(name):
        return "it holds a control character"
    try:
        length = len(name.encode())
    except UnicodeEncodeError:
        return "it is not valid Unicode"
    return f"it is over {NAME_LIMIT} bytes" if length > NAME_LIMIT else None


def hook_name(point: str) -> str:
    """Return the hook of an extension point: its manifest entry in snake case.

    >>> hook_name("VolumeDriver"), hook_name("HTTPProxy"), hook_name("authz")
    ('volume_driver', 'http_proxy', 'authz')
    """
    words = re.sub(r"(?<=[a-z0-9])(?=[A-Z])|(?<=[A-Z])(?=[A-Z][a-z])", "_", point)
    return words.lower()


# --- addresses ----------------------------------------------------------------------------------------


@dataclass(frozen=True)
class TLSConfig:
    """How an ``https://`` plugin is verified, and how the host identifies itself. Paths are files on the host.

    Args:
        ca_file: PEM certificates to trust in addition to the system's.
        cert_file: the client certificate, PEM; needs ``key_file``.
        key_file: its private key, PEM; needs ``cert_file``.
        insecure_skip_verify: accept any certificate.
        exclusive_root_pools: trust ``ca_file`` alone.
        min_version: 771 for TLS 1.2 (also what 0 means), 772 for TLS 1.3.
    """

    ca_file: str = ""
    cert_file: str = ""
    key_file: str = ""
    insecure_skip_verify: bool = False
    exclusive_root_pools: bool = False
    min_version: int = 0

    def __post_init__(self) -> None:
        if bool(self.cert_file) != bool(self.key_file):
            missing = "KeyFile" if self.cert_file else "CertFile"
            raise SpecError(f"TLSConfig: {missing} is missing; CertFile and KeyFile come together")
        if self.min_version and self.min_version not in TLS_VERSIONS:
            raise SpecError(f"TLSConfig: MinVersion is {self.min_version}; expected 771 (TLS 1.2) or 772 (TLS 1.3)")


@dataclass(frozen=True)
class Address:
    """Where a plugin listens: a unix socket's ``path``, or ``host`` and ``port``, with TLS or without."""

    text: str
    path: str = ""
    host: str = ""
    port: int = 0
    tls: bool = False

    @classmethod
    def parse(cls, text: str) -> Address:
        """Read an address.

        ``unix:///path``, the path as it is, without percent-encoding; ``tcp://host[:port]``
        and ``http://host[:port]``, which mean the same; ``https://host[:port]``. A path after the port, a query
        and a user part mean nothing, as for the engine (moby ``pkg/plugins/client.go``); ``text`` has no user part.

        Raises:
            SpecError: anything else, ``npipe://`` included.
        """
        if not isinstance(text, str):
            raise SpecError(f"{quoted(text)} is not a plugin address: it is not text; {_EXPECTED}")
        try:
            if text != text.strip() or _CONTROL.search(text):  # urlsplit drops some of these, and not all
                raise ValueError("it holds control characters, or white space around it")
            scheme = text.partition(":")[0].lower()
            read = _ADDRESS_READERS.get(scheme)
            if read is None:
                raise ValueError(_scheme_fault(text, scheme))
            return read(text)
        except ValueError as wrong:
            raise SpecError(f"{quoted(text)} is not a plugin address: {wrong}", address=text) from None

    @property
    def authority(self) -> str:
        """``host:port`` as in a Host header."""
        host = f"[{self.host}]" if ":" in self.host else self.host
        return f"{host}:{self.port}"

    def __str__(self) -> str:
        return self.text


_EXPECTED = "expected unix:///path, tcp://host:port, http://host:port or https://host:port"


def _scheme_fault(text: str, scheme: str) -> str:
    if not text.strip():
        return f"it is empty; {_EXPECTED}"
    if scheme == "npipe":
        return f"Windows named pipes are not supported; {_EXPECTED}"
    return f"its scheme is {quoted(scheme)}; {_EXPECTED}" if "://" in text else f"it has no scheme; {_EXPECTED}"


def _unix_address(text: str) -> Address:
    # The host part of unix://rel.sock is a path too, relative to the working directory, as the engine has it.
    path = text[len("unix:") :].removeprefix("//")
    if not path:
        raise ValueError(f"it has no path; {_EXPECTED}")
    if len(path.encode("utf-8", "surrogateescape")) > UNIX_PATH_LIMIT:
        raise ValueError(f"the path of a unix socket has at most {UNIX_PATH_LIMIT} bytes; use a shorter directory")
    return Address(text=f"unix://{path}", path=path)


def _tcp_address(text: str) -> Address:
    parts = urlsplit(text)
    tls = parts.scheme == "https"
    if any(character.isspace() or not character.isprintable() for character in text):
        raise ValueError("it holds white space")
    if not parts.hostname:
        raise ValueError(f"it has no host; {_EXPECTED}")
    if not parts.hostname.isascii():
        raise ValueError("its host is not ASCII; write it as DNS has it, xn--...")
    port = parts.port if parts.port is not None else 443 if tls else 80
    if not port:
        raise ValueError(f"it has no port; {_EXPECTED}")
    if "@" in parts.netloc:  # what errors show must not be a password
        text = parts._replace(netloc=parts.netloc.rpartition("@")[2]).geturl()
    return Address(text=text, host=parts.hostname, port=port, tls=tls)


_ADDRESS_READERS: Mapping[str, Callable[[str], Address]] = {
    "unix": _unix_address,
    "tcp": _tcp_address,
    "http": _tcp_address,
    "https": _tcp_address,
}


# --- spec files ---------------------------------------------------------------------------------------


@dataclass(frozen=True)
class PluginSpec:
    """What a registry knows about a plugin.

    Args:
        name: the plugin's name.
        address: where it listens, as `Address.parse` reads it.
        tls: how an ``https://`` address is verified; None for the defaults.
        source: the file that the plugin was found through, "" if there is none.
        stamp: the identity of ``source`` when it was read; ``Registry.stamp`` returns the current one.
        manifest: what the plugin implements, for plugins that have no handshake; None to ask the plugin.
        peer_uids: the user ids that may answer at a ``unix://`` address, in addition to root and this user; None
            disables the check, which needs SO_PEERCRED.
    """

    name: str
    address: str
    tls: TLSConfig | None = None
    source: str = ""
    stamp: Hashable = field(default=None, compare=False, repr=False)
    manifest: Manifest | None = None
    peer_uids: frozenset[int] | None = field(default=None, compare=False, repr=False)


class _TLSKeys(msgspec.Struct, rename="pascal"):
    ca_file: str = msgspec.field(default="", name="CAFile")
    cert_file: str = ""
    key_file: str = ""
    insecure_skip_verify: bool = False
    exclusive_root_pools: bool = False
    min_version: int = 0


class _SpecKeys(msgspec.Struct, rename="pascal"):
    addr: str = ""
    tls_config: _TLSKeys | None = msgspec.field(default=None, name="TLSConfig")


def read_url_spec(content: bytes) -> tuple[str, TLSConfig | None]:
    """Read a ``.spec`` file: one URL, white space around it.

    Raises:
        SpecError: empty, not text, or no address.
    """
    try:
        text = content.decode().strip()
    except UnicodeDecodeError as wrong:
        raise SpecError(f"byte {wrong.start} is not UTF-8; expected one line with a URL") from None
    if "\n" in text:
        raise SpecError("line 2: expected nothing after the first line, which is the URL")
    return str(Address.parse(text)), None


def read_json_spec(content: bytes) -> tuple[str, TLSConfig | None]:
    """Read a ``.json`` file: an object with ``Addr`` and, for ``https://``, ``TLSConfig``. Keys match in any case.

    Raises:
        SpecError: not JSON, no object, a key of the wrong type, or no address.
    """
    try:
        keys = msgspec.convert(fold_keys(decode_json(content), _SPEC_KEYS), _SpecKeys)
    except (ProtocolError, msgspec.ValidationError) as wrong:
        raise SpecError(f'{wrong}; expected an object such as {{"Addr": "https://host:port"}}') from None
    if not keys.addr:
        raise SpecError("key 'Addr' is missing or empty; expected the plugin's address")
    tls = None if keys.tls_config is None else TLSConfig(**msgspec.structs.asdict(keys.tls_config))
    return str(Address.parse(keys.addr)), tls


SPEC_READERS: Mapping[str, Callable[[bytes], tuple[str, TLSConfig | None]]] = {
    ".spec": read_url_spec,
    ".json": read_json_spec,
}
"""The spec-file formats by extension, in the order in which the engine tries them."""


# --- the JSON envelope --------------------------------------------------------------------------------


def as_json(value: object) -> object:
    """Return the JSON form of an object that msgspec cannot encode: a path is text, and a subclass is its base."""
    if isinstance(value, os.PathLike):
        return os.fspath(value)
    for base in (str, int, float):
        if isinstance(value, base):
            return base.__str__(value) if base is str else base(value)
    raise TypeError(f"Encoding objects of type {type(value).__name__} is unsupported")


_encoder = msgspec.json.Encoder(enc_hook=as_json)
_decoder: msgspec.json.Decoder[Any] = msgspec.json.Decoder()


def encode_json(arguments: object, method: str = "") -> bytes:
    """Return the body of a request: nothing for None, else compact JSON and a newline, as the engine writes it.

    Raises:
        TypeError: msgspec cannot write such an object.
        ValueError: it holds itself, or is nested too deeply; begins with ``method``, where one is given.
    """
    try:
        return b"" if arguments is None else _encoder.encode(arguments) + b"\n"
    except RecursionError:
        call = f"{method}: " if method else ""
        raise ValueError(f"{call}what is to be sent holds itself, or is nested too deeply for JSON") from None


def decode_json(body: bytes, decoder: msgspec.json.Decoder[Any] = _decoder) -> Any:
    """Return the JSON value in ``body``; bytes that are not UTF-8 inside strings become U+FFFD, as the engine has it.

    Raises:
        ProtocolError: not one JSON value, with the place; two exceptions from what the engine accepts:
            bytes after the value and lone surrogates are refused.
        msgspec.ValidationError: the value is not of the decoder's type, with the place.
    """
    try:
        return decoder.decode(body)
    except msgspec.ValidationError as wrong:
        if decoder is not _decoder:
            raise
        raise ProtocolError(f"JSON that cannot be read: {wrong}") from None  # an integer of thousands of digits
    except UnicodeDecodeError:
        return decode_json(body.decode(errors="replace").encode(), decoder)
    except (msgspec.DecodeError, ValueError) as wrong:
        raise ProtocolError(f"not JSON: {wrong}: {excerpt(body) or 'nothing there'}") from None
    except RecursionError:
        raise ProtocolError("not JSON that can be read: nested too deeply") from None


def fold_keys(value: object, table: Mapping[str, Any]) -> Any:
    """Return ``value`` with its keys as ``table`` spells them, whatever their case was, and without its nulls.

    ``table`` maps a lower-case key to the spelling, or to a pair of spelling and the table of what is below.
    Keys that are not in it stay as they are. The last of two spellings of one key wins. In a list, the objects
    are folded; lists in lists are left alone, so that no reply nests deeper than the table.
    """
    if isinstance(value, list):
        return [fold_keys(item, table) if isinstance(item, dict) else item for item in value]
    if not isinstance(value, dict):
        return value
    folded = {}
    for key, item in value.items():
        entry = table.get(key.lower(), key)
        spelling, below = entry if isinstance(entry, tuple) else (entry, None)
        if item is not None:
            folded[spelling] = item if below is None else fold_keys(item, below)
    return folded


_TLS_KEYS = {field.encode_name.lower(): field.encode_name for field in msgspec.structs.fields(_TLSKeys)}
_SPEC_KEYS: Mapping[str, Any] = {"addr": "Addr", "tlsconfig": ("TLSConfig", _TLS_KEYS)}
_ERROR_KEYS = ("err", "error", "message")
_PAGE_FACTOR = 1000  # bytes of a page in which a character of its text is looked for: styles and scripts come first


def excerpt(body: bytes, limit: int = 200) -> str:
    """Return the beginning of ``body`` for a message: one line, printable."""
    text = " ".join(body[: 4 * limit].decode(errors="replace").split())
    text = "".join(character if character.isprintable() else "\ufffd" for character in text)
    return (text[:limit] + "...") if len(text) > limit else text


def error_in(reply: object) -> str:
    """Return what a 200 reply says went wrong: its ``Err``, or ``Error`` as in IPAM; "" when nothing did."""
    return _words(reply, _ERROR_KEYS[:2])


def error_words(body: bytes, *, limit: int | None = None) -> str:
    """Return the plugin's own words in the body of a reply that is an error.

    In a JSON object they are the value of ``Err``, ``Error`` or ``message``, verbatim. Otherwise they are the text
    itself, an HTML page reduced to its text and cut after ``limit`` characters.
    """
    try:
        words = _words(decode_json(body), _ERROR_KEYS)
    except ProtocolError:
        words = ""
    if words:
        return words
    text = _text_of(body if limit is None else body[: _PAGE_FACTOR * limit])
    return text if limit is None or len(text) <= limit else text[:limit] + "..."


def _words(reply: object, keys: tuple[str, ...]) -> str:
    if not isinstance(reply, dict):
        return ""
    found = {key.lower(): item for key, item in reply.items() if isinstance(item, str)}
    return next((found[key] for key in keys if found.get(key)), "")


# An element or comment without an end goes to the end of the page: what a plugin sends is read in linear time.
_HTML = re.compile(r"<(script|style|head)\b.*?(?:</\1\s*>|\Z)|<!--.*?(?:-->|\Z)|<[^<>]*>", re.DOTALL | re.IGNORECASE)


def _text_of(body: bytes) -> str:
    text = body.decode(errors="replace").lstrip("\ufeff").strip()
    if text[:200].lower().startswith(("<!doctype", "<html", "<?xml", "<head", "<body")):
        import html

        text = " ".join(html.unescape(_HTML.sub(" ", text)).split())
    return text


# --- the handshake ------------------------------------------------------------------------------------


class _ManifestKeys(msgspec.Struct, rename="pascal"):
    implements: list[str | None] = []


@dataclass(frozen=True)
class Manifest:
    """What a plugin said of itself in the handshake: the extension points that it ``implements``, in its order."""

    implements: tuple[str, ...] = ()

    @classmethod
    def parse(cls, body: bytes) -> Manifest:
        """Read the answer to ``Plugin.Activate``.

        Accepts what the engine accepts: null, missing and extra keys, keys in any case, an ``Err`` that is
        ignored. A name given twice counts once.

        Raises:
            ProtocolError: empty, over 64 KiB, not JSON, not an object, or ``Implements`` is not a list of strings.
        """
        if not body.strip():
            raise ProtocolError('the answer is empty; expected {"Implements": [...]}')
        if len(body) > MANIFEST_LIMIT:
            raise ProtocolError(
                f'the answer has {len(body)} bytes; expected {{"Implements": [...]}} of at most {MANIFEST_LIMIT}'
            )
        try:
            answer = decode_json(body)
            answer = {} if answer is None else fold_keys(answer, {"implements": "Implements"})
            keys = msgspec.convert(answer, _ManifestKeys)
        except msgspec.ValidationError as wrong:
            raise ProtocolError(f'{wrong}; expected {{"Implements": [...]}}: {excerpt(body)}') from None
        return cls(tuple(dict.fromkeys(point for point in keys.implements if point)))
