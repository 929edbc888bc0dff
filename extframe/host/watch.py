"""Watch plugins appear, change and disappear. Activates and dispatches through others; calls no handler itself."""

from __future__ import annotations

import math
import os
import threading
from collections import deque
from collections.abc import Hashable
from contextlib import suppress
from dataclasses import dataclass
from time import monotonic
from types import TracebackType
from typing import TYPE_CHECKING

from ..client.retry import nothing_listens
from ..concurrency import deadlines
from ..concurrency.deadlines import check_timeout
from ..concurrency.event import Event
from ..concurrency.locks import signal_safe_lock
from ..concurrency.threads import start
from ..errors import ExtframeError, PluginNotFound
from ..handlers.failures import kind_of
from ..logs import get_logger
from ..registry.notifications import monitor_changes
from .activation import Activator
from .concurrent_activation import ConcurrentActivation
from .plugin import Plugin

if TYPE_CHECKING:
    from typing_extensions import Self

SETTLE = 0.05  # seconds from a change to the scan: a file that is being written changes more than once
FIRST_PAUSE, LONGEST_PAUSE = 0.05, 10.0  # seconds between two tries of a plugin that fails
NOT_YET = 0.2  # seconds: up to that pause, a socket that refuses connections is that of a plugin that is starting

# The pause after a scan, as a multiple of its duration: a directory of a thousand entries must not cost more of a
# core than one of ten.
REST, REST_AFTER_CHANGE = 150, 10

logger = get_logger(__name__)


@dataclass
class _Entry:
    """What is known about one name. ``stamp`` is that of its source when it was last tried."""

    stamp: Hashable = None
    under_way: bool = False
    next_try: float = 0.0
    pause: float = FIRST_PAUSE

    def lengthen(self) -> float:
        """Return the current pause, and double the next one."""
        pause, self.pause = self.pause, min(2 * self.pause, LONGEST_PAUSE)
        return pause


