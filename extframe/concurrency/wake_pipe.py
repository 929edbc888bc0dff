"""A file descriptor that any thread can make readable, to wake one that waits for descriptors."""

from __future__ import annotations

import socket
from contextlib import suppress

from .locks import signal_safe_lock


class _End(socket.socket):
    """A socket that does not warn when it is collected open, as the end of a pipe does not."""

    __slots__ = ()
    __del__ = socket.SocketType.close


class WakePipe:
    """A pair of sockets, one of which is readable from `up` until `drain`: Windows does not wait for pipes."""

    def __init__(self) -> None:
        ends = [_End(fileno=each.detach()) for each in socket.socketpair()]
        for each in ends:
            each.setblocking(False)
        self._readable, self._other_end = ends
        self.descriptor = self._readable.fileno()
        self._lock = signal_safe_lock()  # without it, `up` might write to another file whose number is the same
        self._closed = False

    def fileno(self) -> int:
        """Return the descriptor that becomes readable."""
        return self.descriptor

    def up(self) -> None:
        """Make it readable."""
        with self._lock, suppress(BlockingIOError):  # it is full, so it is readable
            if not self._closed:
                self._other_end.send(b"!")

    def drain(self) -> None:
        """Make it unreadable."""
        with suppress(BlockingIOError):
            while self._readable.recv(4096):
                pass

    def close(self) -> None:
        """Close the descriptors."""
        with self._lock:
            if not self._closed:
                self._closed = True
                self._readable.close()
                self._other_end.close()
