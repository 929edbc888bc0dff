"""An event that is set once and can be waited for."""

from __future__ import annotations

from .locks import signal_safe_condition, signal_safe_lock


class Event:
    """A ``threading.Event`` that stays usable when Ctrl-C interrupts any of its methods, at any instruction."""

    def __init__(self) -> None:
        self._lock = signal_safe_lock()
        self._changed = signal_safe_condition(self._lock)
        self._is_set = False

    def is_set(self) -> bool:
        """Return whether the event is set."""
        return self._is_set

    def set(self) -> None:
        """Set the event and wake every thread that waits for it."""
        with self._lock:
            self._is_set = True
            self._changed.notify_all()

    def wait(self, timeout: float) -> bool:
        """Wait until the event is set, for at most ``timeout`` seconds; return whether it is set."""
        with self._lock:
            return self._changed.wait_for(self.is_set, timeout)
