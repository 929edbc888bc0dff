"""Run blocking calls in threads and await them. Knows nothing of what it runs."""

from __future__ import annotations

import asyncio
import threading
import time
from collections.abc import Callable
from contextlib import suppress
from contextvars import copy_context
from queue import SimpleQueue
from typing import Any, TypeVar

from ..concurrency.threads import start
from ..errors import ExtframeError

T = TypeVar("T")


class Saturated(Exception):
    """A call waited for a thread, or for another call, for as long as it may. The text says for what."""


class Executor:
    """Up to ``limit`` daemon threads, started when they are needed.

    ``concurrent.futures`` joins its threads at exit, so a method that blocks forever would keep the process alive.

    Args:
        limit: how many calls may run at a time.
        queue_timeout: seconds that a call may wait for a thread.
    """

    def __init__(self, limit: int, queue_timeout: float) -> None:
        if limit < 1:
            raise ValueError(f"threads={limit}: blocking methods need at least one thread")
        self.limit = limit
        self.queue_timeout = queue_timeout
        self._jobs: SimpleQueue[_Job | None] = SimpleQueue()
        # Changed in the event loop only, so no lock is needed.
        self._threads = 0
        self._unfinished = 0
        self._last_progress = 0.0

    @property
    def saturated(self) -> bool:
        """Whether every thread is busy and no call has ended for ``queue_timeout`` seconds."""
        return self._unfinished >= self.limit and time.monotonic() - self._last_progress > self.queue_timeout

    @property
    def busy(self) -> str:
        """Why a call got no thread, as text."""
        if self._threads < self.limit:
            return f"the system started only {self._threads} of {self.limit} threads for {self.queue_timeout:g} seconds"
        return f"all {self.limit} threads have been busy for {self.queue_timeout:g} seconds (threads=, queue_timeout=)"

    async def run(self, work: Callable[[], T], on_end: Callable[[], object] | None = None) -> T:
        """Return what ``work`` returns, or raise what it raises. It sees the caller's context variables.

        Cancelling the awaiting task does not stop ``work``. ``on_end`` is called in the event loop when it has ended.

        Raises:
            Saturated: no thread became free in time, so that ``work`` never runs. ``on_end`` has been called.
        """
        job = _Job(work)
        job.on_end.append(lambda: self._count_down(job))
        if on_end is not None:
            job.on_end.append(on_end)
        self._unfinished += 1
        if self._unfinished == self.limit:
            self._last_progress = time.monotonic()  # before, there was none to make
        self._jobs.put(job)
        if self._unfinished > self._threads:
            self._enlist(job)
        await job.future
        if job.error is not None:
            raise job.error
        result: T = job.result
        return result

    def _enlist(self, job: _Job) -> None:
        """Start a thread for ``job``; if there can be none, limit how long it waits for another's."""
        if self._threads < self.limit:
            thread = threading.Thread(target=_serve, args=(self._jobs,), name="extframe-worker", daemon=True)
            with suppress(ExtframeError):  # the system has no thread left
                start(thread)
                self._threads += 1
                return
        asyncio.get_running_loop().call_later(self.queue_timeout, _expire, job, self)

    def _count_down(self, job: _Job) -> None:
        self._unfinished -= 1
        if not isinstance(job.error, Saturated):
            self._last_progress = time.monotonic()

    def close(self) -> None:
        """Let each thread end after the calls that were queued."""
        for _ in range(self._threads):
            self._jobs.put(None)
        self._threads = 0


class _Job:
    """A call to make in a thread, and the future, in the event loop, of its end."""

    def __init__(self, work: Callable[[], Any]) -> None:
        self.on_end: list[Callable[[], object]] = []
        self.result: Any = None
        self.error: BaseException | None = None
        self._work: list[Callable[[], Any]] = [work]
        self._context = copy_context()
        self._loop = asyncio.get_running_loop()
        self.future: asyncio.Future[None] = self._loop.create_future()

    def claim(self) -> Callable[[], Any] | None:
        """Return the call to the first who asks, None to others: a thread runs it, or the loop gives it up."""
        try:
            return self._work.pop()
        except IndexError:
            return None

    def run(self) -> None:
        """Make the call, in the thread."""
        work = self.claim()
        if work is None:
            return
        try:
            self.result = self._context.run(work)
        except BaseException as error:  # noqa: BLE001 - raised where it is awaited
            self.error = error
        with suppress(RuntimeError):  # the loop is closed: the server has stopped
            self._loop.call_soon_threadsafe(self.end)

    def end(self) -> None:
        """Note the end, in the event loop."""
        for function in self.on_end:
            function()
        if not self.future.done():
            self.future.set_result(None)


def _expire(job: _Job, executor: Executor) -> None:
    if job.claim() is not None:
        job.error = Saturated(executor.busy)
        job.end()


def _serve(jobs: SimpleQueue[_Job | None]) -> None:
    while (job := jobs.get()) is not None:
        job.run()
        del job  # its references must not outlive it
