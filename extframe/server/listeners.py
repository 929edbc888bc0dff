"""Choose where a plugin listens, and announce it where hosts look. Knows sockets and spec files; no drivers."""

from __future__ import annotations

import errno
import os
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING, TypedDict

import msgspec

from ..errors import SpecError
from ..logs import get_logger
from ..protocol import Address, TLSConfig, check_name, check_path
from ..registry.local import LocalRegistry
from .sockets import Listener, OwnFile, inherit, inherit_from_systemd, listen_tcp
from .tls import ServerTLS
from .unix_socket import listen_unix, make_directory

if TYPE_CHECKING:
    from typing_extensions import Unpack

StrPath = str | os.PathLike[str]

SOCKETS = "/run/docker/plugins"
SPECS = "/etc/docker/plugins"

logger = get_logger(__name__)


class ListenOptions(TypedDict, total=False):
    """Where a plugin listens, as keyword arguments of ``serve`` and ``serving``.

    The default is ``NAME.sock`` in Docker's directory. The first one given wins: ``fd``, ``address``, ``directory``
    and ``app``.
    """

    directory: StrPath | None
    """Where the socket is created: ``/run/docker/plugins`` by default. A missing directory is created."""
    app: str | None
    """The host program whose directories are used, as ``LocalRegistry.for_app`` does."""
    allow_unsafe: bool
    """Accept a directory in which others could replace the socket. Hosts refuse it by default."""
    mode: int
    """Who may connect to the socket: 0o660 by default."""
    group: str | int
    """The group that the socket belongs to, by name or number."""
    address: str
    """``unix:///path``, ``tcp://host:port`` or ``https://host:port``; port 0 is any free port."""
    spec_directory: StrPath | None
    """Where ``NAME.spec`` (TCP) or ``NAME.json`` (TLS) is written: ``/etc/docker/plugins`` by default."""
    advertise: str
    """The address to write into the spec file, if it is another: ``https://photos.example:8443``."""
    tls: ServerTLS
    """What ``https://`` needs: the plugin's certificate and key."""
    host_tls: TLSConfig
    """What the ``.json`` tells hosts: how to verify the plugin, and which certificate to present to it."""
    fd: int
    """The file descriptor of a socket that the parent process opened."""


def listen(name: str, **options: Unpack[ListenOptions]) -> Listener:
    """Listen, and write the spec file if there must be one.

    Raises:
        SpecError: the name or the address cannot be used, TLS and the address do not match, or others can write
            the directory.
        OSError: a process answers there, or the socket or the spec file cannot be created.
    """
    check_name(name)
    if "fd" in options:
        return _encrypted(inherit(options["fd"]), options)
    address = options.get("address")
    if address is None:
        return _listen_unix(Path(_directories(options)[0], f"{name}.sock"), options)
    if address.startswith("unix:"):
        return _listen_unix(Path(Address.parse(address).path), options)
    return _listen_tcp(name, address, options)


def _directories(options: ListenOptions) -> tuple[StrPath, StrPath]:
    """Return where sockets and where spec files are written. One directory that is given is for both."""
    directory, app = options.get("directory"), options.get("app")
    spec_directory = options.get("spec_directory")
    if directory is None and app is not None:
        registry = LocalRegistry.for_app(app)
        return registry.sockets, spec_directory or registry.specs[0]
    chosen = directory or SOCKETS, spec_directory or directory or SPECS
    for each in chosen:
        check_path(os.fspath(each))
    return chosen


def listen_as_started(name: str, **options: Unpack[ListenOptions]) -> Listener:
    """Listen on the sockets that systemd passed, otherwise as `listen`."""
    check_name(name)
    inherited = inherit_from_systemd()
    return listen(name, **options) if inherited is None else _encrypted(inherited, options)


def _encrypted(listener: Listener, options: ListenOptions) -> Listener:
    if "tls" in options:
        listener.address = listener.address.replace("tcp://", "https://", 1)
    return listener


def _listen_unix(path: Path, options: ListenOptions) -> Listener:
    if "tls" in options:
        raise SpecError("tls= is for https:// addresses; a unix socket is protected by mode= and group=")
    try:
        return listen_unix(
            path,
            mode=options.get("mode", 0o660),
            group=options.get("group"),
            allow_unsafe=options.get("allow_unsafe", False),
        )
    except OSError as refused:
        if refused.errno in (errno.EACCES, errno.EPERM, errno.EROFS):
            refused.strerror = f"{refused.strerror}; choose another directory with directory="
        raise


def _listen_tcp(name: str, address: str, options: ListenOptions) -> Listener:
    listener = listen_tcp(address)
    try:
        advertised = Address.parse(options.get("advertise", listener.address))
        encrypted = listener.address.startswith("https:")
        if encrypted != ("tls" in options) or encrypted != advertised.tls:
            raise SpecError(f"{address}: tls=ServerTLS(...) and an https:// address need each other")
        directory = Path(_directories(options)[1])
        listener.file = _write_spec(directory, name, advertised, options.get("host_tls"))
    except BaseException:
        listener.close()
        raise
    return listener


# --- spec files ---------------------------------------------------------------------------------------


class _HostTLS(msgspec.Struct, rename="pascal", omit_defaults=True):
    ca_file: str = msgspec.field(default="", name="CAFile")
    cert_file: str = ""
    key_file: str = ""
    insecure_skip_verify: bool = False
    exclusive_root_pools: bool = False
    min_version: int = 0


def _write_spec(directory: Path, name: str, address: Address, tls: TLSConfig | None) -> OwnFile:
    if not address.tls:
        return _write(directory / f"{name}.spec", f"{address}\n".encode())
    # For a .spec, Docker's engine does not verify the certificate (moby pkg/plugins/discovery.go).
    spec: dict[str, object] = {"Name": name, "Addr": str(address)}
    if tls is not None:
        spec["TLSConfig"] = _HostTLS(**vars(tls))
    if (directory / f"{name}.spec").exists():
        logger.warning("%s hides %s.json: hosts read it first", directory / f"{name}.spec", name)
    return _write(directory / f"{name}.json", msgspec.json.format(msgspec.json.encode(spec)) + b"\n")


def _write(path: Path, content: bytes) -> OwnFile:
    """Write a file atomically."""
    make_directory(path.parent)
    # Without the suffix .spec or .json, hosts do not take it for a plugin.
    import tempfile  # here, as it is slow to import, and the sockets that a host passes need no file

    descriptor, draft = tempfile.mkstemp(prefix=f".{path.name}.", suffix=".tmp", dir=path.parent)
    try:
        with os.fdopen(descriptor, "wb") as file:
            file.write(content)
            file.flush()
            os.fsync(file.fileno())
        os.chmod(draft, 0o644)
        os.replace(draft, path)
    except BaseException as wrong:
        with suppress(FileNotFoundError):
            os.unlink(draft)
        if isinstance(wrong, OSError):
            wrong.filename = str(path)
        raise
    return OwnFile(path)
