"""A flag that is raised once and can be waited for. Knows nothing of what it says."""

from __future__ import annotations

import threading


class Event:
    """What ``threading.Event`` is, but for Ctrl-C: wherever that comes, nobody who sets it or waits later is stuck."""

    def __init__(self) -> None:
        self._lock = threading.RLock()  # in itself, as Ctrl-C in Condition.__enter__ would leave it locked
        self._raised = threading.Condition(self._lock)
        self._is_set = False

    def is_set(self) -> bool:
        """Return whether it is raised."""
        return self._is_set

    def set(self) -> None:
        """Raise it, for all who wait and who ask."""
        with self._lock:
            self._is_set = True
            self._raised.notify_all()

    def wait(self, timeout: float) -> bool:
        """Wait until it is raised, for so many seconds at most; return whether it is."""
        with self._lock:
            return self._raised.wait_for(self.is_set, timeout)
