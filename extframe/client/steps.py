"""Steps: what an operation that does not wait itself waits for, and how a thread waits. Knows no addresses and no HTTP.

Such an operation is a generator. A thread drives it with `run`, a task of an event loop with its own driver.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Generator
from typing import Any, NamedTuple, TypeVar

from ..concurrency.deadlines import left
from ..concurrency.system import Poll
from ..concurrency.threads import Worker
from .connection import late, wait

T = TypeVar("T")


class Ready(NamedTuple):
    """Wait until a file descriptor is ready; CallTimeout is thrown into the operation at the deadline.

    ``events`` is READABLE or WRITABLE; ``phase`` is the error's.
    """

    fd: int
    events: int
    deadline: float
    phase: str


class Pause(NamedTuple):
    """Wait for some seconds."""

    seconds: float


class Blocking(NamedTuple):
    """Call a function that blocks, in a thread; the operation gets what it returns or raises.

    CallTimeout is thrown into the operation at the deadline; the function continues in the background.
    """

    function: Callable[[], Any]
    name: str
    deadline: float
    phase: str


Step = Ready | Pause | Blocking
Steps = Generator[Step, Any, T]


def run(steps: Steps[T]) -> T:
    """Return what an operation returns, waiting for its steps in this thread."""
    try:
        step = next(steps)
        while True:
            try:
                result = _WAITS[type(step)](step)
            except BaseException as failure:  # noqa: BLE001, PERF203 - the operation handles it
                step = steps.throw(failure)
            else:
                step = steps.send(result)
    except StopIteration as ended:
        return ended.value  # type: ignore[no-any-return]


def _wait_ready(step: Ready) -> None:
    poll = Poll()
    poll.register(step.fd, step.events)
    wait(poll, step.deadline, step.phase)


def _pause(step: Pause) -> None:
    time.sleep(step.seconds)


def _block(step: Blocking) -> Any:
    worker = Worker(step.function, step.name)
    try:
        return worker.result(step.deadline)
    except TimeoutError:
        if left(step.deadline):  # the function's own
            raise
        raise late(step.phase) from None


_WAITS: dict[type[Step], Callable[[Any], Any]] = {Ready: _wait_ready, Pause: _pause, Blocking: _block}
