"""Call the handlers of one hook for one plugin, each once, from an event loop. Knows pluggy; knows no plugin.

``async def`` handlers run on the loop, ``def`` handlers and wrappers in daemon threads, one after the other.
"""

from __future__ import annotations

import asyncio
import inspect
from collections.abc import Coroutine, Mapping, Sequence
from functools import partial
from typing import Any

import pluggy
from pluggy import HookImpl

from ..concurrency.async_threads import call_in_thread
from ..concurrency.locks import signal_safe_lock
from ..concurrency.tasks import done_by, set_done
from ..errors import CallTimeout, ExtframeError
from .hook_claims import HookRecord, HookRun, Monitor, MonitoredCall
from .hooks import FunctionHandler


class AsyncHookCalls(HookRecord):
    """The calls of one hook's handlers for one plugin, made from an event loop.

    Args:
        caller: the hook.
        is_dispatch: as for `HookRecord`.
    """

    def __init__(self, caller: pluggy.HookCaller, *, is_dispatch: bool = True) -> None:
        # Handlers are registered and unregistered in any thread.
        super().__init__(caller, signal_safe_lock(), is_dispatch=is_dispatch)

    async def wait(self, deadline: float) -> None:
        """Wait for the handlers that other callers are running.

        Raises:
            CallTimeout: one of them is still running at the deadline (a ``time.monotonic()`` value).
        """
        while not self.is_idle:
            ended = asyncio.get_running_loop().create_future()
            waiter = partial(set_done, ended)
            if not self.wake(waiter):
                return
            try:
                if not await done_by(ended, deadline):
                    names = ", ".join(map(repr, self.running_names()))
                    raise CallTimeout(f"handler {names} has not returned", phase="handlers")
            finally:
                self.cancel(waiter)

    async def run(
        self,
        arguments: Mapping[str, object],
        *,
        again: bool = False,
        only: object = None,
        monitors: Sequence[Monitor] = (),
    ) -> None:
        """Call every handler that is due, each isolated: one that raises does not stop the others.

        Run it in a task that belongs to the manager: a caller that is cancelled must not cancel handlers, which others
        may be waiting for.

        Args:
            arguments, again, only, monitors: as for ``HookCalls.run``.
        """
        run = HookRun(self, in_loop=True)
        try:
            if run.claim(again=again, only=only):
                run.enter()
                await self._call_monitored(run, arguments, monitors)
        finally:
            run.settle()
            run.release()

    async def _call_monitored(self, run: HookRun, arguments: Mapping[str, object], monitors: Sequence[Monitor]) -> None:
        if not monitors:
            await self._call_all(run, arguments)
            return
        monitored = MonitoredCall(self.caller.name, [*run.claimed], arguments, monitors)
        outcome = monitored.before()
        if outcome is None:
            results = await self._call_all(run, arguments)
            outcome = pluggy.Result.from_call(lambda: results)
        monitored.after(outcome)

    async def _call_all(self, run: HookRun, arguments: Mapping[str, object]) -> list[object]:
        try:
            for impl in run.handlers():
                await _call(run, impl, arguments)
        finally:
            run.settle()
        if run.has_wrappers:
            await call_in_thread(run.finish_wrappers, f"extframe wrappers of {self.caller.name}")
        return self.results()


async def _call(run: HookRun, impl: HookImpl, arguments: Mapping[str, object]) -> None:
    call = partial(run.call, impl, arguments)
    try:
        if inspect.iscoroutinefunction(impl.function) or _is_quick(impl.plugin):
            coroutine = call()
        else:
            coroutine = await call_in_thread(call, f"extframe handler {impl.plugin_name}")
    except ExtframeError as error:  # the system has no thread
        run.raised(impl, error)
        return
    if coroutine is not None:
        await _await(run, impl, coroutine)


def _is_quick(handler: object) -> bool:
    return isinstance(handler, FunctionHandler) and handler.is_quick


async def _await(run: HookRun, impl: HookImpl, coroutine: Coroutine[Any, Any, object]) -> None:
    """Await what a handler returned, in a task of its own, so that its cancellation is not taken for ours."""
    task = asyncio.get_running_loop().create_task(_outcome(coroutine), name=f"extframe handler {impl.plugin_name}")
    task.add_done_callback(lambda _: coroutine.close())  # it was never awaited if its task was cancelled before
    try:
        await asyncio.wait({task})
    except asyncio.CancelledError:
        if task.done():  # this task was cancelled in the step in which the handler returned
            _note(run, impl, task)
        else:
            task.cancel()
            await asyncio.wait({task})  # `aclose` waits for this task, and so for what the handler does at its end
        raise
    _note(run, impl, task)


def _note(run: HookRun, impl: HookImpl, task: asyncio.Task[tuple[object, BaseException | None]]) -> None:
    if task.cancelled():
        run.raised(impl, asyncio.CancelledError())
        return
    result, error = task.result()
    if error is None:
        run.awaited(impl, result)
    else:
        run.raised(impl, error)


async def _outcome(coroutine: Coroutine[Any, Any, object]) -> tuple[object, BaseException | None]:
    """Return a handler's result or exception. SystemExit, raised by a task, would end the event loop."""
    try:
        return await coroutine, None
    except KeyboardInterrupt:
        raise
    except BaseException as error:  # noqa: BLE001 - each handler is isolated
        return None, error
