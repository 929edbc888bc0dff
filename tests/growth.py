"""How the cost of a function grows with its input: a ratio, which a slow or busy machine leaves as it is."""

import time
from collections.abc import Callable


def growth(function: Callable[[bytes], object], piece: bytes, *, pieces: int = 4_000, times: int = 16) -> float:
    """The CPU time of ``function`` for ``times`` as many pieces, in that for ``pieces``: linear is about ``times``."""
    return least_cpu(function, piece * pieces * times) / least_cpu(function, piece * pieces)


def least_cpu(function: Callable[[bytes], object], argument: bytes) -> float:
    """The least CPU seconds of five calls: interruptions only add to it."""
    return min(cpu(function, argument) for _ in range(5))


def cpu(function: Callable[[bytes], object], argument: bytes) -> float:
    started = time.thread_time()
    function(argument)
    return time.thread_time() - started + 1e-6  # never zero, whatever the clock's resolution
