"""The plugin protocol: names, addresses, spec files, manifests and JSON. No I/O."""

from __future__ import annotations

import os
import re
import sys
from collections.abc import Callable, Hashable, Mapping
from dataclasses import dataclass, field
from typing import Any
from urllib.parse import unquote, urlsplit

import msgspec

from .errors import ProtocolError, SpecError
from .text import UNCHECKED, memory_limit, needs_more_than, quoted

ACTIVATE = "Plugin.Activate"
NAME_LIMIT = 255  # bytes: NAME_MAX of Linux's file systems
MANIFEST_LIMIT = 64 * 1024  # bytes: a manifest is a few names, each of which is looked up at every use of the plugin
UNIX_PATH_LIMIT = 107  # bytes: sun_path of unix(7) without the final NUL
TLS_VERSIONS = {771: "TLSv1.2", 772: "TLSv1.3"}  # constants of Go's crypto/tls, as used in spec files


# --- names --------------------------------------------------------------------------------------------


def check_name(name: str) -> str:
    """Return ``name`` if it can only mean a file inside a plugin directory.

    Raises:
        SpecError: it is empty, "." or "..", contains a separator or a control character, or is longer than 255
            bytes. The engine joins names into paths without such a check (moby ``pkg/plugins/discovery.go``).
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
            return f"it contains {words}"
    if _CONTROL.search(name):
        return "it contains a control character"
    try:
        length = len(name.encode())
    except UnicodeEncodeError:
        return "it is not valid Unicode"
    return f"it is longer than {NAME_LIMIT} bytes" if length > NAME_LIMIT else encoding_fault(name)


def encoding_fault(path: str) -> str | None:
    """Return why no file can have this path in the process's locale; None if one can."""
    try:
        os.fsencode(path)
    except UnicodeEncodeError:
        encoding = sys.getfilesystemencoding()
        return f"file names are {encoding} in this process's locale; set LC_ALL=C.UTF-8 or PYTHONUTF8=1"
    return None


