"""One connection to one address, every wait of which ends at a deadline. Knows neither HTTP nor TLS.

Sockets are non-blocking, and waiting is `poll` with the time that is left: a timeout of a socket would be one per
read, which a peer that sends a byte now and then never meets.
"""

from __future__ import annotations

import errno
import math
import os
import select
import socket
import threading
import time
from concurrent.futures import Future
from concurrent.futures import TimeoutError as FutureTimeout  # the built-in one from Python 3.11 on
from time import monotonic
from typing import Any

from ..concurrency.deadlines import left
from ..errors import CallTimeout, ConnectError, ConnectionLost
from ..protocol import Address

LOOKUP, CONNECT, SEND = "name lookup", "connect", "send"

# Phases of a call, and what did not happen in time where one was the last.
_EVENTS = {
    LOOKUP: "the plugin's host name was found",
    CONNECT: "the plugin accepted the connection",
    "TLS handshake": "the TLS handshake was done",
    SEND: "the plugin had taken the request",
    "status line": "the plugin began to answer",
    "headers": "the headers of the answer were there",
    "body": "the body of the answer was there",
}

LONGEST_WAIT = 3600.0  # seconds for one poll, whose milliseconds are a C int; deadlines may be infinite
_RECEIVE_SIZE = 64 * 1024  # bytes: more than most answers, less than malloc takes from mmap


_forks = 0  # that this process is away from the one that imported this module


def _count_fork() -> None:
    global _forks
    _forks += 1


# A child must not use its parent's connections. Asking for the process id at each call would cost 1 % of it.
os.register_at_fork(after_in_child=_count_fork)


class Connection:
    """A connected socket, used by one thread at a time. Deadlines are ``time.monotonic()`` values.

    ``idle_since`` is the pool's; ``in_step`` is False once a request was not sent whole, after which no answer can
    be told from another.
    """

    __slots__ = ("__weakref__", "_early", "_forks", "_readable", "_socket", "idle_since", "in_step")

    cut = False
    """Whether the connection ended without the farewell that its kind has; TLS has one."""

    def __init__(self, sock: socket.socket) -> None:
        self._socket = sock
        self._readable = select.poll()
        self._readable.register(sock, select.POLLIN)
        self._early: bytes | None = None
        self.idle_since = math.inf  # not once
        self.in_step = True
        self._forks = _forks

    def is_usable(self) -> bool:
        """Whether this process may send a request: nothing came since the last answer, not even the end."""
        return self._forks == _forks and not self._readable.poll(0)

    def send(self, data: bytes, deadline: float) -> int:
        """Send ``data`` and return how many bytes of it the peer's end took.

        That is fewer than all where the peer answered or closed first: `receive` then gives what it said. It is 0
        where the peer was gone before.

        Raises:
            CallTimeout: the peer took no more before the deadline.
        """
        try:
            sent = self.write(data)
        except OSError:
            return 0
        return sent if sent == len(data) else self._send_rest(data, sent, deadline)

    def _send_rest(self, data: bytes, sent: int, deadline: float) -> int:
        either = select.poll()
        either.register(self._socket, select.POLLIN | select.POLLOUT)
        rest = memoryview(data)
        while sent < len(data):
            wait(either, deadline, SEND)
            if self.has_answered():
                break
            try:
                sent += self.write(rest[sent:])
            except OSError:
                break
        return sent

    def has_answered(self) -> bool:
        """Whether the peer said something or closed, though it was not its turn; `receive` gives it."""
        if self._early is None and self._readable.poll(0):
            self._early = self._read(_RECEIVE_SIZE)
        return self._early is not None

    def receive(self, deadline: float, phase: str) -> bytes:
        """Return what came; nothing where the connection ended.

        Raises:
            CallTimeout: nothing came before the deadline. ``phase`` is the error's.
            ConnectionLost: the connection was reset.
        """
        if self._early is not None:
            data, self._early = self._early, None
            return data
        while True:
            wait(self._readable, deadline, phase)
            received = self._read(_RECEIVE_SIZE)
            if received is not None:
                return received

    # For those who wait for many at a time.

    def fileno(self) -> int:
        """Return the socket's file descriptor, to wait for."""
        return self._socket.fileno()

    def wait_readable(self, deadline: float, phase: str) -> None:
        """Wait until there is something to read.

        Raises:
            CallTimeout: the deadline passed. ``phase`` is the error's.
        """
        if self._early is None:
            wait(self._readable, deadline, phase)

    def receive_now(self) -> bytes | None:
        """Return what has arrived; nothing if the connection ended, None if nothing has arrived.

        Raises:
            ConnectionLost: the connection was reset.
        """
        if self._early is not None:
            data, self._early = self._early, None
            return data
        return self._read(_RECEIVE_SIZE)

    @property
    def closed(self) -> bool:
        """Whether `close` was called."""
        return self._socket.fileno() < 0

    def close(self) -> None:
        """Close the socket. In a child process this leaves the parent's end open."""
        self._socket.close()

    def __del__(self) -> None:
        # A client that nobody closed ends without a ResourceWarning for each connection that it had kept.
        if hasattr(self, "_socket"):  # not where Ctrl-C came first
            self._socket.close()

    # What is different over TLS.

    def _read(self, size: int) -> bytes | None:
        """Return what there is to read, None for nothing yet."""
        try:
            return self._socket.recv(size)
        except BlockingIOError:
            return None
        except OSError as lost:
            raise ConnectionLost(f"the plugin broke the connection off: {_words(lost)}") from lost

    def write(self, data: bytes | memoryview) -> int:
        """Send what can be sent now, and return how many bytes that was."""
        try:
            return self._socket.send(data)
        except BlockingIOError:
            return 0


