"""Tasks that belong to an object, and waits with a deadline. Knows nothing about what runs."""

from __future__ import annotations

import asyncio
import math
from collections.abc import Callable, Collection, Coroutine
from contextlib import suppress
from contextvars import ContextVar
from typing import Any, TypeVar

from .deadlines import left

T = TypeVar("T")


async def done_by(future: asyncio.Future[Any], deadline: float) -> bool:
    """Wait for a future or task, which continues in any case; return whether it was done by the deadline.

    Args:
        future: what to wait for.
        deadline: a ``time.monotonic()`` value.
    """
    if not future.done():
        await done_by_all({future}, deadline)
    return future.done()


async def done_by_all(futures: Collection[asyncio.Future[Any]], deadline: float) -> None:
    """Wait until futures or tasks are done, or a ``time.monotonic()`` deadline has passed; they continue then."""
    if futures:
        await asyncio.wait(futures, timeout=None if deadline == math.inf else left(deadline))


async def result_by(future: asyncio.Future[T], deadline: float) -> T:
    """Return the result of a future that nothing else waits for; it is cancelled if nothing waits for it any more.

    Raises:
        TimeoutError: it has none at the deadline, a ``time.monotonic()`` value.
    """
    try:
        if not await done_by(future, deadline):
            raise TimeoutError
        return future.result()
    finally:
        if not future.cancel() and not future.cancelled():
            future.exception()  # else an exception that came as this task was cancelled would be logged


def set_done(future: asyncio.Future[None]) -> None:
    """Set the result of a future that may have been cancelled."""
    if not future.done():
        future.set_result(None)


def call_in_loop(loop: asyncio.AbstractEventLoop, function: Callable[[], object]) -> None:
    """Call ``function`` in the thread of a loop: at once if this is it, otherwise soon; never if the loop is closed."""
    if asyncio._get_running_loop() is loop:
        function()
        return
    with suppress(RuntimeError):  # the loop is closed
        loop.call_soon_threadsafe(function)


class OwnedTasks:
    """The tasks of one owner. They end with it, and not with the task that started them."""

    def __init__(self) -> None:
        self._tasks: set[asyncio.Task[Any]] = set()  # the event loop has only weak references
        self._is_closed = False

    def start(self, coroutine: Coroutine[Any, Any, T], name: str) -> asyncio.Task[T]:
        """Run a coroutine in a task, with the context variables of the caller."""
        task = asyncio.get_running_loop().create_task(_run(coroutine), name=name)
        if self._is_closed:
            task.cancel()
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)
        task.add_done_callback(lambda _: coroutine.close())  # it was never awaited if the task was cancelled before
        return task

    def cancel(self) -> None:
        """Cancel all tasks but those that this code runs in, and those that are started from now on."""
        self._is_closed = True
        for task in self._others():
            task.cancel()

    async def close(self, deadline: float) -> None:
        """Cancel all tasks as `cancel` does, and wait until they have ended.

        Args:
            deadline: when to stop waiting, a ``time.monotonic()`` value.
        """
        self.cancel()
        pending = self._others()
        if pending:
            await asyncio.wait(pending, timeout=left(deadline))

    def _others(self) -> set[asyncio.Task[Any]]:
        return self._tasks.difference(_above.get())


_above: ContextVar[tuple[asyncio.Task[Any], ...]] = ContextVar("extframe_tasks", default=())
"""The owned tasks that wait for this code: a handler may close its manager, and goes on."""


async def _run(coroutine: Coroutine[Any, Any, T]) -> T:
    task = asyncio.current_task()
    if task is not None:
        _above.set((*_above.get(), task))
    return await coroutine