class Watch:
    """Live service discovery, until it or its manager is closed. ``PluginManager.watch`` creates one.

    In a thread of its own, a watch activates every plugin that exists or appears and dispatches it to its handlers.
    It activates a plugin again when it restarts or its file changes. A plugin that fails is retried at once when its
    file changes, otherwise with exponential backoff from 50 ms to 10 s. The lifecycle hooks report each step.
    """

    def __init__(self, activator: Activator, *, timeout: float) -> None:
        self._activator = activator
        self._table = activator.table
        self._registry = activator.registry
        self._timeout = check_timeout(timeout)
        self._entries: dict[str, _Entry] = {}
        self._results: deque[tuple[str, Exception | None]] = deque()
        self._lost: deque[str] = deque()
        self._closing = Event()
        self._start_lock = signal_safe_lock()  # guards both
        self._is_running = self._is_cancelled = False
        self._next_scan = 0.0
        self._earliest_scan = 0.0
        self._scan_error: Exception | None = None
        self._wake = _Wake()
        self._changes = monitor_changes(getattr(self._registry.registry, "directories", ()))
        self._plugins = ConcurrentActivation(activator, self._note_result, "extframe handlers", wait_for_handlers=False)
        self._plugins.listen(self._wake.descriptor)
        if self._changes.descriptor is not None:
            self._plugins.listen(self._changes.descriptor)
        self._stop_listening = self._table.listen(self._note_loss)
        self._thread = threading.Thread(target=self._run, name="extframe watch", daemon=True)
        try:
            start(self._thread)
        except BaseException:  # no thread, or Ctrl-C: the caller never gets this watch, whether its thread runs or not
            self._cancel()
            raise

    def next_try(self, name: str) -> float | None:
        """Return the seconds until a failed plugin is tried again; None if it has not failed, or is being tried."""
        entry = self._entries.get(name)
        if entry is None or entry.under_way or entry.next_try == math.inf:
            return None
        return max(0.0, entry.next_try - monotonic())

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
        if monotonic() >= self._next_scan:
            self._scan()
        self._begin()
        self._plugins.turn(self._next_time())
        self._wake.drain()
        if self._changes.has_changed():
            self._next_scan = min(self._next_scan, max(monotonic() + SETTLE, self._earliest_scan))

    def _release(self) -> None:
        self._stop_listening()
        self._plugins.close()
        for name in self._entries:
            self._table.plan_try(name, None)
        self._changes.close()
        self._wake.close()

    def _next_time(self) -> float:
        tries = (entry.next_try for entry in self._entries.values())
        return min(self._next_scan, monotonic() + self._changes.poll_interval, *tries)

    def _scan(self) -> None:
        began = monotonic()
        error = self._scan_all()
        ended = monotonic()
        self._earliest_scan = ended + REST_AFTER_CHANGE * (ended - began)
        self._next_scan = ended + max(self._changes.rescan_interval, REST * (ended - began))
        before, self._scan_error = self._scan_error, error
        if error is not None and kind_of(error) != kind_of(before):
            logger.error("the registry could not be searched and will be searched again: %s", error, exc_info=error)

    def _scan_all(self) -> Exception | None:
        """Look at all plugins; return the error if the registry could not be searched, which changes no plugin."""
        try:
            self._changes.refresh()
            names = self._registry.scan()
            active = {plugin.name for plugin in self._table.plugins() if plugin.is_made}  # by a `get`, perhaps
            for name in (self._entries.keys() | active) - set(names):
                self._note_missing(name)
            for name in names:
                self._note_present(name)
        except Exception as error:  # noqa: BLE001 - logged by `_scan`
            return error
        return None

    def _note_present(self, name: str) -> None:
        entry = self._entries.setdefault(name, _Entry())
        if self._activator.is_current(name):
            return
        plugin = self._table.known(name)
        stamp = None if plugin is None else self._registry.stamp(plugin.spec)
        if entry.under_way:
            # A handshake with a plugin that was replaced is abandoned: it may hang, which may be why it was replaced.
            if plugin is None or stamp in (None, entry.stamp) or not self._plugins.abandon(plugin):
                return
            entry.under_way = False
        if stamp is None:  # its file may or may not have changed: it is tried, and the next pause does not get shorter
            entry.next_try = min(entry.next_try, monotonic())
        elif stamp != entry.stamp:
            entry.pause, entry.next_try = FIRST_PAUSE, monotonic()

    def _note_missing(self, name: str) -> None:
        self._entries.pop(name, None)
        self._table.plan_try(name, None)
        plugin = self._table.known(name)
        if plugin is not None:
            self._plugins.abandon(plugin)
        with suppress(ExtframeError):  # reports that it was removed
            self._activator.find(name)

    def _begin(self) -> None:
        now = monotonic()
        for name in [name for name, entry in self._entries.items() if entry.next_try <= now]:
            entry = self._entries[name]
            entry.under_way, entry.next_try = True, math.inf
            self._plugins.begin(name, deadlines.after(self._timeout))
            self._table.plan_try(name, None)
            plugin = self._table.known(name)
            if plugin is not None:
                if plugin.spec.stamp != entry.stamp:  # its file could not be used until now
                    entry.pause = FIRST_PAUSE
                entry.stamp = plugin.spec.stamp

    def _take_results(self) -> None:
        while self._results:
            name, error = self._results.popleft()
            if name in self._entries:
                self._take(name, self._entries[name], error)
        while self._lost:
            entry = self._entries.get(self._lost.popleft())
            if entry is not None and not entry.under_way:
                entry.pause, entry.next_try = FIRST_PAUSE, monotonic()

    def _take(self, name: str, entry: _Entry, error: Exception | None) -> None:
        entry.under_way = False
        if error is None and self._activator.is_current(name):  # else its source changed during the handshake
            entry.pause = FIRST_PAUSE
        elif isinstance(error, PluginNotFound):
            # The next scan finds that it disappeared, or lists it again: a directory may be listable but not enterable.
            self._next_scan = min(self._next_scan, max(self._earliest_scan, monotonic() + entry.lengthen()))
        else:
            entry.next_try = monotonic() + entry.lengthen()
            self._table.plan_try(name, entry.next_try)
            if error is not None and not (entry.pause <= NOT_YET and _is_starting(error)):
                self._record_failure(name, error)

    def _record_failure(self, name: str, error: Exception) -> None:
        if self._table.record_failure(name, error):
            whose = "" if isinstance(error, ExtframeError) else f"plugin {name!r}: "
            logger.warning("%s%s; it will be tried again", whose, error)


def _is_starting(error: Exception) -> bool:
    return error.__cause__ is not None and nothing_listens(error.__cause__)


class _Wake:
    """A file descriptor that any thread can make readable."""

    def __init__(self) -> None:
        self.descriptor, self._other_end = os.pipe()
        os.set_blocking(self.descriptor, False)
        os.set_blocking(self._other_end, False)
        self._lock = signal_safe_lock()  # without it, `up` might write to another file whose number is the same
        self._closed = False

    def up(self) -> None:
        """Make it readable."""
        with self._lock, suppress(BlockingIOError):  # it is full, so it is readable
            if not self._closed:
                os.write(self._other_end, b"!")

    def drain(self) -> None:
        """Make it unreadable."""
        with suppress(BlockingIOError):
            while os.read(self.descriptor, 4096):
                pass

    def close(self) -> None:
        """Close the descriptors."""
        with self._lock:
            self._closed = True
            os.close(self.descriptor)
            os.close(self._other_end)
