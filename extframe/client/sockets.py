"""Sockets connected to an address, within a deadline and to the expected user. Knows neither HTTP nor TLS.

Connecting is a generator of `Steps`, so that threads and event loops connect by the same rules.
"""

from __future__ import annotations

import errno
import os
import socket
import struct
from collections.abc import Collection
from functools import partial
from time import monotonic
from typing import Any

from ..concurrency.deadlines import left
from ..concurrency.system import HAS_UNIX_SOCKETS, NO_UNIX_SOCKETS, WRITABLE
from ..errors import CallTimeout, ConnectError, ExtframeError
from ..protocol import Address
from .connection import CONNECT, LOOKUP, ClosedWhenCollected, late
from .steps import Blocking, Pause, Ready, Steps, run

_NO_DESCRIPTOR = "raise the limit on file descriptors (ulimit -n), or close what the program does not need"
_REMEDIES = {
    errno.ENOENT: "there is no such socket; is the plugin running?",
    errno.ECONNREFUSED: "nothing listens there; is the plugin running?",
    errno.EACCES: "this user needs write permission on the socket and search permission on its directories",
    errno.EMFILE: f"this process has no file descriptor left; {_NO_DESCRIPTOR}",
    errno.ENFILE: "the system has no file descriptor left; raise fs.file-max",
}
_IN_PROGRESS = (errno.EINPROGRESS, getattr(errno, "WSAEWOULDBLOCK", errno.EINPROGRESS))
_CREDENTIALS = struct.Struct("iII")  # struct ucred: pid, uid, gid


def connect(address: Address, deadline: float, peer_uids: Collection[int] | None = None) -> socket.socket:
    """Return a non-blocking socket that is connected to ``address``.

    Args:
        address: of the plugin.
        deadline: a ``time.monotonic()`` value.
        peer_uids: see `check_peer`; None disables the check.

    Raises:
        ConnectError: with the cause chained, and the remedy.
        CallTimeout: the deadline passed.
    """
    return run(connecting(address, deadline, peer_uids))


def connecting(address: Address, deadline: float, peer_uids: Collection[int] | None = None) -> Steps[socket.socket]:
    """Connect as `connect` does, without waiting: the result is an operation that yields what it waits for."""
    try:
        if not address.path:
            return (yield from _connecting_tcp(address, deadline))
        sock = yield from _connecting_unix(address.path, deadline)
        return check_peer(sock, address.path, peer_uids)
    except (CallTimeout, ConnectError):
        raise
    except OSError as refused:
        raise ConnectError(_explain(refused)) from refused


def connect_now(path: str, peer_uids: Collection[int] | None = None) -> socket.socket | None:
    """Return a non-blocking socket that is connected to a unix socket, or None if that would have to wait.

    Raises:
        ConnectError: as `connect`.
    """
    try:
        return check_peer(_connect_at_once(path), path, peer_uids)
    except BlockingIOError:
        return None
    except ConnectError:
        raise
    except OSError as refused:
        raise ConnectError(_explain(refused)) from refused


# --- unix sockets -------------------------------------------------------------------------------------


def check_peer(sock: socket.socket, path: str, peer_uids: Collection[int] | None) -> socket.socket:
    """Return a connected unix socket if the process that listens there may be trusted, or close it.

    File permissions cannot answer this: between a look at a directory and the connection, a user who may rename one of
    its parents can put another socket in its place.

    Args:
        sock: a connected unix socket.
        path: its path.
        peer_uids: the users that may listen there, in addition to root and the user of this process. None allows every
            user, as do systems without SO_PEERCRED.

    Raises:
        ConnectError: another user listens there. Nothing was sent.
    """
    if peer_uids is None or not hasattr(socket, "SO_PEERCRED"):
        return sock
    try:
        _, uid, _ = _CREDENTIALS.unpack(sock.getsockopt(socket.SOL_SOCKET, socket.SO_PEERCRED, _CREDENTIALS.size))
        if uid in (0, os.geteuid()) or uid in peer_uids:
            return sock
        raise ConnectError(
            f"the process that listens at {path} belongs to user {_user(uid)}, who is neither root, nor this user "
            f"({os.geteuid()}), nor the socket's owner: it may be an impostor, and nothing was sent. If you trust that "
            f"user, write peer_uids=[{uid}] in the registry"
        )
    except BaseException:
        sock.close()
        raise


