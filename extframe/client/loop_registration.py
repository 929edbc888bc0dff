"""LoopRegistration: one connection in an event loop, where the steps of its exchange run. Knows no HTTP.

A reader that is added once costs half of what one costs that is added for each call, and a deadline that is stored a
tenth of a timer for each call.
"""

from __future__ import annotations

import asyncio
import math
from collections.abc import Callable
from contextvars import Context
from time import monotonic
from typing import Any, Protocol, TypeVar

from ..concurrency.loop_watcher import watcher_of
from .connection import LONGEST_WAIT, Connection, late

T = TypeVar("T")

_SHORTEST_TIMER = 0.001  # seconds: uvloop's timers may be early by this, and its clock counts milliseconds


class _HasPhase(Protocol):
    @property
    def phase(self) -> str: ...


class LoopRegistration:
    """Runs the steps of an exchange whenever the loop finds its connection ready, and ends them at the deadline.

    All methods are called in the loop's thread, except `end` and `call_in_loop`.

    Args:
        connection: belongs to the task that runs an exchange over it, or to a connection pool.
        loop: watches the connection until `end`.
        unexpected: is called when something arrives while no exchange runs; returns whether it closed the connection.
            The loop stops to watch otherwise, until the next `run`.
        context: an empty one, for all connections of a loop; else the loop would keep the context of the task that
            connected, and run steps for other tasks in it.
    """

    __slots__ = (
        "_connection", "_context", "_deadline", "_exchange", "_future", "_is_writing", "_loop", "_paused", "_step",
        "_timer", "_timer_at", "_unexpected", "_watcher",
    )  # fmt: skip

    def __init__(
        self,
        connection: Connection,
        loop: asyncio.AbstractEventLoop,
        unexpected: Callable[[Connection], bool],
        context: Context | None = None,
    ) -> None:
        self._connection = connection
        self._loop = loop
        self._unexpected = unexpected
        self._context = Context() if context is None else context
        self._step: Callable[[], Any] | None = None
        self._exchange: _HasPhase
        self._future: asyncio.Future[Any]
        self._is_writing = False
        self._paused = False
        self._deadline = math.inf
        self._timer: asyncio.TimerHandle | None = None
        self._timer_at = math.inf
        self._watcher = watcher_of(loop)
        self._context.run(self._watcher.add_reader, connection.fileno(), self._ready)
        connection.registration = self

    def run(
        self, step: Callable[[], T | None], exchange: _HasPhase, deadline: float, *, writes: bool = False
    ) -> asyncio.Future[T]:
        """Call ``step`` whenever the connection is ready, until it returns something other than None and False.

        If the future is cancelled, the caller closes the connection.

        Args:
            step: never waits.
            exchange: its ``phase`` is that of the error.
            deadline: a ``time.monotonic()`` value. CallTimeout is the result when it passes.
            writes: whether it is ready also when it can be written to.
        """
        if self._paused:
            self._paused = False
            self._context.run(self._watcher.add_reader, self._connection.fileno(), self._ready)
        if writes:
            self._is_writing = True
            self._context.run(self._watcher.add_writer, self._connection.fileno(), self._ready)
        self._step = step
        self._exchange = exchange
        self._deadline = deadline
        self._future = future = self._loop.create_future()
        if deadline < self._timer_at:
            self._start_timer(deadline)
        return future

    def end(self) -> bool:
        """Have the loop forget the connection, before it is closed. Return whether it may be closed now.

        If not, as this is another thread, the loop is going to close it.
        """
        loop, connection = self._loop, self._connection
        if connection.closed or connection.is_inherited or loop.is_closed():
            return True  # a forked child must not touch the selector, which it shares with its parent
        if self._is_elsewhere():
            return not self._schedule(connection.close)
        self._stop_writing()
        self._watcher.remove_reader(connection.fileno())
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
        self._step = None
        return True

    def call_in_loop(self, function: Callable[[], object]) -> None:
        """Call ``function`` now if this is the loop's thread, or the loop does not run; else have the loop call it."""
        if not (self._is_elsewhere() and self._schedule(function)):
            function()

    def _is_elsewhere(self) -> bool:
        return asyncio._get_running_loop() is not self._loop and self._loop.is_running()

    def _schedule(self, function: Callable[[], object]) -> bool:
        try:
            self._loop.call_soon_threadsafe(function)
        except RuntimeError:  # the loop was closed just now
            return False
        return True

    def _ready(self) -> None:
        step = self._step
        if step is None:
            if not self._unexpected(self._connection):
                self._pause()
            return
        try:
            result = step()
        except Exception as failure:  # noqa: BLE001 - the task raises it
            self._fail(failure)
        except BaseException:  # Ctrl-C: the bytes may be lost
            self._future.cancel()
            raise
        else:
            if result is not None and result is not False:
                self._finish()
                if not self._future.done():  # it was cancelled
                    self._future.set_result(result)

    def _fail(self, failure: Exception) -> None:
        self._finish()
        future = self._future
        if not future.done():
            future.set_exception(failure)
            future.exception()  # nothing is lost if the task was cancelled meanwhile and never asks

    def _finish(self) -> None:
        self._step = None
        if self._is_writing:
            self._stop_writing()

    def _stop_writing(self) -> None:
        if self._is_writing:
            self._is_writing = False
            self._watcher.remove_writer(self._connection.fileno())

    def _pause(self) -> None:
        """Stop to watch the connection: epoll would report what nothing reads again and again."""
        self._paused = True
        self._watcher.remove_reader(self._connection.fileno())

    def _start_timer(self, deadline: float) -> None:
        if self._timer is not None:
            self._timer.cancel()
        self._timer_at = deadline
        seconds = min(max(deadline - monotonic(), _SHORTEST_TIMER), LONGEST_WAIT)
        self._timer = self._loop.call_later(seconds, self._check_deadline, context=self._context)

    def _check_deadline(self) -> None:
        self._timer = None
        self._timer_at = math.inf
        if self._step is None:
            return
        if monotonic() >= self._deadline:
            self._fail(late(self._exchange.phase))
        elif self._deadline < math.inf:
            self._start_timer(self._deadline)