def check_path(path: str) -> str:
    """Return the path of a file or directory if one can exist.

    Raises:
        SpecError: the encoding of the process's locale lacks one of its characters.
    """
    fault = None if path.isascii() else encoding_fault(path)
    if fault is not None:
        raise SpecError(f"{quoted(path)} cannot be a path: {fault}", source=path)
    return path


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
    """How an ``https://`` plugin is verified, and the host's client certificate. Paths are files on the host.

    Args:
        ca_file: PEM certificates to trust in addition to the system's.
        cert_file: the client certificate, PEM; requires ``key_file``.
        key_file: its private key, PEM; requires ``cert_file``.
        insecure_skip_verify: accept any certificate.
        exclusive_root_pools: trust only ``ca_file``.
        min_version: 771 for TLS 1.2 (0 means the same), 772 for TLS 1.3.
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
            raise SpecError(f"TLSConfig: {missing} is missing; CertFile and KeyFile are used together")
        if self.min_version and self.min_version not in TLS_VERSIONS:
            raise SpecError(f"TLSConfig: MinVersion is {self.min_version}; expected 771 (TLS 1.2) or 772 (TLS 1.3)")


@dataclass(frozen=True)
class Address:
    """Where a plugin listens: the ``path`` of a unix socket, or ``host`` and ``port``, with or without TLS.

    The ``host`` is as the system writes it: an IPv6 address without brackets, its zone after ``%``.
    """

    text: str
    path: str = ""
    host: str = ""
    port: int = 0
    tls: bool = False

    @classmethod
    def parse(cls, text: str, *, listening: bool = False) -> Address:
        """Parse an address.

        ``unix:///path``, where the path is not percent-encoded; ``tcp://host[:port]`` and ``http://host[:port]``, which
        mean the same; ``https://host[:port]``. A path after the port, a query and user information are ignored, as by
        the engine (moby ``pkg/plugins/client.go``); ``text`` does not contain the user information. The zone of an IPv6
        address is written ``tcp://[fe80::1%25eth0]:80``.

        Args:
            text: the address.
            listening: whether a server is to listen there, for which port 0 means any free port.

        Raises:
            SpecError: anything else, ``npipe://`` included.
        """
        if not isinstance(text, str):
            raise SpecError(f"{quoted(text)} is not a plugin address: it is not text; {_EXPECTED}")
        try:
            if text != text.strip() or _CONTROL.search(text):  # urlsplit removes only some of these
                raise ValueError("it contains control characters, or white space around it")
            scheme = text.partition(":")[0].lower()
            read = _ADDRESS_READERS.get(scheme)
            if read is None:
                raise ValueError(_scheme_fault(text, scheme))
            address = read(text)
            if not (address.path or address.port or listening):
                raise ValueError("its port is 0; expected a number from 1 to 65535")
            return address
        except ValueError as wrong:
            raise SpecError(f"{quoted(text)} is not a plugin address: {wrong}", address=text) from None

    @property
    def authority(self) -> str:
        """``host:port`` as in a URL."""
        return _joined(self.host.replace("%", "%25"), self.port)

    @property
    def host_header(self) -> str:
        """``host:port`` as in a Host header, in which an IPv6 address has no zone."""
        return _joined(self.host.partition("%")[0], self.port)

    def __str__(self) -> str:
        return self.text


def _joined(host: str, port: int) -> str:
    return f"[{host}]:{port}" if ":" in host else f"{host}:{port}"


_EXPECTED = "expected unix:///path, tcp://host:port, http://host:port or https://host:port"


def _scheme_fault(text: str, scheme: str) -> str:
    if not text.strip():
        return f"it is empty; {_EXPECTED}"
    if scheme == "npipe":
        return f"Windows named pipes are not supported; {_EXPECTED}"
    return f"its scheme is {quoted(scheme)}; {_EXPECTED}" if "://" in text else f"it has no scheme; {_EXPECTED}"


def _unix_address(text: str) -> Address:
    # In unix://rel.sock the host part is a path relative to the working directory, as for the engine.
    path = text[len("unix:") :].removeprefix("//")
    if not path:
        raise ValueError(f"it has no path; {_EXPECTED}")
    if len(path.encode("utf-8", "surrogateescape")) > UNIX_PATH_LIMIT:
        raise ValueError(f"the path of a unix socket has at most {UNIX_PATH_LIMIT} bytes; use a shorter directory")
    fault = None if path.isascii() else encoding_fault(path)
    if fault is not None:
        raise ValueError(fault)
    return Address(text=f"unix://{path}", path=path)


_AUTHORITY = re.compile(r"(?:.*@)?(?:\[(?P<number>[^\[\]]*)\]|(?P<name>[^\[\]:]*))(?::(?P<port>[^:]*))?", re.DOTALL)


def _tcp_address(text: str) -> Address:
    if any(character.isspace() or not character.isprintable() for character in text):
        raise ValueError("it contains white space")
    parts = urlsplit(text)
    tls = parts.scheme == "https"
    found = _AUTHORITY.fullmatch(parts.netloc)
    if found is None:
        raise ValueError("its host and port are ambiguous; an IPv6 address is written in brackets")
    number, name, port = found.group("number", "name", "port")
    host = _unzoned(number) if number else name
    if not host:
        raise ValueError(f"it has no host; {_EXPECTED}")
    if not host.isascii():
        raise ValueError("its host is not ASCII; write it in its DNS form, xn--...")
    if name and "%" in name:
        raise ValueError("its host contains a percent sign; write the host without percent-encoding")
    if "@" in parts.netloc:  # errors must not show a password
        text = parts._replace(netloc=parts.netloc.rpartition("@")[2]).geturl()
    address, percent, zone = host.partition("%")
    return Address(text=text, host=address.lower() + percent + zone, port=_port(port, tls), tls=tls)


def _unzoned(number: str) -> str:
    """Return an IPv6 address as the system writes it, ``fe80::1%eth0`` for ``fe80::1%25eth0`` (RFC 6874)."""
    address, percent, zone = number.partition("%")
    if not percent:
        return number
    if len(zone) < 3 or not zone.startswith("25"):
        raise ValueError(f"the zone of an IPv6 address is written %25{zone or 'eth0'}, as in [fe80::1%25eth0]")
    return f"{address}%{unquote(zone[2:])}"


def _port(given: str | None, tls: bool) -> int:
    if not given:
        return 443 if tls else 80
    if not (given.isascii() and given.isdigit() and len(given) < 10 and int(given) < 1 << 16):
        raise ValueError(f"its port is {quoted(given, 50)}; expected a number from 1 to 65535")
    return int(given)


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
    """Read a ``.spec`` file: one URL, with white space around it.

    Raises:
        SpecError: it is empty, not UTF-8 text, begins with a byte order mark, or is not an address.
    """
    mark = byte_order_mark(content)
    if mark:
        raise SpecError(f"it begins with {mark}; expected one line with a URL")
    try:
        text = content.decode().strip()
    except UnicodeDecodeError as wrong:
        raise SpecError(f"byte {wrong.start} is not UTF-8; expected one line with a URL") from None
    if "\n" in text:
        raise SpecError("line 2: expected nothing after the first line, which is the URL")
    return str(Address.parse(text)), None


def read_json_spec(content: bytes) -> tuple[str, TLSConfig | None]:
    """Read a ``.json`` file: an object with ``Addr`` and, for ``https://``, ``TLSConfig``. Keys match in any case.

    As for the engine, the first JSON value counts, and what follows is ignored.

    Raises:
        SpecError: it is not JSON or not an object, a key has the wrong type, or there is no address.
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
        ValueError: it contains itself, is nested too deeply, or has text that is not Unicode; begins with ``method``,
            if given.
    """
    try:
        return b"" if arguments is None else _encoder.encode(arguments) + b"\n"
    except RecursionError:
        call = f"{method}: " if method else ""
        raise ValueError(
            f"{call}the arguments contain a circular reference, or are nested too deeply for JSON"
        ) from None
    except UnicodeEncodeError:
        call = f"{method}: " if method else ""
        raise ValueError(
            f"{call}{_not_unicode(arguments)} contains a surrogate, as a file name that is not UTF-8 does; "
            "JSON cannot represent it"
        ) from None


def _not_unicode(arguments: object) -> str:
    """Return the name of the argument that cannot be encoded."""
    items = msgspec.structs.asdict(arguments) if isinstance(arguments, msgspec.Struct) else arguments
    names = items if isinstance(items, dict) else {}
    return next((ascii(name) for name, value in names.items() if not _is_unicode({name: value})), "the text")


def _is_unicode(value: object) -> bool:
    try:
        _encoder.encode(value)
    except UnicodeEncodeError:
        return False
    return True


_BYTE_ORDER_MARKS = {b"\xef\xbb\xbf": "UTF-8", b"\xff\xfe": "UTF-16", b"\xfe\xff": "UTF-16"}
_TRAILING = re.compile(r"trailing characters \(byte (\d+)\)")
# Escape sequences in JSON: pairs of surrogates, single ones, and the others.
_ESCAPES = re.compile(
    rb"\\(?:u[dD][89abAB][0-9a-fA-F]{2}\\u[dD][c-fC-F][0-9a-fA-F]{2}|(u[dD][89a-fA-F][0-9a-fA-F]{2})|.)", re.DOTALL
)


def decode_json(body: bytes, decoder: msgspec.json.Decoder[Any] = _decoder, *, exact: bool = False) -> Any:
    """Return the first JSON value in ``body``, as Docker's engine does: what follows it is ignored.

    In strings, bytes that are not UTF-8 and half surrogate pairs become U+FFFD, as for the engine.

    Args:
        body: the bytes.
        decoder: of the expected type.
        exact: whether ``body`` must be one JSON value, without leniency.

    Raises:
        ProtocolError: it does not begin with a JSON value, and the message has the position; or decoding it would need
            too much memory.
        msgspec.ValidationError: the value does not have the decoder's type; the message has the position.
    """
    if len(body) > UNCHECKED:
        check_decoded_size(body)
    try:
        return decoder.decode(body)
    except msgspec.ValidationError as wrong:
        if decoder is not _decoder:
            raise
        raise ProtocolError(f"JSON that cannot be read: {wrong}") from None  # an integer of thousands of digits
    except (msgspec.DecodeError, ValueError) as wrong:
        repaired = None if exact else _repair(body, wrong)
        if repaired is None:
            raise ProtocolError(f"not JSON: {_json_fault(body, wrong)}") from None
        return decode_json(repaired, decoder)
    except RecursionError:
        raise ProtocolError("JSON that cannot be read: nested too deeply") from None


def _repair(body: bytes, wrong: Exception) -> bytes | None:
    """Return what the engine reads in place of ``body``, which is not one JSON value; None if it reads nothing else."""
    if isinstance(wrong, UnicodeDecodeError):
        return body.decode(errors="replace").encode()
    following = _TRAILING.search(str(wrong))
    if following is not None:  # msgspec counts bytes from 1
        return body[: min(int(following[1]), len(body)) - 1]
    repaired = _ESCAPES.sub(lambda escape: b"\\ufffd" if escape[1] else escape[0], body)
    return None if repaired == body else repaired


def _json_fault(body: bytes, wrong: Exception) -> str:
    mark = byte_order_mark(body)
    if mark:
        return f"it begins with {mark}: {excerpt(body)}"
    if _is_page(body):
        text = _text_of(body[: _PAGE_FACTOR * 200]).encode("utf-8", "replace")
        return f"it is an HTML page: {excerpt(text or body)}"
    return f"{wrong}: {excerpt(body) or 'it is empty'}"


def byte_order_mark(content: bytes) -> str:
    """Return a description of the byte order mark that ``content`` begins with, "" if there is none."""
    encoding = next((name for mark, name in _BYTE_ORDER_MARKS.items() if content.startswith(mark)), None)
    return "" if encoding is None else f"a byte order mark of {encoding}; write it as UTF-8 without one"


def check_decoded_size(body: bytes) -> None:
    """Check that decoding ``body`` needs at most 192 MiB of memory, or twelve times its size if it is over 16 MiB.

    Raises:
        ProtocolError: it would need more.
    """
    limit = memory_limit(len(body))
    if needs_more_than(body, limit):
        raise ProtocolError(
            f"decoding {len(body)} bytes of JSON with so many values would take over {limit >> 20} MiB of memory, the "
            "limit; request less at a time, or read the reply with stream()"
        )


def fold_keys(value: object, table: Mapping[str, Any]) -> Any:
    """Return ``value`` with its keys spelled as in ``table``, whatever their case, and without nulls.

    ``table`` maps a lower-case key to its spelling, or to a pair of its spelling and the table for its value. Other
    keys are unchanged. If two spellings of a key occur, the last wins. Objects in a list are folded; lists in lists are
    not, so that the table limits the recursion.
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
_PAGE_FACTOR = 1000  # bytes of HTML searched per character of text: styles and scripts precede it


