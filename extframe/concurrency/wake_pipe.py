"""A file descriptor that any thread can make readable, to wake one that waits for descriptors."""

from __future__ import annotations

import os
from contextlib import suppress

from .locks import signal_safe_lock


class WakePipe:
    """A pipe that is readable from `up` until `drain`."""

    def __init__(self) -> None:
        self.descriptor, self._other_end = os.pipe()
        os.set_blocking(self.descriptor, False)
        os.set_blocking(self._other_end, False)
        self._lock = signal_safe_lock()  # without it, `up` might write to another file whose number is the same
        self._closed = False

    def fileno(self) -> int:
        """Return the descriptor that becomes readable."""
        return self.descriptor

    def up(self) -> None:
        """Make it readable."""
        with self._lock, suppress(BlockingIOError):  # it is full, so it is readable
            if not self._closed:
                os.write(self._other_end, b"!")

    def drain(self) -> None:
        """Make it unreadable."""
        with suppress(BlockingIOError):
            while os.read(self.descriptor, 4096):
                pass

    def close(self) -> None:
        """Close the descriptors."""
        with self._lock:
            if not self._closed:
                self._closed = True
                os.close(self.descriptor)
                os.close(self._other_end)
