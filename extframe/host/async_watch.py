"""AsyncWatch: watch plugins from an event loop, and yield what happens to them. Calls no handler itself."""

from __future__ import annotations

import asyncio
import math
from collections import deque
from contextlib import suppress
from contextvars import Context
from time import monotonic
from types import TracebackType
from typing import TYPE_CHECKING, Any

from ..client.connection_pool import affordable
from ..concurrency import deadlines
from ..concurrency.deadlines import check_timeout
from ..concurrency.loop_watcher import watcher_of
from ..concurrency.tasks import OwnedTasks, call_in_loop, done_by, set_done
from ..errors import ExtframeError
from ..handlers.plugin_events import PluginEvent
from ..logs import get_logger
from ..registry.notifications import ChangeMonitor, monitor_changes
from .async_activation import BATCH, AsyncActivator
from .async_plugin import AsyncPlugin
from .pings import note_ping
from .watch_plan import FIRST_PAUSE, WatchPlan

if TYPE_CHECKING:
    from collections.abc import Callable

    from typing_extensions import Self
else:
    from ..concurrency.late_types import Self

REMEMBERED = 10_000  # events that were not read; older ones are dropped

logger = get_logger(__name__)


class AsyncWatch:
    """Live service discovery, until the block is left or the manager is closed. ``AsyncPluginManager.watch`` makes one.

    A watch activates every plugin that exists or appears and dispatches it to its handlers. It activates a plugin
    again when it restarts or its file changes. A plugin that fails is retried at once when its file changes, otherwise
    with exponential backoff from 50 ms to 10 s.

    Iterating yields a `PluginEvent` for everything that happens to the manager's plugins from the beginning of the
    block, and ends when the manager is closed. The last 10,000 events are kept for a host that reads slowly, or not.
    """

    def __init__(self, activator: AsyncActivator, *, timeout: float, ping: float | None = None) -> None:
        self._activator = activator
        self._table = activator.table
        self._timeout = check_timeout(timeout)
        self._events: deque[PluginEvent] = deque(maxlen=REMEMBERED)
        self._arrival: asyncio.Future[None] | None = None  # of the callers that wait for an event
        self._tasks = OwnedTasks()
        self._handshakes: dict[AsyncPlugin, asyncio.Task[None] | None] = {}
        self._plan = WatchPlan(
            self._table,
            self._abandon,
            activator.registry.starts_on_use,
            ping=None if ping is None else check_timeout(ping),
        )
        self._slots = asyncio.Semaphore(affordable())  # each handshake has a file descriptor
        self._changes: ChangeMonitor | None = None
        self._wake: asyncio.Future[None] | None = None
        self._stop: list[Callable[[], object]] = []
        self._is_closed = False

    def next_try(self, name: str) -> float | None:
        """Return the seconds until a failed plugin is tried again; None if it has not failed, or is being tried."""
        return self._plan.next_try(name, monotonic())

    async def aclose(self, *, timeout: float = 5.0) -> None:
        """Stop watching. Plugins keep their state; handlers that are running continue.

        Args:
            timeout: seconds to wait for the tasks of the watch.
        """
        self._close()
        await self._tasks.close(deadlines.after(timeout))

    async def __aenter__(self) -> Self:
        self._table.check_open()
        if self._is_closed or self._changes is not None:
            raise RuntimeError("a watch can be entered once; call watch() again")
        loop = asyncio.get_running_loop()
        registry_changes = self._activator.registry.changes()
        self._changes = monitor_changes(
            getattr(self._activator.registry.registry, "directories", ()), is_notified=registry_changes is not None
        )
        descriptor = self._changes.descriptor
        if descriptor is not None:
            # In an empty context: the loop would keep that of this task alive.
            watcher = watcher_of(loop)
            Context().run(watcher.add_reader, descriptor, self._note_change)
            self._stop.append(lambda: loop.is_closed() or watcher.remove_reader(descriptor))
        if registry_changes is not None:
            self._follow_registry(loop, registry_changes)
        self._stop.append(self._activator.events.subscribe(self._note_event))
        self._stop.append(self._table.listen(lambda plugin: call_in_loop(loop, lambda: self._note_loss(plugin))))
        self._tasks.start(self._run(self._changes), "extframe watch")
        self._activator.closed.add_done_callback(self._manager_closed)
        return self

    def _follow_registry(self, loop: asyncio.AbstractEventLoop, changes: Any) -> None:
        def note() -> None:
            changes.drain()
            self._plan.changed(monotonic())
            self._wake_up()

        def stop() -> None:
            if not loop.is_closed():
                watcher.remove_reader(changes.fileno())
            changes.close()

        watcher = watcher_of(loop)
        Context().run(watcher.add_reader, changes.fileno(), note)
        self._stop.append(stop)

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self.aclose()

    def __aiter__(self) -> Self:
        return self

    async def __anext__(self) -> PluginEvent:
        if self._changes is None:
            raise RuntimeError("enter the watch first: async with pm.watch() as events")
        while not self._events:
            if self._is_closed:
                raise StopAsyncIteration
            if self._arrival is None or self._arrival.done():
                self._arrival = asyncio.get_running_loop().create_future()
            await done_by(self._arrival, math.inf)  # other readers wait for it, too, when this one is cancelled
        return self._events.popleft()

    # What happens meanwhile, on the loop.

    def _note_event(self, event: PluginEvent) -> None:
        if len(self._events) == REMEMBERED:
            logger.warning("a watch has %d events that were not read; the oldest is dropped", REMEMBERED)
        self._events.append(event)
        if self._arrival is not None:
            set_done(self._arrival)

    def _note_change(self) -> None:
        if self._changes is not None and self._changes.has_changed():
            self._plan.changed(monotonic())
            self._wake_up()

    def _note_loss(self, plugin: AsyncPlugin) -> None:
        self._plan.lost(plugin.name, monotonic())
        self._wake_up()

    def _wake_up(self) -> None:
        if self._wake is not None:
            set_done(self._wake)

    def _manager_closed(self, closed: asyncio.Future[None]) -> None:
        self._close()

    def _close(self) -> None:
        self._is_closed = True
        self._tasks.cancel()
        self._activator.closed.remove_done_callback(self._manager_closed)
        while self._stop:
            self._stop.pop()()
        self._plan.close()
        if self._changes is not None:
            self._changes.close()
        if self._arrival is not None:
            set_done(self._arrival)

    # The task.

    async def _run(self, changes: ChangeMonitor) -> None:
        while True:
            try:
                await self._take_turn(changes)
            except Exception:  # noqa: PERF203 - of a log handler of the host's, which may raise here again
                with suppress(Exception):
                    logger.exception("the watch continues after an internal error")
                await asyncio.sleep(FIRST_PAUSE)

    async def _take_turn(self, changes: ChangeMonitor) -> None:
        self._wake = asyncio.get_running_loop().create_future()
        if self._plan.scan_is_due(monotonic()):
            await self._scan(changes)
        for count, name in enumerate(self._plan.due(monotonic()), 1):
            self._tasks.start(self._activate(name), f"extframe watch {name}")
            if not count % BATCH:
                await asyncio.sleep(0)
        for plugin in self._plan.pings(monotonic()):
            self._tasks.start(self._ping(plugin), f"extframe ping {plugin.name}")
        await done_by(self._wake, min(self._plan.next_time(), monotonic() + changes.poll_interval))
        if changes.descriptor is None:
            self._note_change()

    async def _scan(self, changes: ChangeMonitor) -> None:
        began = monotonic()
        error: Exception | None = None
        self._plan.begin_scan()
        try:
            changes.refresh()
            names, stamps = await self._activator.look(deadlines.after(self._timeout))
            for name in self._plan.missing(names):
                with suppress(ExtframeError):  # reports that it was removed
                    await self._activator.find(name, deadlines.after(self._timeout))
            for name in names:
                self._plan.present(name, stamps.get(name), monotonic())
        except Exception as raised:  # noqa: BLE001 - logged by the plan
            error = raised
        self._plan.scanned(began, monotonic(), changes.rescan_interval, error)

    async def _activate(self, name: str) -> None:
        error: Exception | None = None
        is_current = False
        plugin: AsyncPlugin | None = None
        try:
            async with self._slots:
                deadline = deadlines.after(self._timeout)
                plugin = await self._activator.find(name, deadline)
                self._plan.begun(name)
                if not await self._shake_hands(plugin, deadline, unless_outdated=True):
                    plugin = await self._activator.find(name, deadline)
                    self._plan.begun(name)
                    await self._shake_hands(plugin, deadline)
            is_current = await self._activator.is_current(name, deadline)
        except Exception as raised:  # noqa: BLE001 - noted by the plan
            error = raised
        self._plan.ended(name, error, is_current, monotonic())
        self._wake_up()
        if error is None and plugin is not None:
            self._activator.dispatcher.start(plugin)

    async def _ping(self, plugin: AsyncPlugin) -> None:
        began = monotonic()
        try:
            await plugin.ping(self._timeout)
        except Exception as failure:  # noqa: BLE001 - noted
            note_ping(plugin, began, failure)
        self._plan.pinged(plugin.name, monotonic())
        self._wake_up()

    async def _shake_hands(self, plugin: AsyncPlugin, deadline: float, *, unless_outdated: bool = False) -> bool:
        self._handshakes[plugin] = task = asyncio.current_task()
        try:
            is_active = await plugin.activate(deadline, unless_outdated=unless_outdated)
        finally:
            if self._handshakes.get(plugin) is task:  # not that of a task that has replaced this one
                del self._handshakes[plugin]
        if is_active:
            self._table.record_success(plugin.name)
        return is_active

    def _abandon(self, plugin: AsyncPlugin) -> bool:
        task = self._handshakes.get(plugin)
        if task is None or not plugin.is_led_by(task):
            return False
        return task.cancel()
