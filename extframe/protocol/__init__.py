"""The plugin protocol: names, addresses, spec files, manifests, and the JSON of `json_body`. No I/O."""

from __future__ import annotations

import os
import re
import sys
from collections.abc import Callable, Hashable, Mapping
from dataclasses import dataclass, field
from typing import Any, NamedTuple
from urllib.parse import unquote, urlsplit

import msgspec

from ..errors import ProtocolError, SpecError
from ..text import quoted
from .endpoints import TLS_VERSIONS, Endpoint, TLSConfig
from .json_body import (
    as_json,
    byte_order_mark,
    check_decoded_size,
    decode_json,
    encode_json,
    error_in,
    error_words,
    excerpt,
    fold_keys,
)

__all__ = [
    "ACTIVATE",
    "CONFIGURE",
    "MANIFEST_LIMIT",
    "NAME_LIMIT",
    "NOT_CONFIGURED",
    "SPEC_READERS",
    "TLS_VERSIONS",
    "UNIX_PATH_LIMIT",
    "Address",
    "Endpoint",
    "Manifest",
    "PluginSpec",
    "SpecContent",
    "TLSConfig",
    "as_json",
    "byte_order_mark",
    "check_decoded_size",
    "check_name",
    "check_path",
    "decode_json",
    "encode_json",
    "encoding_fault",
    "error_in",
    "error_words",
    "excerpt",
    "fold_keys",
    "hook_name",
    "is_name",
    "read_json_spec",
    "read_url_spec",
]

ACTIVATE = "Plugin.Activate"
CONFIGURE = "Plugin.Configure"  # extframe's own: the settings of a plugin
NOT_CONFIGURED = 428  # the status of calls to a plugin that waits for its settings (RFC 6585: Precondition Required)
LIFELINE = "EXTFRAME_LIFELINE"  # the variable with the number of a descriptor that a host which started a plugin holds
NAME_LIMIT = 255  # bytes: NAME_MAX of Linux's file systems
MANIFEST_LIMIT = 64 * 1024  # bytes: a manifest is a few names, each of which is looked up at every use of the plugin
UNIX_PATH_LIMIT = 107  # bytes: sun_path of unix(7) without the final NUL


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


