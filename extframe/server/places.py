"""Choose where a plugin listens, and say so where hosts look. Knows sockets and spec files; no drivers."""

from __future__ import annotations

import os
import tempfile
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, TypedDict

import msgspec

from ..errors import SpecError
from ..logs import get_logger
from ..protocol import Address, TLSConfig, check_name
from .sockets import Listener, OwnFile, inherit, inherit_from_systemd, listen_tcp, listen_unix

if TYPE_CHECKING:
    from typing_extensions import Unpack

StrPath = str | os.PathLike[str]

SOCKETS = "/run/docker/plugins"
SPECS = "/etc/docker/plugins"

logger = get_logger(__name__)


@dataclass(frozen=True)
class ServerTLS:
    """How a plugin shows who it is, and whom it lets in. Paths are files of the plugin.

    Args:
        cert_file: its certificate and those between it and the authority, PEM.
        key_file: its private key, PEM.
        client_ca_file: certificates, PEM, one of which must have signed a client's; without it all may come in.
    """

    cert_file: str
    key_file: str
    client_ca_file: str = ""


class Place(TypedDict, total=False):
    """Where a plugin listens, as keyword arguments of ``serve`` and ``serving``.

    Without any it is ``NAME.sock`` in Docker's directory. The first that is given counts: ``fd``, ``address``,
    ``directory``.
    """

    directory: StrPath
    """Where the socket is made: ``/run/docker/plugins`` unless given. It is made too when it is missing."""
    mode: int
    """Who may connect to the socket: 0o660 unless given."""
    group: str | int
    """The group that the socket belongs to, by name or number."""
    address: str
    """``unix:///path``, ``tcp://host:port`` or ``https://host:port``; the port 0 is any that is free."""
    spec_directory: StrPath
    """Where ``NAME.spec`` (TCP) or ``NAME.json`` (TLS) is written: ``/etc/docker/plugins`` unless given."""
    advertise: str
    """The address that stands in the spec file, where it is another: ``https://photos.example:8443``."""
    tls: ServerTLS
    """What ``https://`` needs: the plugin's certificate and key."""
    host_tls: TLSConfig
    """What the ``.json`` says to hosts: how to verify the plugin, and the certificate that they show it."""
    fd: int
    """A socket that whoever started the process opened, by its file descriptor."""


def listen(name: str, **place: Unpack[Place]) -> Listener:
    """Listen at a place, and write the spec file that it needs.

    Raises:
        SpecError: the name or the address cannot be used, or TLS and the address do not fit.
        OSError: somebody answers there, or the socket or the spec file cannot be made.
    """
    check_name(name)
    if "fd" in place:
        return _encrypted(inherit(place["fd"]), place)
    address = place.get("address")
    if address is None:
        return _listen_unix(Path(place.get("directory", SOCKETS), f"{name}.sock"), place)
    if address.startswith("unix:"):
        return _listen_unix(Path(Address.parse(address).path), place)
    return _listen_tcp(name, address, place)


def listen_as_started(name: str, **place: Unpack[Place]) -> Listener:
    """Listen at the sockets that systemd passed, else as ``listen``."""
    check_name(name)
    inherited = inherit_from_systemd()
    return listen(name, **place) if inherited is None else _encrypted(inherited, place)


def _encrypted(listener: Listener, place: Place) -> Listener:
    if "tls" in place:
        listener.address = listener.address.replace("tcp://", "https://", 1)
    return listener


def _listen_unix(path: Path, place: Place) -> Listener:
    if "tls" in place:
        raise SpecError("tls= is for https:// addresses; a unix socket is protected by mode= and group=")
    try:
        return listen_unix(path, mode=place.get("mode", 0o660), group=place.get("group"))
    except PermissionError as refused:
        refused.strerror = f"{refused.strerror}; directory= names another place"
        raise


def _listen_tcp(name: str, address: str, place: Place) -> Listener:
    listener = listen_tcp(address)
    try:
        advertised = Address.parse(place.get("advertise", listener.address))
        encrypted = listener.address.startswith("https:")
        if encrypted != ("tls" in place) or encrypted != advertised.tls:
            raise SpecError(f"{address}: tls=ServerTLS(...) and an https:// address come together")
        directory = Path(place.get("spec_directory", SPECS))
        listener.file = _write_spec(directory, name, advertised, place.get("host_tls"))
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
    # In a .spec Docker's engine would not verify the certificate, whatever it is (moby pkg/plugins/discovery.go).
    spec: dict[str, object] = {"Name": name, "Addr": str(address)}
    if tls is not None:
        spec["TLSConfig"] = _HostTLS(**vars(tls))
    if (directory / f"{name}.spec").exists():
        logger.warning("%s hides %s.json from hosts, which read it first", directory / f"{name}.spec", name)
    return _write(directory / f"{name}.json", msgspec.json.format(msgspec.json.encode(spec)) + b"\n")


def _write(path: Path, content: bytes) -> OwnFile:
    """Write a file that is seen whole or not at all."""
    path.parent.mkdir(parents=True, exist_ok=True)
    # Its name ends in neither .spec nor .json, so that no host takes it for a plugin.
    descriptor, draft = tempfile.mkstemp(prefix=f".{path.name}.", suffix=".tmp", dir=path.parent)
    try:
        with os.fdopen(descriptor, "wb") as file:
            file.write(content)
            file.flush()
            os.fsync(file.fileno())
            os.fchmod(file.fileno(), 0o644)
        os.replace(draft, path)
    except BaseException as wrong:
        with suppress(FileNotFoundError):
            os.unlink(draft)
        if isinstance(wrong, OSError):
            wrong.filename = str(path)
        raise
    return OwnFile(path)
