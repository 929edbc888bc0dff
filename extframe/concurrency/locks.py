"""Locks for code that signals may interrupt. Why they are as they are is said here, once."""

from __future__ import annotations

import threading


def signal_safe_lock() -> threading.RLock:
    """Return a lock that a signal handler may take while the thread that it interrupts holds it.

    Python runs signal handlers in the main thread, between any two instructions. A handler that closes a manager, say,
    would wait forever for a ``threading.Lock`` that its own thread holds.
    """
    return threading.RLock()


def signal_safe_condition(lock: threading.RLock) -> threading.Condition:
    """Return a condition for threads that wait. Enter it by ``with lock``, not by ``with condition``.

    ``Condition.__enter__`` is Python code: Ctrl-C in it, after the lock is taken, leaves the lock taken for good.
    Entering the lock itself cannot be interrupted in between.
    """
    return threading.Condition(lock)