def _user(uid: int) -> str:
    try:
        import pwd

        return f"{uid} ({pwd.getpwuid(uid).pw_name})"
    except (KeyError, OSError, ImportError):
        return str(uid)


def _connect_at_once(path: str) -> socket.socket:
    """Return a connected socket. BlockingIOError means that the backlog is full, for which there is nothing to poll."""
    if not HAS_UNIX_SOCKETS:
        raise ConnectError(NO_UNIX_SOCKETS)
    sock = ClosedWhenCollected(socket.AF_UNIX, socket.SOCK_STREAM)
    try:
        sock.setblocking(False)
        sock.connect(path)
    except BaseException:
        sock.close()
        raise
    return sock


def _connecting_unix(path: str, deadline: float) -> Steps[socket.socket]:
    pause = 0.001
    while True:
        try:
            return _connect_at_once(path)
        except BlockingIOError:
            if left(deadline) == 0:
                raise late(CONNECT) from None
        yield Pause(min(pause, left(deadline)))
        pause = min(2 * pause, 0.05)


# --- TCP ----------------------------------------------------------------------------------------------


def _connecting_tcp(address: Address, deadline: float) -> Steps[socket.socket]:
    found = yield from _looking_up(address.host, address.port, deadline)
    refused: OSError = ConnectError(f"the name {address.host!r} has no address")
    for index, (family, kind, protocol, _, target) in enumerate(found):
        # Each of several addresses gets its share of the time, as the first one may not respond.
        share = monotonic() + left(deadline) / (len(found) - index)
        try:
            return (yield from _connecting_to(target, family, kind, protocol, share))
        except OSError as wrong:
            refused = wrong
    raise refused


def _connecting_to(target: Any, family: int, kind: int, protocol: int, deadline: float) -> Steps[socket.socket]:
    sock = ClosedWhenCollected(family, kind, protocol)
    try:
        sock.setblocking(False)
        sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        code = sock.connect_ex(target)
        if code in _IN_PROGRESS:
            yield Ready(sock.fileno(), WRITABLE, deadline, CONNECT)
            code = sock.getsockopt(socket.SOL_SOCKET, socket.SO_ERROR)
        if code:
            raise OSError(code, os.strerror(code))
    except BaseException:
        sock.close()
        raise
    return sock


def _looking_up(host: str, port: int, deadline: float) -> Steps[list[Any]]:
    """Return what getaddrinfo returns for a host. It has no timeout, so a name is looked up in a thread of its own."""
    try:
        return socket.getaddrinfo(host, port, type=socket.SOCK_STREAM, flags=socket.AI_NUMERICHOST)
    except (OSError, UnicodeError):  # not a number: a name, or invalid
        pass
    look_up = partial(socket.getaddrinfo, host, port, type=socket.SOCK_STREAM)
    try:
        return (yield Blocking(look_up, f"look up {host}", deadline, LOOKUP))  # type: ignore[no-any-return]
    except CallTimeout:
        raise
    except (OSError, UnicodeError, ExtframeError) as wrong:  # UnicodeError: the name is not one of DNS
        raise ConnectError(f"the host name {host!r} cannot be looked up: {_explain(wrong)}") from wrong


def _explain(wrong: Exception) -> str:
    reason = getattr(wrong, "strerror", None) or str(wrong)
    remedy = _REMEDIES.get(getattr(wrong, "errno", None) or 0)
    return f"{reason}: {remedy}" if remedy else reason
