"""Create unix sockets that no other user can tamper with, also as root in another user's directory."""

from __future__ import annotations

import errno
import os
import socket
import stat
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from itertools import chain
from pathlib import Path

from ..concurrency.system import HAS_UNIX_SOCKETS, NO_UNIX_SOCKETS
from ..errors import SpecError
from ..protocol import Address
from ..registry.ownership import path_to, writers
from .sockets import BACKLOG, Listener, OwnFile

LOCK_TIMEOUT = 10.0  # seconds
LOCK_RETRY = 0.05  # seconds
_SOCKET = "s"  # the socket's name until it is ready


def listen_unix(
    path: Path, *, mode: int = 0o660, group: str | int | None = None, allow_unsafe: bool = False
) -> Listener:
    """Create a unix socket and listen on it. A missing directory is created.

    The socket is made in a directory that only this user can enter, given its mode and group there, and renamed into
    place when it listens: no link is followed, and at no moment does it have another mode.

    Args:
        path: the socket; one that was left over is replaced.
        mode: who may connect, which needs write permission.
        group: the group that it belongs to, by name or number; the process's own by default.
        allow_unsafe: accept a directory in which others could replace the socket. Hosts refuse it by default.

    Raises:
        SpecError: the path is too long for a unix socket, or others can write the directory.
        FileExistsError: something that is not a socket has this name.
        OSError: a process answers there (EADDRINUSE), or the socket cannot be created.
        LookupError: there is no such group.
    """
    path = Path(os.path.abspath(path))
    address = Address.parse(f"unix://{path}")
    if not HAS_UNIX_SOCKETS:
        raise SpecError(f"cannot listen at {path}: {NO_UNIX_SOCKETS}")
    group_id = _group_id(group)
    with _errors_name(path):
        make_directory(path.parent)
        directory = os.open(path.parent, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
        try:
            if not allow_unsafe:
                _check_writers(path.parent)
            with _locked(directory, path):
                _check_vacant(path)
                listening = _bind(directory, path, mode, group_id)
                try:
                    file = OwnFile(path)
                except BaseException:
                    listening.close()
                    raise
        finally:
            os.close(directory)
    return Listener([listening], address.text, file, is_own=True)


def make_directory(directory: Path) -> None:
    """Create a directory and its parents, which others cannot write whatever the umask is."""
    for each in (*reversed(directory.parents), directory):
        if not each.is_dir():
            with suppress(FileExistsError):
                os.mkdir(each, 0o755)


@contextmanager
def _errors_name(path: Path) -> Iterator[None]:
    """Let OSErrors name the socket, not a temporary file, or nothing as ``bind`` does."""
    try:
        yield
    except OSError as failed:
        if failed.filename != str(path):
            failed.filename, failed.filename2 = str(path), None
        raise


def _group_id(group: str | int | None) -> int:
    if group is None:
        return -1
    if isinstance(group, int):
        return group
    import grp

    try:
        return grp.getgrnam(group).gr_gid
    except KeyError:
        raise LookupError(f"group={group!r}: this machine has no such group") from None


def _check_writers(directory: Path) -> None:
    faults = dict(chain.from_iterable(writers(place, status) for place, status in path_to(str(directory))))
    if faults:
        reasons, remedy = ", and ".join(faults.values()), " && ".join(filter(None, faults))
        fix = f"; fix with: {remedy}" if remedy else ""
        message = f"hosts would refuse a socket in {directory}: {reasons}{fix} (allow_unsafe=True accepts it)"
        raise SpecError(message, source=str(directory), remedy=remedy or None)


@contextmanager
def _locked(directory: int, path: Path) -> Iterator[None]:
    """Keep other plugins that start from replacing the same left-over socket.

    Only a writer of the directory can create the lock file, and only its owner can open it. A lock on the directory
    itself could be held by every user who can read it.
    """
    name = f".{path.name}.lock"
    descriptor = _open_locked(directory, name)
    try:
        os.ftruncate(descriptor, 0)
        os.write(descriptor, f"process {os.getpid()}".encode())
        yield
    finally:
        with suppress(FileNotFoundError):
            os.unlink(name, dir_fd=directory)
        os.close(descriptor)


def _open_locked(directory: int, name: str) -> int:
    deadline = time.monotonic() + LOCK_TIMEOUT
    while True:
        descriptor, holder = _try_lock(directory, name)
        if descriptor is not None:
            return descriptor
        if time.monotonic() > deadline:
            message = f"another plugin has been starting here for {LOCK_TIMEOUT:g} seconds: {holder} holds {name}"
            raise TimeoutError(errno.ETIMEDOUT, message)
        time.sleep(LOCK_RETRY)


def _try_lock(directory: int, name: str) -> tuple[int | None, str]:
    """Return the locked descriptor, or None and who holds the lock."""
    import fcntl

    flags = os.O_RDWR | os.O_CREAT | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC
    try:
        descriptor = os.open(name, flags, 0o600, dir_fd=directory)
    except PermissionError:
        with suppress(FileNotFoundError):
            return None, f"user {os.stat(name, dir_fd=directory, follow_symlinks=False).st_uid}"
        raise
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        with suppress(FileNotFoundError):
            if os.path.samestat(os.fstat(descriptor), os.stat(name, dir_fd=directory, follow_symlinks=False)):
                return descriptor, ""
        holder = "a process"  # it has ended its start and removed the file: try again
    except BlockingIOError:
        holder = os.pread(descriptor, 100, 0).decode(errors="replace") or "a process"
    except BaseException:
        os.close(descriptor)
        raise
    os.close(descriptor)
    return None, holder


def _check_vacant(path: Path) -> None:
    """Accept no file at all, or a socket on which no process listens any more."""
    try:
        found = path.lstat()
    except FileNotFoundError:
        return
    if not stat.S_ISSOCK(found.st_mode):
        raise FileExistsError(errno.EEXIST, "a file that is not a socket has this name", str(path))
    if _answers(path):
        message = "another process answers there; stop it, or choose another name or directory"
        raise OSError(errno.EADDRINUSE, message, str(path))


def _answers(path: Path) -> bool:
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as probe:
        probe.setblocking(False)
        # EAGAIN means that its backlog is full: it is busy.
        return probe.connect_ex(str(path)) not in (errno.ECONNREFUSED, errno.ENOENT)


def _bind(directory: int, path: Path, mode: int, group_id: int) -> socket.socket:
    """Return a listening socket at ``path``."""
    import tempfile  # here, as it is slow to import, and the sockets that a host passes need no directory

    draft = tempfile.mkdtemp(prefix=f".{path.name}.", dir=path.parent)
    try:
        private = os.open(draft, os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC)
        try:
            return _bind_in(private, draft, directory, path, mode, group_id)
        finally:
            os.close(private)
    finally:
        os.rmdir(draft)


def _bind_in(private: int, draft: str, directory: int, path: Path, mode: int, group_id: int) -> socket.socket:
    listening = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
    try:
        # A path by way of the descriptor is short enough for a socket, and is that directory whatever its name is now.
        through = f"/proc/self/fd/{private}"
        listening.bind(os.path.join(through if os.path.isdir(through) else draft, _SOCKET))
        try:
            os.chown(_SOCKET, -1, group_id, dir_fd=private, follow_symlinks=False)
            os.chmod(_SOCKET, mode, dir_fd=private)
            listening.listen(BACKLOG)
            os.rename(_SOCKET, path.name, src_dir_fd=private, dst_dir_fd=directory)
        except BaseException:
            os.unlink(_SOCKET, dir_fd=private)
            raise
    except BaseException:
        listening.close()
        raise
    return listening
