"""Where a plugin listens: a unix socket of its own, TCP, or a socket that somebody else opened. Reads no byte."""

from __future__ import annotations

import errno
import fcntl
import grp
import os
import socket
import stat
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from pathlib import Path

from ..protocol import Address

SYSTEMD_FIRST_FD = 3  # sd_listen_fds(3)
BACKLOG = 2048


@dataclass
class Listener:
    """Sockets that listen, and the file that makes them findable, if it is ours.

    Args:
        sockets: where connections come in.
        address: what a host dials, as it stands in a spec file.
        file: the unix socket, or the spec file.
    """

    sockets: list[socket.socket]
    address: str
    file: OwnFile | None = field(default=None, repr=False)

    def withdraw(self) -> None:
        """Take the file away, so that no host finds the plugin any more. Connections that were made stay."""
        if self.file is not None:
            self.file.remove()
            self.file = None

    def close(self) -> None:
        """Take the file away and listen no longer."""
        self.withdraw()
        for each in self.sockets:
            each.close()


class OwnFile:
    """A file that we made. Another that has taken its place since is not ours to remove."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self._identity = _identity(path)

    def remove(self) -> None:
        """Remove it if it is still the one that we made."""
        try:
            if _identity(self.path) == self._identity:
                self.path.unlink()
        except FileNotFoundError:
            pass


def _identity(path: Path) -> tuple[int, int, int]:
    found = path.lstat()
    return found.st_dev, found.st_ino, found.st_ctime_ns


# --- unix ---------------------------------------------------------------------------------------------


def listen_unix(path: Path, *, mode: int = 0o660, group: str | int | None = None) -> Listener:
    """Make a unix socket and listen there. Its directory is made when it is missing.

    Args:
        path: the socket; one that was left over is replaced.
        mode: who may connect: write permission is what counts.
        group: the group that it shall belong to, by name or number; the process's own by default.

    Raises:
        SpecError: the path is too long for a unix socket.
        FileExistsError: there is something that is no socket.
        OSError: somebody answers there (EADDRINUSE), or the socket cannot be made.
        LookupError: there is no such group.
    """
    path = Path(os.path.abspath(path))
    address = Address.parse(f"unix://{path}")
    group_id = _group_id(group)
    path.parent.mkdir(parents=True, exist_ok=True)
    listening = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
    try:
        with _locked(path.parent):
            _reclaim(path)
            listening.bind(address.path)
            file = OwnFile(path)
            try:
                # Nobody can connect before listen(), so that there is no moment with a wrong mode.
                os.chown(path, -1, group_id)
                path.chmod(mode)
                listening.listen(BACKLOG)
            except BaseException:
                path.unlink()
                raise
            file = OwnFile(path)
    except BaseException:
        listening.close()
        raise
    return Listener([listening], address.text, file)


def _group_id(group: str | int | None) -> int:
    if group is None:
        return -1
    if isinstance(group, int):
        return group
    try:
        return grp.getgrnam(group).gr_gid
    except KeyError:
        raise LookupError(f"there is no group {group!r} on this machine, to which the socket could belong") from None


@contextmanager
def _locked(directory: Path) -> Iterator[None]:
    """Keep other plugins that start from reclaiming what was bound and does not listen yet."""
    descriptor = os.open(directory, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX)
        yield
    finally:
        os.close(descriptor)


def _reclaim(path: Path) -> None:
    """Remove a socket behind which nobody is left."""
    try:
        found = path.lstat()
    except FileNotFoundError:
        return
    if not stat.S_ISSOCK(found.st_mode):
        raise FileExistsError(errno.EEXIST, "a file that is no socket is in the way", str(path))
    if _answers(path):
        words = "another process answers there; stop it, or choose another name or directory"
        raise OSError(errno.EADDRINUSE, words, str(path))
    path.unlink(missing_ok=True)


def _answers(path: Path) -> bool:
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as probe:
        probe.setblocking(False)
        # EAGAIN says that its queue is full: it is there, and busy.
        return probe.connect_ex(str(path)) not in (errno.ECONNREFUSED, errno.ENOENT)


# --- TCP ----------------------------------------------------------------------------------------------


def listen_tcp(text: str) -> Listener:
    """Listen at ``tcp://host:port`` or ``https://host:port``; the port 0 means any that is free.

    Raises:
        SpecError: it is no such address.
        OSError: the port is taken (EADDRINUSE), or the host is none of this machine's.
    """
    address = _parse_tcp(text)
    family, _, _, _, where = socket.getaddrinfo(
        address.host, address.port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE
    )[0]
    try:
        listening = socket.create_server(where[:2], family=family, backlog=BACKLOG)
    except OSError as refused:
        if refused.errno == errno.EADDRINUSE:
            raise OSError(errno.EADDRINUSE, f"another process listens at {text}") from refused
        raise
    address = replace(address, port=listening.getsockname()[1])
    scheme = "https" if address.tls else "tcp"
    return Listener([listening], f"{scheme}://{address.authority}")


def _parse_tcp(text: str) -> Address:
    if text.endswith(":0"):  # which is no address of a plugin
        return replace(Address.parse(f"{text[:-1]}1"), port=0)
    return Address.parse(text)


# --- from somebody else -------------------------------------------------------------------------------


def inherit(descriptor: int) -> Listener:
    """Listen at a socket that whoever started this process opened, and will close and remove.

    Raises:
        OSError: there is no such descriptor, or it is no stream socket.
    """
    try:
        inherited = socket.socket(fileno=descriptor)
    except OSError as wrong:
        raise OSError(wrong.errno, f"file descriptor {descriptor} cannot be served: {wrong.strerror}") from None
    if inherited.type != socket.SOCK_STREAM:
        inherited.detach()
        raise OSError(errno.ENOTSOCK, f"file descriptor {descriptor} cannot be served: it is no stream socket")
    inherited.setblocking(False)
    os.set_inheritable(descriptor, False)
    return Listener([inherited], _name_of(inherited))


def _name_of(inherited: socket.socket) -> str:
    name = inherited.getsockname()
    if inherited.family == socket.AF_UNIX:
        return f"unix://{os.fsdecode(name)}"
    host = f"[{name[0]}]" if ":" in name[0] else name[0]
    return f"tcp://{host}:{name[1]}"


def inherit_from_systemd() -> Listener | None:
    """Listen at the sockets that systemd passed to this process, None if it passed none (sd_listen_fds(3)).

    The variables that say so are taken out of the environment: they are not for child processes.
    """
    for_us = os.environ.get("LISTEN_PID") == str(os.getpid())
    count = os.environ.get("LISTEN_FDS", "")
    if not for_us or not count.isdigit() or int(count) < 1:
        return None
    for name in ("LISTEN_PID", "LISTEN_FDS", "LISTEN_FDNAMES"):
        os.environ.pop(name, None)
    listeners = [inherit(SYSTEMD_FIRST_FD + index) for index in range(int(count))]
    return Listener([each for one in listeners for each in one.sockets], listeners[0].address)
