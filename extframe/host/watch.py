"""Watch plugins appear, change and disappear. Activates and dispatches through others; calls no handler itself."""

from __future__ import annotations

import threading
from collections import deque
from collections.abc import Hashable
from contextlib import suppress
from functools import partial
from time import monotonic
from types import TracebackType
from typing import TYPE_CHECKING

from ..concurrency import deadlines
from ..concurrency.deadlines import check_timeout
from ..concurrency.event import Event
from ..concurrency.locks import signal_safe_lock
from ..concurrency.system import READABLE, Poll
from ..concurrency.threads import start
from ..concurrency.wake_pipe import WakePipe
from ..errors import ExtframeError
from ..logs import get_logger
from ..registry.notifications import monitor_changes
from .activation import Activator
from .concurrent_activation import ConcurrentActivation
from .pings import note_ping
from .plugin import Plugin
from .watch_plan import FIRST_PAUSE, WatchPlan

if TYPE_CHECKING:
    from typing_extensions import Self
else:
    from ..concurrency.late_types import Self

logger = get_logger(__name__)


class Watch:
    """Live service discovery, until it or its manager is closed. ``PluginManager.watch`` creates one.

    In a thread of its own, a watch activates every plugin that exists or appears and dispatches it to its handlers.
    It activates a plugin again when it restarts or its file changes. A plugin that fails is retried at once when its
    file changes, otherwise with exponential backoff from 50 ms to 10 s. The lifecycle hooks report each step.
    """

    def __init__(self, activator: Activator, *, timeout: float, ping: float | None = None) -> None:
        self._activator = activator
        self._table = activator.table
        self._registry = activator.registry
        self._timeout = check_timeout(timeout)
        self._pinged: deque[str] = deque()
        self._results: deque[tuple[str, Exception | None]] = deque()
        self._lost: deque[str] = deque()
        self._closing = Event()
        self._start_lock = signal_safe_lock()  # guards both
        self._is_running = self._is_cancelled = False
        self._wake = WakePipe()
        self._registry_changes = self._registry.changes()
        self._changes = monitor_changes(
            getattr(self._registry.registry, "directories", ()), is_notified=self._registry_changes is not None
        )
        self._plugins = ConcurrentActivation(activator, self._note_result, "extframe handlers", wait_for_handlers=False)
        self._plan = WatchPlan(
            self._table,
            self._plugins.abandon,
            self._registry.starts_on_use,
            ping=None if ping is None else check_timeout(ping),
        )
        self._plugins.listen(self._wake.descriptor)
        if self._changes.descriptor is not None:
            self._plugins.listen(self._changes.descriptor)
        if self._registry_changes is not None:
            self._plugins.listen(self._registry_changes.fileno())
            self._registry_poll = Poll()
            self._registry_poll.register(self._registry_changes.fileno(), READABLE)
        self._stop_listening = self._table.listen(self._note_loss)
        self._thread = threading.Thread(target=self._run, name="extframe watch", daemon=True)
        try:
            start(self._thread)
        except BaseException:  # no thread, or Ctrl-C: the caller never gets this watch, whether its thread runs or not
            self._cancel()
            raise

    def next_try(self, name: str) -> float | None:
        """Return the seconds until a failed plugin is tried again; None if it has not failed, or is being tried."""
        return self._plan.next_try(name, monotonic())

    def close(self, timeout: float = 5.0) -> None:
        """Stop watching. Plugins keep their state; a handler that is running keeps running.

        Args:
            timeout: seconds to wait for the thread, which only takes that long if the registry does.
        """
        deadline = deadlines.after(timeout)
        self._closing.set()
        self._wake.up()
        if threading.current_thread() is not self._thread:
            self._thread.join(deadlines.left(deadline))

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def _cancel(self) -> None:
        """Have the thread release everything, or do so here if it does not run yet."""
        self._closing.set()
        with self._start_lock:
            self._is_cancelled = not self._is_running
        if self._is_cancelled:
            self._release()
        else:
            self._wake.up()

    # In other threads.

    def _note_result(self, name: str, error: Exception | None) -> None:
        self._results.append((name, error))
        self._wake.up()

    def _note_loss(self, plugin: Plugin) -> None:
        self._lost.append(plugin.name)
        self._wake.up()

    def _ping(self, plugin: Plugin) -> None:
        began = monotonic()
        try:
            plugin.ping(self._timeout)
        except Exception as failure:  # noqa: BLE001 - noted
            note_ping(plugin, began, failure)
        self._pinged.append(plugin.name)
        self._wake.up()

    # In the thread.

    def _run(self) -> None:
        with self._start_lock:
            if self._is_cancelled:
                return
            self._is_running = True
        try:
            while not (self._closing.is_set() or self._activator.closed.is_set()):
                self._turn()
        finally:
            self._release()

    def _turn(self) -> None:
        try:
            self._take_turn()
        except Exception:  # of a log handler of the host's, which may raise here again
            with suppress(Exception):
                logger.exception("the watch continues after an internal error")
            self._closing.wait(FIRST_PAUSE)

    def _take_turn(self) -> None:
        self._take_results()
        if self._plan.scan_is_due(monotonic()):
            self._scan()
        for name in self._plan.due(monotonic()):
            self._plugins.begin(name, deadlines.after(self._timeout))
            self._plan.begun(name)
        for plugin in self._plan.pings(monotonic()):
            self._plugins.submit(partial(self._ping, plugin))
        self._plugins.turn(min(self._plan.next_time(), monotonic() + self._changes.poll_interval))
        self._wake.drain()
        if self._changes.has_changed() or self._registry_has_changed():
            self._plan.changed(monotonic())

    def _registry_has_changed(self) -> bool:
        changes = self._registry_changes
        if changes is None or not self._registry_poll.poll(0):
            return False
        changes.drain()
        return True

    def _release(self) -> None:
        self._stop_listening()
        self._plugins.close()
        self._plan.close()
        self._changes.close()
        if self._registry_changes is not None:
            self._registry_changes.close()
        self._wake.close()

    def _scan(self) -> None:
        began = monotonic()
        error: Exception | None = None
        self._plan.begin_scan()
        try:
            self._look()
        except Exception as raised:  # noqa: BLE001 - logged by the plan
            error = raised
        self._plan.scanned(began, monotonic(), self._changes.rescan_interval, error)

    def _look(self) -> None:
        self._changes.refresh()
        names = self._registry.scan()
        for name in self._plan.missing(names):
            with suppress(ExtframeError):  # reports that it was removed
                self._activator.find(name)
        for name in names:
            self._plan.present(name, self._stamp(name), monotonic())

    def _stamp(self, name: str) -> Hashable:
        plugin = self._table.known(name)
        return None if plugin is None else self._registry.stamp(plugin.spec)

    def _take_results(self) -> None:
        while self._results:
            name, error = self._results.popleft()
            is_current = error is None and self._activator.is_current(name)
            self._plan.ended(name, error, is_current, monotonic())
        while self._pinged:
            self._plan.pinged(self._pinged.popleft(), monotonic())
        while self._lost:
            self._plan.lost(self._lost.popleft(), monotonic())