def is_name(name: str) -> bool:
    """Return whether `check_name` accepts a name."""
    return _name_fault(name) is None


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
        settings: the settings that ``source`` gives the plugin, as docs/settings.md describes; None if it gives none.
        endpoints: the instances of a plugin that has several; empty for the one at ``address``. Where there are some,
            they are called, and ``address`` is that of any of them, for messages.
        paths: for a plugin with a root file system of its own, where its directories are on the host: pairs of
            absolute paths such as ``("/mnt", "/srv/plugin/mnt")``. Typed drivers return the host's paths.
    """

    name: str
    address: str
    tls: TLSConfig | None = None
    source: str = ""
    stamp: Hashable = field(default=None, compare=False, repr=False)
    manifest: Manifest | None = None
    peer_uids: frozenset[int] | None = field(default=None, compare=False, repr=False)
    settings: Mapping[str, object] | None = field(default=None, compare=False, repr=False)
    endpoints: tuple[Endpoint, ...] = ()
    paths: tuple[tuple[str, str], ...] = field(default=(), repr=False)


class SpecContent(NamedTuple):
    """What a spec file contains; see `PluginSpec`."""

    address: str
    tls: TLSConfig | None = None
    endpoints: tuple[Endpoint, ...] = ()


class _TLSKeys(msgspec.Struct, rename="pascal"):
    ca_file: str = msgspec.field(default="", name="CAFile")
    cert_file: str = ""
    key_file: str = ""
    insecure_skip_verify: bool = False
    exclusive_root_pools: bool = False
    min_version: int = 0


class _InstanceKeys(msgspec.Struct, rename="pascal"):
    addr: str = ""
    tls_config: _TLSKeys | None = msgspec.field(default=None, name="TLSConfig")
    zone: str = ""
    weight: int = 1
    draining: bool = False


class _SpecKeys(msgspec.Struct, rename="pascal"):
    addr: str = ""
    addrs: list[str | _InstanceKeys] = []
    tls_config: _TLSKeys | None = msgspec.field(default=None, name="TLSConfig")


_TLS_KEYS = {field.encode_name.lower(): field.encode_name for field in msgspec.structs.fields(_TLSKeys)}
_ADDR_KEYS: Mapping[str, Any] = {"addr": "Addr", "tlsconfig": ("TLSConfig", _TLS_KEYS)}
_INSTANCE_KEYS = {**_ADDR_KEYS, "zone": "Zone", "weight": "Weight", "draining": "Draining"}
_SPEC_KEYS = {**_ADDR_KEYS, "addrs": ("Addrs", _INSTANCE_KEYS)}


def read_url_spec(content: bytes) -> SpecContent:
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
    return SpecContent(str(Address.parse(text)))


def read_json_spec(content: bytes) -> SpecContent:
    """Read a ``.json`` file: an object with ``Addr`` and, for ``https://``, ``TLSConfig``. Keys match in any case.

    ``Addrs`` is a list of instances, each an address, or an object with ``Addr`` and any of ``TLSConfig``, ``Zone``,
    ``Weight`` and ``Draining``. Where there are some, ``Addr`` is for programs that know one address. The file's
    ``TLSConfig`` is that of the instances that have none.

    As for the engine, the first JSON value counts, and what follows is ignored.

    Raises:
        SpecError: it is not JSON or not an object, a key has the wrong type, or the address is missing.
    """
    try:
        keys = msgspec.convert(fold_keys(decode_json(content), _SPEC_KEYS), _SpecKeys)
    except (ProtocolError, msgspec.ValidationError) as wrong:
        raise SpecError(f'{wrong}; expected an object such as {{"Addr": "https://host:port"}}') from None
    if not keys.addr and not keys.addrs:
        raise SpecError("key 'Addr' is missing or empty; expected the plugin's address")
    tls = _tls_of(keys.tls_config)
    endpoints = tuple(_endpoint(each, tls) for each in keys.addrs)
    if keys.addr:
        return SpecContent(str(Address.parse(keys.addr)), tls, endpoints)
    return SpecContent(endpoints[0].address, endpoints[0].tls, endpoints)


def _tls_of(keys: _TLSKeys | None) -> TLSConfig | None:
    return None if keys is None else TLSConfig(**msgspec.structs.asdict(keys))


def _endpoint(keys: str | _InstanceKeys, tls: TLSConfig | None) -> Endpoint:
    if isinstance(keys, str):
        keys = _InstanceKeys(keys)
    if not keys.addr:
        raise SpecError("key 'Addr' of an element of 'Addrs' is missing or empty; expected the address of an instance")
    address = str(Address.parse(keys.addr))
    return Endpoint(address, _tls_of(keys.tls_config) or tls, keys.zone, keys.weight, keys.draining)


SPEC_READERS: Mapping[str, Callable[[bytes], SpecContent]] = {
    ".spec": read_url_spec,
    ".json": read_json_spec,
}
"""The spec-file formats by extension, in the order in which the engine tries them."""


# --- the handshake ------------------------------------------------------------------------------------


class _ManifestKeys(msgspec.Struct, rename="pascal"):
    implements: list[str | None] = []
    versions: object = None
    settings: object = None


@dataclass(frozen=True)
class Manifest:
    """What a plugin declared in the handshake: the extension points that it ``implements``, in its order.

    ``versions`` has the versions of those that are not in version 1 alone, ascending, each with its extension point.
    ``settings`` lists those for which the plugin takes settings.
    """

    implements: tuple[str, ...] = ()
    versions: tuple[tuple[str, tuple[int, ...]], ...] = ()
    settings: tuple[str, ...] = ()

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
            answer = {} if answer is None else fold_keys(answer, _MANIFEST_KEYS)
            keys = msgspec.convert(answer, _ManifestKeys)
        except msgspec.ValidationError as wrong:
            raise ProtocolError(f'{wrong}; expected {{"Implements": [...]}}: {excerpt(body)}') from None
        implements = tuple(dict.fromkeys(point for point in keys.implements if point))
        return cls(implements, _versions(keys.versions), _settings(keys.settings, implements))


_MANIFEST_KEYS = {"implements": "Implements", "versions": "Versions", "settings": "Settings"}


def _settings(value: object, implements: tuple[str, ...]) -> tuple[str, ...]:
    """Return the extension points among the names in a manifest: a plugin may mean something else by this key."""
    names = value if isinstance(value, list) else ()
    return tuple(point for point in implements if point in names)


def _versions(value: object) -> tuple[tuple[str, tuple[int, ...]], ...]:
    """Return the valid ones among the versions of a manifest: a plugin may mean something else by this key."""
    if not isinstance(value, dict):
        return ()
    found = {point: _numbers(numbers) for point, numbers in value.items()}
    return tuple((point, numbers) for point, numbers in found.items() if numbers)


def _numbers(value: object) -> tuple[int, ...]:
    numbers = value if isinstance(value, list) else ()
    return tuple(sorted({number for number in numbers if type(number) is int and number > 0}))
