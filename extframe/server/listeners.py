"""Choose where a plugin listens, and announce it where hosts look. Knows sockets and spec files; no drivers."""

from __future__ import annotations

import errno
import os
from pathlib import Path
from typing import TYPE_CHECKING, TypedDict

from ..errors import SpecError
from ..protocol import Address, Endpoint, TLSConfig, check_name, check_path
from ..registry.local import LocalRegistry
from .sockets import Listener, inherit, inherit_from_systemd, listen_tcp
from .spec_file import SpecFile
from .tls import ServerTLS
from .unix_socket import listen_unix

if TYPE_CHECKING:
    from typing_extensions import Unpack

StrPath = str | os.PathLike[str]

SOCKETS = "/run/docker/plugins"
SPECS = "/etc/docker/plugins"


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
    """The address that hosts connect to, if it is another: ``https://photos.example:8443``; ``{port}`` in it is the
    port that the plugin listens at."""
    spec_file: bool
    """Whether a plugin on TCP writes a spec file: by default unless ``register`` announces it elsewhere."""
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


def advertised_address(listener: Listener, options: ListenOptions) -> str:
    """Return the address that hosts connect to."""
    port = str(listener.sockets[0].getsockname()[1]) if not listener.address.startswith("unix:") else ""
    return options.get("advertise", listener.address).replace("{port}", port)


def _listen_tcp(name: str, address: str, options: ListenOptions) -> Listener:
    listener = listen_tcp(address)
    try:
        advertised = Address.parse(advertised_address(listener, options))
        encrypted = listener.address.startswith("https:")
        if encrypted != ("tls" in options) or encrypted != advertised.tls:
            raise SpecError(f"{address}: tls=ServerTLS(...) and an https:// address need each other")
        if options.get("spec_file", True):
            announced = SpecFile(Path(_directories(options)[1]), options.get("host_tls"))
            announced.announce(name, Endpoint(str(advertised)))
            listener.file = announced.file
    except BaseException:
        listener.close()
        raise
    return listener
