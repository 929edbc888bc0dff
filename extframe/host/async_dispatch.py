"""Dispatch the extension points of an active plugin to the handlers, in tasks of the manager. Activates nothing."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Sequence
from functools import partial

from ..concurrency.async_threads import call_in_thread
from ..concurrency.tasks import OwnedTasks, call_in_loop, done_by
from ..handlers.async_hook_calls import AsyncHookCalls
from ..handlers.hook_claims import inside_handler
from ..handlers.hook_context import HookContext
from .async_plugin import AsyncPlugin
from .dispatch_rules import DispatchRules, Due
from .plugin_errors import closed_error


class AsyncDispatcher(DispatchRules[AsyncHookCalls]):
    """Calls, for each entry of a plugin's manifest, the handlers of the hook of that name, each once.

    Args:
        context: the manager's hooks.
        loop: where async handlers run.
        tasks: of the manager.
    """

    def __init__(self, context: HookContext, *, loop: asyncio.AbstractEventLoop, tasks: OwnedTasks) -> None:
        super().__init__(context, AsyncHookCalls)
        self._loop = loop
        self._tasks = tasks

    async def dispatch(self, plugin: AsyncPlugin, deadline: float, *, again: str | None = None) -> None:
        """Call the handlers that are due, and wait until all have returned.

        They run in a task of the manager, which goes on if the caller is cancelled or its deadline passes. Code that
        runs inside a handler does not wait for the handlers of other callers, which may be waiting for it.

        Args:
            plugin: must be active.
            deadline: a ``time.monotonic()`` value.
            again: the extension point whose failed handlers are called again; None for all.

        Raises:
            CallTimeout: a handler is still running at the deadline.
        """
        task = self.start(plugin, again=again)
        if task is not None:
            if not await done_by(task, deadline):
                raise self.late(plugin)
            if task.cancelled():
                raise closed_error(plugin.name)
            task.result()
        if inside_handler():
            return
        try:
            for calls in self._recorded(plugin):
                await calls.wait(deadline)
        except TimeoutError:
            raise self.late(plugin) from None

    def start(self, plugin: AsyncPlugin, *, again: str | None = "") -> asyncio.Task[None] | None:
        """Have the handlers that are due called in a task, and return it; None if there are none."""
        name = f"extframe handlers of {plugin.name}"
        unloaded = self._unloaded(plugin)
        if unloaded:
            return self._tasks.start(self._load_and_run(plugin, unloaded, again), name)
        due = self._due(plugin, again)
        return self._tasks.start(self._run(plugin, due), name) if due else None

    async def _load_and_run(self, plugin: AsyncPlugin, unloaded: Sequence[str], again: str | None) -> None:
        """Import the handlers of hooks, in a thread, then call those that are due."""
        for hook in unloaded:
            await call_in_thread(partial(self._deferred.load, hook), f"extframe import of {hook}")
        await self._run(plugin, self._due(plugin, again))

    def dispatch_to(self, handler: object, plugins: Callable[[], Sequence[AsyncPlugin]], deadline: float) -> None:
        """Have one handler called, where it is due, for active plugins. Returns at once; any thread may call it.

        If it has not returned at the deadline it keeps running, and that is noted as its failure.
        """

        def start() -> None:
            due = self._due_for(handler, plugins())
            if due:
                self._tasks.start(self._run_late(handler, due, deadline), "extframe late handler")

        call_in_loop(self._loop, start)

    async def _run_late(
        self, handler: object, due: Sequence[tuple[AsyncPlugin, Sequence[Due[AsyncHookCalls]]]], deadline: float
    ) -> None:
        async def run() -> None:
            for plugin, dues in due:
                await self._run(plugin, dues, handler)

        task = self._tasks.start(run(), "extframe late handler")
        if not await done_by(task, deadline):
            self._note_late(handler, due)

    async def _run(self, plugin: AsyncPlugin, dues: Sequence[Due[AsyncHookCalls]], only: object = None) -> None:
        arguments = {"name": plugin.name, "client": plugin.client}
        for due in dues:
            await due.calls.run(arguments, again=due.again, only=only, monitors=self._monitors())
            self._note_outcome(plugin, due)
