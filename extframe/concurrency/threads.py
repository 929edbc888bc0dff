"""Run things that somebody may stop waiting for, one or many. Knows nothing of what it runs."""

from __future__ import annotations

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

TICK = 0.005  # seconds after which a crew may be four times as many


class Worker(Generic[T]):
    """A call in a thread of its own, which ends with the call and never keeps the process alive.

    Context variables are those of the caller.
    """

    def __init__(self, work: Callable[[], T], name: str) -> None:
        self._work = work
        self._value: T
        self._error: BaseException | None = None
        self.started = True
        self._thread = threading.Thread(target=copy_context().run, args=(self._run,), name=name, daemon=True)
        try:
            self._thread.start()
        except RuntimeError as refused:
            self.started = False
            self._error = no_thread(name, refused)

    def _run(self) -> None:
        try:
            self._value = self._work()
        except BaseException as error:  # noqa: BLE001 - handed to whoever waits
            self._error = error

    def result(self, deadline: float) -> T:
        """Return what the call returned, or raise what it raised.

        Raises:
            TimeoutError: it has not ended by the deadline, and goes on alone.
            ExtframeError: no thread could be started for it.
        """
        if self.started:
            self._thread.join(left(deadline))
        if self._thread.is_alive():
            raise TimeoutError(f"{self._thread.name} has not ended")
        if self._error is not None:
            raise self._error
        return self._value


def no_thread(name: str, refused: RuntimeError) -> ExtframeError:
    """Return the error for a thread that the system refused."""
    return ExtframeError(
        f"no thread could be started for {name!r}: {refused}; raise the limit on threads (ulimit -u, or "
        "pids.max of the control group), or have fewer at a time"
    )


class ThreadPool:
    """Threads that share calls: one to begin with, and more while calls are left over that take longer than a tick.

    Calls that are quick need no thread each, and those that hang cost threads, not the time of the others. The
    threads end when nothing is left to do.
    """

    def __init__(self, name: str) -> None:
        self._name = name
        self._waiting: deque[Callable[[], object]] = deque()
        self._lock = threading.Lock()
        self._threads = 0
        self._ended = 0  # calls
        self._ended_before = 0  # by the last tick
        self._next_tick = 0.0

    def submit(self, work: Callable[[], object]) -> None:
        """Have a call made, when `tend` is called next. It must not raise."""
        self._waiting.append(work)

    def tend(self) -> bool:
        """Start the threads that are missing; return whether calls are left over, so that it is to be called again."""
        now = time.monotonic()
        if self._waiting and (not self._threads or now >= self._next_tick):
            if not self._threads or self._ended - self._ended_before < self._threads:
                self._start(min(len(self._waiting), 3 * self._threads or 1))
            self._ended_before, self._next_tick = self._ended, now + TICK
        return bool(self._waiting)

    def dismiss(self) -> None:
        """Let calls that have not begun never begin."""
        self._waiting.clear()

    def _start(self, count: int) -> None:
        for _ in range(count):
            with self._lock:
                self._threads += 1
            if not Worker(self._labour, self._name).started:
                with self._lock:
                    self._threads -= 1
        if not self._threads and (work := self._next()) is not None:
            work()  # the system has no thread for us: one after the other, then

    def _labour(self) -> None:
        while True:
            with self._lock:
                work = self._next()
                if work is None:
                    self._threads -= 1
                    return
            work()
            self._ended += 1

    def _next(self) -> Callable[[], object] | None:
        try:
            return self._waiting.popleft()
        except IndexError:
            return None


Outcome = Callable[[], T]
"""Returns what a call returned, or raises what it raised."""


def run_concurrently(
    work: Callable[[str], T], names: Sequence[str], deadline: float, what: str
) -> dict[str, Outcome[T]]:
    """Have a crew call ``work`` with each name, and return the outcomes of the calls that ended by the deadline.

    What has not begun by then never does; what has not ended goes on alone.
    """
    outcomes: dict[str, Outcome[T]] = {}
    ended = Event()

    def note(name: str) -> None:
        outcomes[name] = _outcome(work, name)
        if len(outcomes) == len(names):
            ended.set()

    crew = ThreadPool(what)
    for name in names:
        crew.submit(partial(note, name))
    while names and not ended.is_set() and left(deadline):
        ended.wait(min(TICK, left(deadline)) if crew.tend() else left(deadline))
    crew.dismiss()
    return dict(outcomes)


def _outcome(work: Callable[[str], T], name: str) -> Outcome[T]:
    try:
        value = work(name)
    except BaseException as error:  # noqa: BLE001 - handed to whoever waits
        return partial(_raise, error)
    return lambda: value


def _raise(error: BaseException) -> Any:
    raise error