def excerpt(body: bytes, limit: int = 200) -> str:
    """Return the beginning of ``body`` in one printable line, for a message."""
    text = " ".join(body[: 4 * limit].decode(errors="replace").split())
    text = "".join(character if character.isprintable() else "\ufffd" for character in text)
    return (text[:limit] + "...") if len(text) > limit else text


def error_in(reply: object) -> str:
    """Return the error in a reply with status 200: its ``Err``, or ``Error`` as in IPAM; "" if there is none."""
    return _words(reply, _ERROR_KEYS[:2])


def error_words(body: bytes, *, limit: int | None = None) -> str:
    """Return the plugin's own error message in the body of an error reply.

    That is ``Err``, ``Error`` or ``message`` of a JSON object, unchanged; otherwise the body's text, where an HTML page
    is reduced to its text and text longer than ``limit`` characters is cut.
    """
    body = body.removeprefix(b"\xef\xbb\xbf")
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


# An element or comment that is not closed extends to the end of the page, so that parsing takes linear time. The title
# says what the heading says.
_HTML = re.compile(
    r"<(script|style|head|title)\b.*?(?:</\1\s*>|\Z)|<!--.*?(?:-->|\Z)|<[^<>]*>", re.DOTALL | re.IGNORECASE
)
_PAGE_STARTS = (b"<!doctype", b"<html", b"<?xml", b"<head", b"<body", b"<title")


