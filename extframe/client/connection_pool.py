"""Idle connections, kept to be used again. Opens none, and knows nothing of what goes over them.

There is no lock. A connection belongs to whoever takes it off its shelf, which is a list, and `append`, `pop` and
`remove` are single steps in Python. So nothing waits for a thread that a fork left behind, or that a signal handler
or the garbage collector interrupted.
"""

from __future__ import annotations

import resource
from time import monotonic
from weakref import ref

from .connection import Connection

_SWEEP_INTERVAL = 10.0  # seconds


class IdleConnections(list[Connection]):
    """The idle connections of one transport, the last used last."""

    __slots__ = ("closed",)

    def __init__(self) -> None:
        super().__init__()
        self.closed = False


def affordable() -> int:
    """Return how many connections a program may have without running short of file descriptors.

    It is a third of what the system lets it open, as other things want theirs, and 1,024 at most.
    """
    soft, _ = resource.getrlimit(resource.RLIMIT_NOFILE)
    return 1024 if soft == resource.RLIM_INFINITY else max(16, min(soft // 3, 1024))


class ConnectionPool:
    """The shelves of any number of transports.

    Of more than ``limit`` open connections those are closed that were idle longest, and none stays idle for much
    longer than ``idle_timeout`` seconds. Both are looked at when connections are asked for: there is no thread.
    Where ``limit`` is None it is what the program can afford.
    """

    def __init__(self, limit: int | None = None, idle_timeout: float = 60.0) -> None:
        self.limit = affordable() if limit is None else limit
        self.idle_timeout = idle_timeout
        self._shelf_of: dict[ref[Connection], IdleConnections] = {}  # open ones, and some closed ones
        self._next_sweep = monotonic() + _SWEEP_INTERVAL

    def take(self, shelf: IdleConnections) -> Connection | None:
        """Return the connection of a shelf that was used last, or None."""
        now = monotonic()
        if now >= self._next_sweep:
            self._next_sweep = now + _SWEEP_INTERVAL
            self._close_unused(since=now - self.idle_timeout)
        try:
            return shelf.pop()
        except IndexError:
            return None

    def add(self, shelf: IdleConnections, connection: Connection) -> None:
        """Count a new connection, which is in use, and make room for it."""
        self._shelf_of[ref(connection)] = shelf
        if len(self._shelf_of) > self.limit:
            self._make_room()

    def put(self, shelf: IdleConnections, connection: Connection) -> None:
        """Keep a connection on its shelf, or close it where the shelf is closed."""
        connection.idle_since = monotonic()
        shelf.append(connection)
        if shelf.closed:
            self.close(shelf)

    def close(self, shelf: IdleConnections) -> None:
        """Close the connections on a shelf now, and those that are in use when they are put there."""
        shelf.closed = True
        while (connection := self.take(shelf)) is not None:
            connection.close()

    def _make_room(self) -> None:
        oldest_first = self._by_last_use()
        surplus = len(oldest_first) - self.limit
        if surplus <= 0:
            return
        # An eighth more than needed: a program with more plugins than connections would sort them for every call.
        surplus += self.limit // 8
        for connection, shelf in oldest_first:
            surplus -= _close_idle(connection, shelf)
            if surplus == 0:
                return

    def _close_unused(self, since: float) -> None:
        for connection, shelf in self._by_last_use():
            if connection.idle_since < since:
                _close_idle(connection, shelf)

    def _by_last_use(self) -> list[tuple[Connection, IdleConnections]]:
        """Return the open connections, the longest idle first, and forget the others."""
        found = []
        for here, shelf in list(self._shelf_of.items()):
            connection = here()
            if connection is not None and not connection.closed:
                found.append((connection, shelf))
            else:
                self._shelf_of.pop(here, None)
        return sorted(found, key=lambda pair: pair[0].idle_since)


def _close_idle(connection: Connection, shelf: IdleConnections) -> bool:
    """Whether the connection was idle; it is closed then."""
    try:
        shelf.remove(connection)
    except ValueError:
        return False
    connection.close()
    return True
