"""Log what may happen thousands of times a second without flooding the log."""

from __future__ import annotations

import logging
import time

INTERVAL = 60.0  # seconds


class LimitedLogger:
    """Logs a kind of warning at most once a minute; the next line says how many were left out."""

    def __init__(self, logger: logging.Logger) -> None:
        self._logger = logger
        self._next: dict[str, float] = {}
        self._skipped: dict[str, int] = {}

    def warning(self, message: str, *args: object) -> None:
        """Log ``message``, unless a line with this format was logged in the last minute."""
        now = time.monotonic()
        if now < self._next.get(message, 0.0):
            self._skipped[message] = self._skipped.get(message, 0) + 1
            return
        self._next[message] = now + INTERVAL
        skipped = self._skipped.pop(message, 0)
        if skipped:
            message = f"{message} ({skipped} more like this since the last line)"
        self._logger.warning(message, *args)