def _is_page(body: bytes) -> bool:
    return body[:200].lstrip(b"\xef\xbb\xbf \t\r\n").lower().startswith(_PAGE_STARTS)


def _text_of(body: bytes) -> str:
    text = body.decode(errors="replace").lstrip("\ufeff").strip()
    if _is_page(body):
        import html

        text = " ".join(html.unescape(_HTML.sub(" ", text)).split())
    return text


# --- the handshake ------------------------------------------------------------------------------------


class _ManifestKeys(msgspec.Struct, rename="pascal"):
    implements: list[str | None] = []
    versions: object = None


@dataclass(frozen=True)
class Manifest:
    """What a plugin declared in the handshake: the extension points that it ``implements``, in its order.

    ``versions`` has the versions of those that are not in version 1 alone, ascending, each with its extension point.
    """

    implements: tuple[str, ...] = ()
    versions: tuple[tuple[str, tuple[int, ...]], ...] = ()

    def versions_of(self, point: str) -> tuple[int, ...]:
        """Return the versions in which the plugin implements an extension point, ascending."""
        return dict(self.versions).get(point, (1,))

    @classmethod
    def parse(cls, body: bytes) -> Manifest:
        """Parse the response to ``Plugin.Activate``.

        Accepts what the engine accepts: null, missing and extra keys, keys in any case, an ``Err``, which is ignored.
        Duplicates are removed.

        Raises:
            ProtocolError: it is empty, larger than 64 KiB, not JSON or not an object, or ``Implements`` is not a list
                of strings.
        """
        if not body.strip():
            raise ProtocolError('the response is empty; expected {"Implements": [...]}')
        if len(body) > MANIFEST_LIMIT:
            raise ProtocolError(
                f'the response has {len(body)} bytes; expected {{"Implements": [...]}} of at most {MANIFEST_LIMIT}'
            )
        try:
            answer = decode_json(body)
            answer = {} if answer is None else fold_keys(answer, {"implements": "Implements", "versions": "Versions"})
            keys = msgspec.convert(answer, _ManifestKeys)
        except msgspec.ValidationError as wrong:
            raise ProtocolError(f'{wrong}; expected {{"Implements": [...]}}: {excerpt(body)}') from None
        return cls(tuple(dict.fromkeys(point for point in keys.implements if point)), _versions(keys.versions))


def _versions(value: object) -> tuple[tuple[str, tuple[int, ...]], ...]:
    """Return the valid ones among the versions of a manifest: a plugin may mean something else by this key."""
    if not isinstance(value, dict):
        return ()
    found = {point: _numbers(numbers) for point, numbers in value.items()}
    return tuple((point, numbers) for point, numbers in found.items() if numbers)


def _numbers(value: object) -> tuple[int, ...]:
    numbers = value if isinstance(value, list) else ()
    return tuple(sorted({number for number in numbers if type(number) is int and number > 0}))
