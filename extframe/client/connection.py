"""One connection to one address. Each wait has a deadline. Knows neither HTTP nor TLS.

Sockets are non-blocking, and waiting is `poll` with the remaining time. A socket's own timeout would be one per read,
which a peer that sends a byte now and then never reaches.
"""

from __future__ import annotations

import math
import socket
from contextlib import suppress
from time import monotonic
from typing import Protocol

from ..concurrency.system import READABLE, WRITABLE, Poll, after_fork
from ..errors import CallTimeout, ConnectionLost

START, LOOKUP, CONNECT, SEND = "start", "name lookup", "connect", "send"

# What a call was waiting for in each phase.
_EVENTS = {
    START: "the call to start",  # the deadline is very short, or the machine very busy
    LOOKUP: "the lookup of the plugin's host name",
    CONNECT: "the plugin to accept the connection",
    "TLS handshake": "the TLS handshake",
    SEND: "the plugin to take the request",
    "status line": "the response",
    "headers": "the headers of the response",
    "body": "the body of the response",
}

LONGEST_WAIT = 3600.0  # seconds for one poll, whose milliseconds are a C int; deadlines may be infinite
_RECEIVE_SIZE = 64 * 1024  # bytes: more than most responses, less than malloc takes from mmap

_forks = 0


def _count_fork() -> None:
    global _forks
    _forks += 1


def forks() -> int:
    """Return how many forks this process is away from the one that imported this module."""
    return _forks


# A child must not use its parent's connections. Asking for the process id at each call would cost 1 % of it.
after_fork(_count_fork)


class Registration(Protocol):
    """That of a connection with an event loop."""

    def end(self) -> bool:
        """Have the loop forget the connection; return whether it may be closed now, or is going to be by the loop."""


class ClosedWhenCollected(socket.socket):
    """A socket that does not warn when it is collected open.

    A manager may be dropped without being closed. In a reference cycle, Python may collect a socket before the object
    that would close it.
    """

    __slots__ = ()

    # Of the class in C: __init__ may have failed, and Ctrl-C in a method written in Python would be lost here.
    __del__ = socket.SocketType.close


class Connection:
    """A connected socket, used by one thread or task at a time. Deadlines are ``time.monotonic()`` values.

    ``opened`` is when it was made. ``idle_since`` and ``uses``, the number of responses, belong to the connection pool.
    ``in_step`` is False once a request was not sent completely: no later response could be assigned to its request.
    ``registration`` is that with an event loop, if it has one; such a connection does not wait itself.
    """

    __slots__ = (
        "__weakref__", "_early", "_forks", "_readable", "_socket", "idle_since", "in_step", "opened", "registration",
        "uses",
    )  # fmt: skip

    cut = False
    """Whether the connection ended without the closing message of its kind; TLS has one."""

    def __init__(self, sock: socket.socket) -> None:
        self._socket = sock
        self._readable = Poll()
        self._readable.register(sock, READABLE)
        self._early: bytes | None = None
        self.opened = monotonic()
        self.idle_since = math.inf  # never yet
        self.uses = 0
        self.in_step = True
        self.registration: Registration | None = None
        self._forks = _forks

    def is_usable(self) -> bool:
        """Return whether this process may send a request: nothing arrived since the last response, not even the end."""
        return self._forks == _forks and not self._readable.poll(0)

    @property
    def is_inherited(self) -> bool:
        """Whether a parent process opened it."""
        return self._forks != _forks

    def send(self, data: bytes, deadline: float) -> int:
        """Send ``data`` and return how many bytes of it the peer took.

        That is less than all if the peer responded or closed first (`receive` returns what it sent), and 0 if it had
        closed before.

        Raises:
            CallTimeout: the peer took no more before the deadline.
        """
        try:
            sent = self.write(data)
        except OSError:
            return 0
        return sent if sent == len(data) else self._send_rest(data, sent, deadline)

    def _send_rest(self, data: bytes, sent: int, deadline: float) -> int:
        either = Poll()
        either.register(self._socket, READABLE | WRITABLE)
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
        """Return whether the peer sent something, or closed, before it was its turn; `receive` returns it."""
        if self._early is None and self._readable.poll(0):
            self._early = self._read(_RECEIVE_SIZE)
        return self._early is not None

    def receive(self, deadline: float, phase: str) -> bytes:
        """Return what arrived; nothing if the connection ended.

        Raises:
            CallTimeout: nothing arrived before the deadline. ``phase`` is the error's.
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

    def wait_readable(self, deadline: float, phase: str) -> None:
        """Wait until there is something to read.

        Raises:
            CallTimeout: the deadline passed. ``phase`` is the error's.
        """
        if self._early is None:
            wait(self._readable, deadline, phase)

    # Without waiting.

    def fileno(self) -> int:
        """Return the socket's file descriptor, to wait for."""
        return self._socket.fileno()

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

    def shutdown(self) -> None:
        """End the connection, and wake the thread that waits for it; its owner still has to close it."""
        with suppress(OSError):  # the peer ended it, or it is closed
            self._socket.shutdown(socket.SHUT_RDWR)

    def close(self) -> None:
        """Close the socket. In a child process this leaves the parent's end open.

        A connection that is registered with an event loop is closed in the loop's thread.
        """
        if self.registration is None or self.registration.end():
            self._socket.close()

    def __del__(self) -> None:
        # A client that was not closed must not warn about each connection that it kept.
        if hasattr(self, "_socket"):  # Ctrl-C may interrupt __init__
            self._socket.close()

    # What is different over TLS.

    def _read(self, size: int) -> bytes | None:
        """Return what can be read, or None if nothing has arrived."""
        try:
            return self._socket.recv(size)
        except BlockingIOError:
            return None
        except OSError as lost:
            raise ConnectionLost(f"the plugin closed the connection: {lost.strerror or lost}") from lost

    def write(self, data: bytes | memoryview) -> int:
        """Send what can be sent now, and return how many bytes that was."""
        try:
            return self._socket.send(data)
        except BlockingIOError:
            return 0


def wait(poll: Poll, deadline: float, phase: str) -> None:
    """Wait until ``poll`` reports something.

    Raises:
        CallTimeout: the deadline passed.
    """
    while (seconds := deadline - monotonic()) > 0:
        if poll.poll(min(seconds, LONGEST_WAIT) * 1000):
            return
    raise late(phase)


def late(phase: str) -> CallTimeout:
    """Return the error for a deadline that passed in this phase of a call."""
    return CallTimeout(f"timed out waiting for {_EVENTS[phase]}", phase=phase)
