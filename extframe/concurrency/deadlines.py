"""Deadlines: points in time that several waits share. Reads the monotonic clock and nothing else."""

from __future__ import annotations

import threading
import time


def after(seconds: float) -> float:
    """Return the deadline that lies so many seconds ahead, as a ``time.monotonic()`` value.

    Raises:
        ValueError: a negative number, or NaN.
        TypeError: no number at all.
    """
    if not isinstance(seconds, int | float):
        raise TypeError(f"a timeout is a number of seconds, math.inf for no end: {seconds!r}")
    if not seconds >= 0:
        raise ValueError(f"a timeout is a number of seconds, 0 or more: {seconds!r}")
    return time.monotonic() + seconds


def check_timeout(timeout: float) -> float:
    """Return a timeout, which is a number of seconds, more than 0, or math.inf.

    Raises:
        ValueError: 0, a negative number, or NaN.
        TypeError: no number at all.
    """
    if not isinstance(timeout, int | float):
        raise TypeError(f"timeout is {timeout!r}; expected seconds, or math.inf for no end")
    if not timeout > 0:
        raise ValueError(f"timeout is {timeout!r}; expected seconds, more than 0, or math.inf")
    return timeout


def left(deadline: float) -> float:
    """Return the seconds until a deadline, 0.0 when it has passed, as every wait of ``threading`` takes them."""
    return min(max(0.0, deadline - time.monotonic()), threading.TIMEOUT_MAX)
