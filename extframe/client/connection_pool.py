"""Idle connections, kept for reuse. Opens none, and knows nothing about what is sent over them.

There is no lock. A connection belongs to the thread that takes it from its list, and `append`, `pop` and `remove` are
single steps in Python. So no thread waits for one that a fork left behind, or that a signal handler or the garbage
collector interrupted.
"""

from __future__ import annotations

from time import monotonic
from weakref import ref

from ..concurrency.system import descriptor_limit
from .connection import Connection

_SWEEP_INTERVAL = 10.0  # seconds


class IdleConnections(list[Connection]):
    """The idle connections of one transport, the most recently used last."""

    __slots__ = ("closed",)

    def __init__(self) -> None:
        super().__init__()
        self.closed = False


def affordable() -> int:
    """Return how many connections a program can have without running out of file descriptors.

    It is a third of the limit on descriptors, as the program needs others too, and 1,024 at most.
    """
    limit = descriptor_limit()
    return 1024 if limit is None else max(16, min(limit // 3, 1024))


class ConnectionPool:
    """The idle connections of any number of clients.

    If more than ``limit`` connections are open, those that have been idle longest are closed. None stays idle for much
    longer than ``idle_timeout`` seconds. Both are enforced when connections are requested: there is no thread.

    Args:
        limit: `affordable` where None.
        idle_timeout: seconds.
    """

    def __init__(self, limit: int | None = None, idle_timeout: float = 60.0) -> None:
        self.limit = affordable() if limit is None else limit
        self.idle_timeout = idle_timeout
        self._owners: dict[ref[Connection], IdleConnections] = {}  # of open connections, and of some closed ones
        self._next_sweep = monotonic() + _SWEEP_INTERVAL
        self._next_look = self.limit + 1  # the number of connections at which to close surplus ones
        self._puts_until_look = 0  # 0 unless more connections are in use than the limit

    def take(self, idle: IdleConnections) -> Connection | None:
        """Return the most recently used connection of a list, or None."""
        now = monotonic()
        if now >= self._next_sweep:
            self._next_sweep = now + _SWEEP_INTERVAL
            self._close_unused(since=now - self.idle_timeout)
        try:
            return idle.pop()
        except IndexError:
            return None

    def add(self, idle: IdleConnections, connection: Connection) -> None:
        """Count a new connection, which is in use, and make room for it."""
        self._owners[ref(connection)] = idle
        if len(self._owners) >= self._next_look:
            self._make_room()

    def put(self, idle: IdleConnections, connection: Connection) -> None:
        """Keep a connection, or close it if its list is closed."""
        connection.idle_since = monotonic()
        connection.uses += 1
        idle.append(connection)
        if idle.closed:
            self.close(idle)
        elif self._puts_until_look:
            self._puts_until_look -= 1
            if not self._puts_until_look:
                self._make_room()

    def close(self, idle: IdleConnections) -> None:
        """Close the connections in a list now, and those that are in use when they are put there."""
        idle.closed = True
        while (connection := self.take(idle)) is not None:
            connection.close()

    def _make_room(self) -> None:
        longest_idle_first = self._by_last_use()
        surplus = len(longest_idle_first) - self.limit
        if surplus > 0:
            # An eighth more than needed: a program with more plugins than connections would sort them at every call.
            surplus += self.limit // 8
            for connection, idle in longest_idle_first:
                surplus -= self._close_idle(connection, idle)
                if surplus == 0:
                    break
        # Those in use cannot be closed. To look again at each that is added or put would take quadratic time.
        remaining = len(self._owners)
        step = max(1, remaining // 8)
        self._next_look = max(self.limit + 1, remaining + step)
        self._puts_until_look = step if remaining > self.limit else 0

    def _close_unused(self, since: float) -> None:
        for connection, idle in self._by_last_use():
            if connection.idle_since < since:
                self._close_idle(connection, idle)

    def _by_last_use(self) -> list[tuple[Connection, IdleConnections]]:
        """Return the open connections, the longest idle first, and forget the others."""
        found = []
        for here, idle in list(self._owners.items()):
            connection = here()
            if connection is not None and not connection.closed:
                found.append((connection, idle))
            else:
                self._owners.pop(here, None)
        return sorted(found, key=lambda pair: pair[0].idle_since)

    def _close_idle(self, connection: Connection, idle: IdleConnections) -> bool:
        """Close a connection if it is idle, and return whether it was."""
        try:
            idle.remove(connection)
        except ValueError:
            return False
        connection.close()
        self._owners.pop(ref(connection), None)
        return True