def wait(poll: select.poll, deadline: float, phase: str) -> None:
    """Return when there is what ``poll`` is for.

    Raises:
        CallTimeout: the deadline passed.
    """
    while (seconds := deadline - monotonic()) > 0:
        if poll.poll(min(seconds, LONGEST_WAIT) * 1000):
            return
    raise late(phase)


def late(phase: str) -> CallTimeout:
    """Return the error for a deadline that passed in this phase of a call."""
    return CallTimeout(f"the deadline passed before {_EVENTS[phase]}", phase=phase)


# --- connecting ---------------------------------------------------------------------------------------

_REMEDIES = {
    errno.ENOENT: "there is no such socket; is the plugin running?",
    errno.ECONNREFUSED: "nobody listens there; is the plugin running?",
    errno.EACCES: "this user needs write permission on the socket and search permission on its directories",
    errno.EMFILE: "this process has no file descriptor left; raise its limit (ulimit -n) or close what it keeps open",
}


def connect(address: Address, deadline: float) -> socket.socket:
    """Return a non-blocking socket that is connected to ``address``.

    Raises:
        ConnectError: with the cause chained, and what would mend it.
        CallTimeout: the deadline passed.
    """
    try:
        return _connect_unix(address.path, deadline) if address.path else _connect_tcp(address, deadline)
    except (CallTimeout, ConnectError):
        raise
    except OSError as refused:
        raise ConnectError(_words(refused)) from refused


def connect_now(path: str) -> socket.socket | None:
    """Return a non-blocking socket that is connected to a unix socket; None where that would have to be waited for.

    Raises:
        ConnectError: as `connect` does.
    """
    try:
        return _connect_at_once(path)
    except BlockingIOError:
        return None
    except OSError as refused:
        raise ConnectError(_words(refused)) from refused


def _connect_at_once(path: str) -> socket.socket:
    """Return a connected socket; BlockingIOError says that the backlog is full, of which there is nothing to poll."""
    sock = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
    try:
        sock.setblocking(False)
        sock.connect(path)
    except BaseException:
        sock.close()
        raise
    return sock


def _connect_unix(path: str, deadline: float) -> socket.socket:
    pause = 0.001
    while True:
        try:
            return _connect_at_once(path)
        except BlockingIOError:
            if left(deadline) == 0:
                raise late(CONNECT) from None
        time.sleep(min(pause, left(deadline)))
        pause = min(2 * pause, 0.05)


def _connect_tcp(address: Address, deadline: float) -> socket.socket:
    found = _look_up(address.host, address.port, deadline)
    refused: OSError = ConnectError(f"the name {address.host!r} has no address")
    for index, (family, kind, protocol, _, target) in enumerate(found):
        # A host with several addresses, the first of which is silent: each gets its share of the time.
        share = monotonic() + left(deadline) / (len(found) - index)
        try:
            return _connect_to(target, family, kind, protocol, share)
        except OSError as wrong:
            refused = wrong
    raise refused


def _connect_to(target: Any, family: int, kind: int, protocol: int, deadline: float) -> socket.socket:
    sock = socket.socket(family, kind, protocol)
    try:
        sock.setblocking(False)
        sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        code = sock.connect_ex(target)
        if code == errno.EINPROGRESS:
            writable = select.poll()
            writable.register(sock, select.POLLOUT)
            wait(writable, deadline, CONNECT)
            code = sock.getsockopt(socket.SOL_SOCKET, socket.SO_ERROR)
        if code:
            raise OSError(code, os.strerror(code))
    except BaseException:
        sock.close()
        raise
    return sock


def _look_up(host: str, port: int, deadline: float) -> list[Any]:
    """Return what getaddrinfo knows of a host. It has no timeout, so names are looked up in a thread of their own."""
    try:
        return socket.getaddrinfo(host, port, type=socket.SOCK_STREAM, flags=socket.AI_NUMERICHOST)
    except (OSError, UnicodeError):  # no number; whether it is a name will be seen
        pass
    answer: Future[list[Any]] = Future()
    threading.Thread(target=_look_up_name, args=(host, port, answer), name=f"look up {host}", daemon=True).start()
    try:
        return answer.result(left(deadline))
    except FutureTimeout:
        raise late(LOOKUP) from None
    except (OSError, UnicodeError) as unknown:  # UnicodeError: no name server could be asked for it
        raise ConnectError(f"the host name {host!r} cannot be looked up: {_words(unknown)}") from unknown


def _look_up_name(host: str, port: int, answer: Future[list[Any]]) -> None:
    try:
        answer.set_result(socket.getaddrinfo(host, port, type=socket.SOCK_STREAM))
    except (OSError, UnicodeError) as wrong:
        answer.set_exception(wrong)


def _words(wrong: OSError | UnicodeError) -> str:
    words = getattr(wrong, "strerror", None) or str(wrong)
    remedy = _REMEDIES.get(getattr(wrong, "errno", None) or 0)
    return f"{words}: {remedy}" if remedy else words
