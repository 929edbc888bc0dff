"""Listening sockets: TCP, and sockets that were passed to the process. Reads no byte."""

from __future__ import annotations

import errno
import os
import socket
from dataclasses import dataclass, field, replace
from pathlib import Path

from ..concurrency.system import HAS_UNIX_SOCKETS
from ..protocol import Address

SYSTEMD_FIRST_FD = 3  # sd_listen_fds(3)
BACKLOG = 2048


@dataclass
class Listener:
    """Listening sockets, and the file through which hosts find them, if it is ours.

    Args:
        sockets: they accept connections.
        address: what hosts connect to, as in a spec file.
        file: the unix socket, or the spec file.
        is_own: whether this process opened the sockets, so that no other accepts the connections that wait at them.
    """

    sockets: list[socket.socket]
    address: str
    file: OwnFile | None = field(default=None, repr=False)
    is_own: bool = False

    def withdraw(self) -> None:
        """Remove the file, so that hosts no longer find the plugin. Open connections stay."""
        if self.file is not None:
            self.file.remove()
            self.file = None

    def close(self) -> None:
        """Remove the file and stop listening."""
        self.withdraw()
        for each in self.sockets:
            each.close()


class OwnFile:
    """A file that this process made. A file that has replaced it since is never removed."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self._identity = _identity(path)

    def remove(self) -> None:
        """Remove it unless it was replaced."""
        try:
            if _identity(self.path) == self._identity:
                self.path.unlink()
        except FileNotFoundError:
            pass


def _identity(path: Path) -> tuple[int, int, int]:
    found = path.lstat()
    return found.st_dev, found.st_ino, found.st_ctime_ns


# --- TCP ----------------------------------------------------------------------------------------------


def listen_tcp(text: str) -> Listener:
    """Listen at ``tcp://host:port`` or ``https://host:port``; port 0 means any free port.

    Raises:
        SpecError: it is not such an address.
        OSError: the port is taken (EADDRINUSE), or the host is not this machine's.
    """
    address = Address.parse(text, listening=True)
    family, _, _, _, where = socket.getaddrinfo(
        address.host, address.port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE
    )[0]
    try:
        listening = socket.create_server(where, family=family, backlog=BACKLOG)
    except OSError as refused:
        if refused.errno == errno.EADDRINUSE:
            raise OSError(errno.EADDRINUSE, f"another process listens at {text}") from refused
        raise
    address = replace(address, port=listening.getsockname()[1])
    scheme = "https" if address.tls else "tcp"
    return Listener([listening], f"{scheme}://{address.authority}", is_own=True)


# --- passed to the process -------------------------------------------------------------------------------


def inherit(descriptor: int) -> Listener:
    """Listen on a socket that the parent process opened. Its file is the parent's to remove.

    Raises:
        OSError: there is no such descriptor, or it is not a listening stream socket.
    """
    try:
        inherited = socket.socket(fileno=descriptor)
    except OSError as wrong:
        raise OSError(wrong.errno, f"file descriptor {descriptor} cannot be served: {wrong.strerror}") from None
    if inherited.type != socket.SOCK_STREAM:
        inherited.detach()
        raise OSError(errno.ENOTSOCK, f"file descriptor {descriptor} cannot be served: it is not a stream socket")
    _check_listens(inherited, descriptor)
    inherited.setblocking(False)
    os.set_inheritable(descriptor, False)
    return Listener([inherited], _name_of(inherited))


def _check_listens(inherited: socket.socket, descriptor: int) -> None:
    """Refuse a connection; let a socket that is only bound listen."""
    if inherited.getsockopt(socket.SOL_SOCKET, socket.SO_ACCEPTCONN):
        return
    try:
        inherited.getpeername()
    except OSError:
        inherited.listen(BACKLOG)
        return
    inherited.detach()
    message = (
        f"file descriptor {descriptor} cannot be served: it is a connection, not a listening socket; "
        "a systemd .socket unit needs Accept=no"
    )
    raise OSError(errno.EINVAL, message)


def _name_of(inherited: socket.socket) -> str:
    name = inherited.getsockname()
    if HAS_UNIX_SOCKETS and inherited.family == socket.AF_UNIX:
        return f"unix://{os.fsdecode(name)}"
    host = f"[{name[0]}]" if ":" in name[0] else name[0]
    return f"tcp://{host}:{name[1]}"


def inherit_from_systemd() -> Listener | None:
    """Listen on the sockets that systemd passed to this process; return None without any (sd_listen_fds(3)).

    The variables that say so are removed from the environment, so that child processes do not see them.
    """
    for_us = os.environ.get("LISTEN_PID") == str(os.getpid())
    count = os.environ.get("LISTEN_FDS", "")
    if not for_us or not count.isdigit() or int(count) < 1:
        return None
    for name in ("LISTEN_PID", "LISTEN_FDS", "LISTEN_FDNAMES"):
        os.environ.pop(name, None)
    listeners = [inherit(SYSTEMD_FIRST_FD + index) for index in range(int(count))]
    return Listener([each for one in listeners for each in one.sockets], listeners[0].address)
