"""Pass lifecycle events of plugins on to handlers and to subscribers, in order, from an event loop."""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Callable
from contextlib import suppress
from functools import partial
from typing import Any

import pluggy

from ..concurrency import deadlines
from ..concurrency.async_threads import call_in_thread
from ..concurrency.tasks import OwnedTasks, call_in_loop, done_by
from .async_hook_calls import AsyncHookCalls
from .hook_context import HookContext
from .lifecycle import TIMEOUT, LifecycleRecords
from .plugin_events import PluginEvent, event_of

Subscriber = Callable[[PluginEvent], object]


class AsyncLifecycleEvents(LifecycleRecords):
    """The events that have happened and have not reached the handlers yet, which tasks of a loop call.

    Args:
        context: the manager's hooks.
        loop: where handlers and subscribers are called.
        tasks: of the manager.
    """

    def __init__(self, context: HookContext, *, loop: asyncio.AbstractEventLoop, tasks: OwnedTasks) -> None:
        super().__init__(context)
        self._loop = loop
        self._tasks = tasks
        self._subscribers: list[Subscriber] = []
        self._published: deque[tuple[str, dict[str, Any]]] = deque()
        self._queue: deque[tuple[pluggy.HookCaller, dict[str, Any]]] = deque()  # for the handlers
        self._is_delivering = False

    def subscribe(self, subscriber: Subscriber) -> Callable[[], None]:
        """Have ``subscriber`` called on the loop with each event, until the returned function is called."""
        self._subscribers.append(subscriber)
        return lambda: self._subscribers.remove(subscriber)

    def publish(self, hook: str, **arguments: object) -> None:
        """Pass on an event after the earlier ones. Returns at once; any thread may call it, such as a sync client's."""
        self._published.append((hook, arguments))
        call_in_loop(self._loop, self._pass_on)

    def _pass_on(self) -> None:
        while self._published:
            hook, arguments = self._published.popleft()
            for subscriber in list(self._subscribers):
                subscriber(event_of(hook, arguments))
            caller = self._caller(hook)
            if caller is not None:
                self._queue.append((caller, arguments))
        if self._queue and not self._is_delivering:
            self._is_delivering = True
            self._tasks.start(self._deliver_all(), "extframe lifecycle events")

    async def _deliver_all(self) -> None:
        try:
            while self._queue:
                caller, arguments = self._queue.popleft()
                with suppress(Exception):  # a log handler of the host's raised: later events are delivered all the same
                    await self._deliver(caller, arguments)
        finally:
            self._is_delivering = False

    async def _deliver(self, caller: pluggy.HookCaller, arguments: dict[str, Any]) -> None:
        calls = AsyncHookCalls(caller, is_dispatch=False)
        name = arguments["name"]

        async def run() -> None:
            if self._deferred.has(caller.name):
                await call_in_thread(partial(self._deferred.load, caller.name), f"extframe import of {caller.name}")
            await calls.run(arguments, monitors=self._monitors())

        task = self._tasks.start(run(), f"extframe {caller.name} {name}")
        if not await done_by(task, deadlines.after(TIMEOUT)):
            self._note_late(calls, name)
        elif not task.cancelled() and (error := task.exception()) is not None:
            self._note_undelivered(caller.name, name, error)
        self._note_outcome(calls, name)
