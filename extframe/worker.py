"""Run things that somebody may stop waiting for, one or many. Knows nothing of what it runs."""

from __future__ import annotations

import threading
from collections import deque
from collections.abc import Callable, Sequence
from contextvars import copy_context
from typing import Generic, TypeVar

from .deadline import left
from .errors import ExtframeError

T = TypeVar("T")

CREW = 4  # threads that many calls begin with
TICK = 0.005  # seconds after which there may be four times as many


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
            self._error = ExtframeError(
                f"no thread could be started for {name!r}: {refused}; raise the limit on threads (ulimit -u, or "
                "pids.max of the control group), or have fewer at a time"
            )

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


Outcome = Callable[[], T]
"""Returns what a call returned, or raises what it raised."""


def side_by_side(work: Callable[[str], T], names: Sequence[str], deadline: float, what: str) -> dict[str, Outcome[T]]:
    """Call ``work`` with each name, and return the outcomes of the calls that ended by the deadline.

    A few threads share the calls, and grow in number while calls are left over that take longer than a tick each:
    calls that are quick need no thread each, and those that hang cost threads, not the time of the others. What
    has not begun by the deadline never does; what has not ended goes on alone.
    """
    waiting = deque(names)
    outcomes: dict[str, Outcome[T]] = {}
    all_ended = threading.Event()

    def labour() -> None:
        while True:
            try:
                name = waiting.popleft()
            except IndexError:
                return
            outcomes[name] = _outcome(work, name)
            if len(outcomes) == len(names):
                all_ended.set()

    crew: list[Worker[None]] = []
    ended = 0  # when the last tick began
    while len(outcomes) < len(names) and (not crew or left(deadline)):
        if waiting and (not crew or len(outcomes) - ended < len(crew)):
            crew += [Worker(labour, what) for _ in range(min(len(waiting), max(CREW, 3 * len(crew))))]
            if not any(worker.started for worker in crew):
                labour()  # the system has no thread for us: one after the other, then
        ended = len(outcomes)
        all_ended.wait(min(TICK, left(deadline)) if waiting else left(deadline))
    waiting.clear()
    return dict(outcomes)


def _outcome(work: Callable[[str], T], name: str) -> Outcome[T]:
    try:
        value = work(name)
    except BaseException as error:  # noqa: BLE001 - handed to whoever waits
        return _raiser(error)
    return lambda: value


def _raiser(error: BaseException) -> Outcome[T]:
    def outcome() -> T:
        raise error

    return outcome
