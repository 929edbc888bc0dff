"""Run functions in threads, one or many, with a deadline for the caller. Knows nothing about what it runs."""

from __future__ import annotations

import sys
import threading
import time
from collections import deque
from collections.abc import Callable, Sequence
from contextvars import copy_context
from functools import partial
from typing import Any, Generic, TypeVar

from ..errors import ExtframeError
from .deadlines import left
from .event import Event

T = TypeVar("T")

TICK = 0.005  # seconds: the shortest time between two growths of a thread pool, each by a factor of at most four


class Worker(Generic[T]):
    """A function call in a daemon thread of its own, with the caller's context variables."""

    def __init__(self, function: Callable[[], T], name: str) -> None:
        self._function = function
        self._value: T
        self._error: BaseException | None = None
        self.started = True
        self._thread = threading.Thread(target=copy_context().run, args=(self._run,), name=name, daemon=True)
        try:
            start(self._thread)
        except ExtframeError as refused:
            self.started = False
            self._error = refused

    def _run(self) -> None:
        try:
            self._value = self._function()
        except BaseException as error:  # noqa: BLE001 - raised again by `result`
            self._error = error

    def result(self, deadline: float) -> T:
        """Return what the function returned, or raise what it raised.

        Raises:
            TimeoutError: the function is still running at the deadline. It continues in the background.
            ExtframeError: no thread could be started.
        """
        if self.started:
            self._thread.join(left(deadline))
        if self._thread.is_alive():
            raise TimeoutError(f"{self._thread.name} is still running")
        if self._error is not None:
            raise self._error
        return self._value


def start(thread: threading.Thread) -> None:
    """Start a thread.

    Raises:
        ExtframeError: the system has no thread for it.
        KeyboardInterrupt: Ctrl-C came meanwhile; the thread may run.
    """
    handled = sys.exc_info()[1]
    try:
        thread.start()
    except RuntimeError as refused:
        # Ctrl-C inside Condition.wait makes CPython release an unlocked lock, whose error would hide it.
        interruption = refused.__context__
        if interruption is not handled and isinstance(interruption, KeyboardInterrupt):
            raise interruption from None
        raise ExtframeError(
            f"cannot start a thread for {thread.name!r}: {refused}; raise the limit on threads (ulimit -u, or pids.max "
            "of the control group), or use fewer threads"
        ) from refused


class ThreadPool:
    """A pool that starts with one thread and grows while submitted functions wait longer than a tick.

    Quick functions share a few threads; functions that hang occupy threads but do not delay the others. The threads
    end when the queue is empty. The owner calls `grow` until it returns False.
    """

    def __init__(self, name: str) -> None:
        self._name = name
        self._queue: deque[Callable[[], object]] = deque()
        self._lock = threading.Lock()
        self._threads = 0
        self._completed = 0
        self._completed_before = 0  # at the last tick
        self._next_tick = 0.0

    def submit(self, function: Callable[[], object]) -> None:
        """Queue a function, which must not raise. It runs after the next `grow`."""
        self._queue.append(function)

    def grow(self) -> bool:
        """Start the threads that the queue needs; return whether functions are still queued: call this again then."""
        now = time.monotonic()
        if self._queue and (not self._threads or now >= self._next_tick):
            if not self._threads or self._completed - self._completed_before < self._threads:
                self._start(min(len(self._queue), 3 * self._threads or 1))
            self._completed_before, self._next_tick = self._completed, now + TICK
        return bool(self._queue)

    def cancel_pending(self) -> None:
        """Remove the functions that have not started from the queue."""
        self._queue.clear()

    def _start(self, count: int) -> None:
        for _ in range(count):
            with self._lock:
                self._threads += 1
            if not Worker(self._run_queue, self._name).started:
                with self._lock:
                    self._threads -= 1
        if not self._threads and (function := self._next()) is not None:
            function()  # the system starts no thread: run the queue in this one

    def _run_queue(self) -> None:
        while True:
            with self._lock:
                function = self._next()
                if function is None:
                    self._threads -= 1
                    return
            function()
            self._completed += 1

    def _next(self) -> Callable[[], object] | None:
        try:
            return self._queue.popleft()
        except IndexError:
            return None


Outcome = Callable[[], T]
"""Returns what a call returned, or raises what it raised."""


def run_concurrently(
    function: Callable[[str], T], names: Sequence[str], deadline: float, thread_name: str
) -> dict[str, Outcome[T]]:
    """Call ``function`` with each name in a thread pool; return the outcomes of the calls that ended by the deadline.

    Calls that have not started by then are cancelled; those that are running continue in the background.
    """
    outcomes: dict[str, Outcome[T]] = {}
    ended = Event()

    def run(name: str) -> None:
        outcomes[name] = outcome_of(function, name)
        if len(outcomes) == len(names):
            ended.set()

    pool = ThreadPool(thread_name)
    for name in names:
        pool.submit(partial(run, name))
    while names and not ended.is_set() and left(deadline):
        ended.wait(min(TICK, left(deadline)) if pool.grow() else left(deadline))
    pool.cancel_pending()
    return dict(outcomes)


def outcome_of(function: Callable[[str], T], name: str) -> Outcome[T]:
    """Call a function, and return what returns or raises what it did."""
    try:
        value = function(name)
    except BaseException as error:  # noqa: BLE001 - raised again by the outcome
        return partial(_raise, error)
    return lambda: value


def _raise(error: BaseException) -> Any:
    raise error
