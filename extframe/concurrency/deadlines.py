"""Deadlines: points in time that several waits share. Reads the monotonic clock and nothing else."""

from __future__ import annotations

import threading
import time


class Deadline(float):
    """A ``time.monotonic()`` value, with the timeout that it was computed from, in seconds, for messages."""

    __slots__ = ("timeout",)
    timeout: float

    def __new__(cls, moment: float, timeout: float) -> Deadline:
        """Return the deadline at ``moment``."""
        made = super().__new__(cls, moment)
        made.timeout = timeout
        return made


class Remaining(float):
    """The seconds until a deadline, with the timeout that the deadline was computed from."""

    __slots__ = ("timeout",)
    timeout: float

    def __new__(cls, deadline: float) -> Remaining:
        """Return the seconds that are left until ``deadline``."""
        made = super().__new__(cls, left(deadline))
        made.timeout = deadline.timeout if isinstance(deadline, Deadline) else round(made, 3)
        return made


def after(seconds: float) -> Deadline:
    """Return the deadline in ``seconds`` from now, as a ``time.monotonic()`` value.

    Raises:
        ValueError: ``seconds`` is negative or NaN.
        TypeError: ``seconds`` is not a number.
    """
    if not isinstance(seconds, int | float):
        raise TypeError(f"timeout is {seconds!r}; expected seconds, or math.inf for no timeout")
    if not seconds >= 0:
        raise ValueError(f"timeout is {seconds!r}; expected seconds, 0 or more")
    return Deadline(time.monotonic() + seconds, seconds)


def check_timeout(timeout: float) -> float:
    """Return ``timeout`` if it is a number of seconds greater than 0; math.inf means no timeout.

    Raises:
        ValueError: ``timeout`` is 0, negative or NaN.
        TypeError: ``timeout`` is not a number.
    """
    if not isinstance(timeout, int | float):
        raise TypeError(f"timeout is {timeout!r}; expected seconds, or math.inf for no timeout")
    if not timeout > 0:
        raise ValueError(f"timeout is {timeout!r}; expected seconds, more than 0, or math.inf")
    return timeout


def left(deadline: float) -> float:
    """Return the seconds until ``deadline``, 0.0 once it has passed; never more than ``threading`` accepts."""
    return min(max(0.0, deadline - time.monotonic()), threading.TIMEOUT_MAX)
