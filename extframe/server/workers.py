"""Run what blocks in threads, and let an event loop wait for it. Knows nothing of what it runs."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Callable
from contextlib import suppress
from contextvars import copy_context
from queue import SimpleQueue
from typing import Any, TypeVar

T = TypeVar("T")


class Workers:
    """At most ``limit`` threads, each made when it is first needed, and none in the way of the process's end.

    ``concurrent.futures`` joins its threads when the interpreter ends: one method that blocks for ever would keep
    a plugin from ever stopping.
    """

    def __init__(self, limit: int) -> None:
        if limit < 1:
            raise ValueError(f"threads={limit}: methods that block need at least one thread")
        self._limit = limit
        self._jobs: SimpleQueue[_Job | None] = SimpleQueue()
        # Both are changed in the event loop alone, and need no lock.
        self._threads = 0
        self._unfinished = 0

    async def run(self, work: Callable[[], T], then: Callable[[], object] | None = None) -> T:
        """Return what ``work`` returns, or raise what it raises. Context variables are those of the caller.

        Whoever waits may be cancelled. ``work`` then goes on alone; ``then`` is called in the event loop when it
        has really ended.
        """
        job = _Job(work)
        job.ended.append(self._count_down)
        if then is not None:
            job.ended.append(then)
        self._unfinished += 1
        self._jobs.put(job)
        if self._unfinished > self._threads < self._limit:
            self._threads += 1
            threading.Thread(target=_serve, args=(self._jobs,), name="extframe-worker", daemon=True).start()
        await job.future
        if job.error is not None:
            raise job.error
        result: T = job.result
        return result

    def _count_down(self) -> None:
        self._unfinished -= 1

    def close(self) -> None:
        """Let each thread end when it has done what it was given."""
        for _ in range(self._threads):
            self._jobs.put(None)
        self._threads = 0


class _Job:
    """Something to run in a thread, and the future, in the event loop, of its end."""

    def __init__(self, work: Callable[[], Any]) -> None:
        self.ended: list[Callable[[], object]] = []
        self.result: Any = None
        self.error: BaseException | None = None
        self._work = work
        self._context = copy_context()
        self._loop = asyncio.get_running_loop()
        self.future: asyncio.Future[None] = self._loop.create_future()

    def run(self) -> None:
        """Run it, in the thread."""
        try:
            self.result = self._context.run(self._work)
        except BaseException as error:  # noqa: BLE001 - handed to whoever waits
            self.error = error
        with suppress(RuntimeError):  # the loop is closed: the server has stopped, and nobody waits
            self._loop.call_soon_threadsafe(self._end)

    def _end(self) -> None:
        for function in self.ended:
            function()
        if not self.future.done():
            self.future.set_result(None)


def _serve(jobs: SimpleQueue[_Job | None]) -> None:
    while (job := jobs.get()) is not None:
        job.run()
        del job  # what it holds is not to live until the next one comes
