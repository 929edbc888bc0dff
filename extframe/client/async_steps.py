"""How a task waits for the steps of an operation that does not wait itself. Knows no addresses and no HTTP."""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Awaitable, Callable
from contextvars import Context
from time import monotonic
from typing import Any, TypeVar

from ..concurrency.async_threads import call_in_thread
from ..concurrency.loop_watcher import watcher_of
from ..concurrency.system import READABLE
from .connection import LONGEST_WAIT, late
from .steps import Blocking, Pause, Ready, Step, Steps

T = TypeVar("T")

_CONNECTIONS_AT_ONCE = 50  # about 2 ms


async def run_async(steps: Steps[T]) -> T:
    """Return what an operation returns, awaiting its steps."""
    try:
        step = next(steps)
        while True:
            try:
                result = await _WAITS[type(step)](step)
            except BaseException as failure:  # noqa: BLE001, PERF203 - the operation handles it
                step = steps.throw(failure)
            else:
                step = steps.send(result)
    except StopIteration as ended:
        return ended.value  # type: ignore[no-any-return]


async def _wait_ready(step: Ready) -> None:
    loop = asyncio.get_running_loop()
    reads = step.events == READABLE
    future: asyncio.Future[None] = loop.create_future()
    # In an empty context: the loop would keep the task's.
    watcher = watcher_of(loop)
    Context().run(watcher.add_reader if reads else watcher.add_writer, step.fd, _set, future)
    try:
        await until(future, step.deadline, step.phase)
    finally:
        if not loop.is_closed():
            (watcher.remove_reader if reads else watcher.remove_writer)(step.fd)


async def _pause(step: Pause) -> None:
    await asyncio.sleep(step.seconds)


async def _block(step: Blocking) -> Any:
    future = call_in_thread(step.function, step.name)
    await until(future, step.deadline, step.phase)
    return future.result()


_WAITS: dict[type[Step], Callable[[Any], Awaitable[Any]]] = {Ready: _wait_ready, Pause: _pause, Blocking: _block}


async def until(future: asyncio.Future[Any], deadline: float, phase: str) -> None:
    """Wait until a future is done; it is cancelled if this is.

    Raises:
        CallTimeout: the deadline passed; the future is cancelled.
    """
    while not future.done():
        seconds = deadline - monotonic()
        if seconds <= 0:
            future.cancel()
            raise late(phase)
        try:
            await asyncio.wait({future}, timeout=min(seconds, LONGEST_WAIT))
        except BaseException:
            future.cancel()
            raise


def _set(future: asyncio.Future[None]) -> None:
    if not future.done():
        future.set_result(None)


class ConnectQueue:
    """Lets some tasks connect in each iteration of the loop.

    Ten thousand calls that start together would stop the loop for half a second otherwise.
    """

    def __init__(self) -> None:
        self._waiting: deque[asyncio.Future[None]] = deque()
        self._admitted = 0  # in this iteration

    async def turn(self) -> None:
        """Wait until it is this task's turn to connect."""
        loop = asyncio.get_running_loop()
        if self._admitted < _CONNECTIONS_AT_ONCE and not self._waiting:
            if not self._admitted:
                loop.call_soon(self._admit, loop, context=Context())
            self._admitted += 1
            return
        future: asyncio.Future[None] = loop.create_future()
        self._waiting.append(future)
        await future

    def _admit(self, loop: asyncio.AbstractEventLoop) -> None:
        self._admitted = 0
        while self._waiting and self._admitted < _CONNECTIONS_AT_ONCE:
            future = self._waiting.popleft()
            if not future.done():  # not cancelled
                future.set_result(None)
                self._admitted += 1
        if self._admitted:
            loop.call_soon(self._admit, loop, context=Context())
