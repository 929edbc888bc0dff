"""What the operating system offers, and a replacement where it offers less. Knows no plugins.

Windows has no unix sockets in Python, no user ids, no poll and no resource limits. Everything that works without them
works there: managers, registries, plugins over TCP.
"""

from __future__ import annotations

import os
import select
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

from ..errors import ExtframeError

if TYPE_CHECKING:
    from threading import RLock

try:  # socket takes long to import, for its enumerations, and `extframe ls --no-contact` does without
    import _socket as socket
except ImportError:  # pragma: no cover - not CPython
    import socket  # type: ignore[no-redef]

HAS_UNIX_SOCKETS = hasattr(socket, "AF_UNIX")
NO_UNIX_SOCKETS = "this system has no unix sockets; use TCP: tcp://127.0.0.1:PORT"

OPEN_AT_ONCE: int = getattr(os, "O_NONBLOCK", 0)
"""The flag with which opening a FIFO does not wait for its other end. Windows has no FIFOs."""


def require_unix(what: str) -> None:
    """Do nothing if the system is a Unix.

    Args:
        what: needs one: ``Supervisor``.

    Raises:
        ExtframeError: it is not.
    """
    if not (HAS_UNIX_SOCKETS and hasattr(os, "fork")):
        raise ExtframeError(f"{what} needs a Unix system, with unix sockets and fork")


def user_id() -> int | None:
    """Return the effective id of the user of this process, None where users have none."""
    return os.geteuid() if hasattr(os, "geteuid") else None


def descriptor_limit() -> int | None:
    """Return how many file descriptors this process may have, None if that is not limited."""
    try:
        import resource
    except ImportError:
        return None
    soft, _ = resource.getrlimit(resource.RLIMIT_NOFILE)
    return None if soft in (resource.RLIM_INFINITY, -1) else soft


def after_fork(function: Callable[[], object]) -> None:
    """Have a function called in each child process that a fork makes."""
    if hasattr(os, "register_at_fork"):
        os.register_at_fork(after_in_child=function)


def delay_forks(held: RLock) -> None:
    """Let this process fork only while no other thread holds a lock."""
    if hasattr(os, "register_at_fork"):
        os.register_at_fork(before=held.acquire, after_in_parent=held.release, after_in_child=held.release)


def lock(descriptor: int) -> None:
    """Lock an open file, and wait for the process that holds the lock."""
    import fcntl

    fcntl.flock(descriptor, fcntl.LOCK_EX)


def lock_now(descriptor: int) -> None:
    """Lock an open file.

    Raises:
        BlockingIOError: another process holds the lock.
    """
    import fcntl

    fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)


def share_lock_now(descriptor: int) -> None:
    """Lock an open file together with others that share the lock.

    Raises:
        BlockingIOError: another process holds the lock for itself.
    """
    import fcntl

    fcntl.flock(descriptor, fcntl.LOCK_SH | fcntl.LOCK_NB)


# --- waiting for file descriptors ---------------------------------------------------------------------

if TYPE_CHECKING or hasattr(select, "poll"):
    Poll = select.poll
    READABLE, WRITABLE = select.POLLIN, select.POLLOUT
else:
    READABLE, WRITABLE = 1, 4

    class Poll:
        """The part of ``select.poll`` that is needed here, made of ``select.select``, which takes sockets there."""

        def __init__(self) -> None:
            self._events: dict[int, int] = {}

        def register(self, descriptor: Any, events: int) -> None:
            """Wait for these events of a descriptor, or of what has one, from now on."""
            self._events[_number(descriptor)] = events

        def unregister(self, descriptor: Any) -> None:
            """Wait for the descriptor no more.

            Raises:
                KeyError: it is not registered.
            """
            del self._events[_number(descriptor)]

        def poll(self, milliseconds: float | None = None) -> list[tuple[int, int]]:
            """Wait for an event, and return the descriptors that have some, with their events."""
            if not self._events:  # an error on Windows
                raise ValueError("poll() without descriptors")
            reading = [fd for fd, events in self._events.items() if events & READABLE]
            writing = [fd for fd, events in self._events.items() if events & WRITABLE]
            # A connection that failed is in the third list there.
            seconds = None if milliseconds is None else max(milliseconds, 0) / 1000
            readable, writable, failed = select.select(reading, writing, writing, seconds)
            found = dict.fromkeys(readable, READABLE)
            for fd in {*writable, *failed}:
                found[fd] = found.get(fd, 0) | WRITABLE
            return list(found.items())

    def _number(descriptor: Any) -> int:
        return descriptor if isinstance(descriptor, int) else descriptor.fileno()
