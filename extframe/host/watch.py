"""Keep an eye on plugins that come, change and go. Activates and dispatches through others; calls no handler itself."""

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

from ..client.retry import nobody_listens
from ..concurrency import deadlines
from ..concurrency.deadlines import check_timeout
from ..concurrency.event import Event
from ..concurrency.threads import thread_error
from ..errors import ExtframeError, PluginNotFound
from ..handlers.failures import kind_of
from ..logs import get_logger
from ..registry.notifications import monitor_changes
from .activation import Activator
from .concurrent_activation import ConcurrentActivation
from .plugin import Plugin

if TYPE_CHECKING:
    from typing_extensions import Self

SETTLE = 0.05  # seconds from a change to the look at it: a file that is being written changes more than once
FIRST_PAUSE, LONGEST_PAUSE = 0.05, 10.0  # seconds between two tries of a plugin that fails
NOT_YET = 0.2  # seconds: up to that pause a socket where nobody listens is one of a plugin that is about to

# How many times as long as a look takes there is none after it: a directory of a thousand entries must cost no more
# of a core than one of ten.
REST, REST_AFTER_CHANGE = 150, 10

logger = get_logger(__name__)


@dataclass
class _Entry:
    """What is known of one name. ``stamp`` is of its source when it was last tried."""

    stamp: Hashable = None
    under_way: bool = False
    next_try: float = 0.0
    pause: float = FIRST_PAUSE

    def lengthen(self) -> float:
        """Return the pause; the next one is longer."""
        pause, self.pause = self.pause, min(2 * self.pause, LONGEST_PAUSE)
        return pause


class Watch:
    """Live discovery, until it is closed or its manager is. ``PluginManager.watch`` makes one.

    In a thread of its own it activates every plugin that is there and that comes, gives each to its handlers, makes
    a new handshake with one that is restarted or whose file changes, and tries one that fails again: at once when
    its file changes, else after pauses that double from 50 ms to 10 s. The lifecycle hooks hear of it.
    """

    def __init__(self, activator: Activator, *, timeout: float) -> None:
        self._activator = activator
        self._registry = activator.registry
        self._timeout = check_timeout(timeout)
        self._entries: dict[str, _Entry] = {}
        self._outcomes: deque[tuple[str, Exception | None]] = deque()
        self._lost: deque[str] = deque()
        self._closing = Event()
        self._beginning = threading.RLock()  # guards both; in itself, for signal handlers
        self._begun = self._given_up = False
        self._next_look = 0.0
        self._earliest_look = 0.0
        self._wrong: Exception | None = None  # with the last look
        self._wake = _Wake()
        self._changes = monitor_changes(getattr(self._registry, "directories", ()))
        self._plugins = ConcurrentActivation(activator, self._note, "extframe handlers", handlers_too=False)
        self._plugins.listen(self._wake.descriptor)
        if self._changes.descriptor is not None:
            self._plugins.listen(self._changes.descriptor)
        self._deaf = activator.listen(self._hear_of_loss)
        self._thread = threading.Thread(target=self._run, name="extframe watch", daemon=True)
        try:
            self._thread.start()
        except RuntimeError as refused:
            self._give_up()
            raise thread_error("extframe watch", refused) from refused
        except BaseException:  # Ctrl-C: nobody has this watch, whether its thread begins or not
            self._give_up()
            raise

    def next_try(self, name: str) -> float | None:
        """Return the seconds until a plugin that failed is tried again; None where it did not, or is being tried."""
        entry = self._entries.get(name)
        if entry is None or entry.under_way or entry.next_try == math.inf:
            return None
        return max(0.0, entry.next_try - monotonic())

    def close(self, timeout: float = 5.0) -> None:
        """End it. Plugins stay what they are; a handler that is running goes on alone.

        Args:
            timeout: seconds to wait for the thread, which takes that long only where the registry does.
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

    def _give_up(self) -> None:
        """Have the thread end all, or do it here where it has not begun: it may yet."""
        self._closing.set()
        with self._beginning:
            self._given_up = not self._begun
        if self._given_up:
            self._end()
        else:
            self._wake.up()

    # In other threads.

    def _note(self, name: str, error: Exception | None) -> None:
        self._outcomes.append((name, error))
        self._wake.up()

    def _hear_of_loss(self, plugin: Plugin) -> None:
        self._lost.append(plugin.name)
        self._wake.up()

    # In the thread.

    def _run(self) -> None:
        with self._beginning:
            if self._given_up:
                return
            self._begun = True
        try:
            while not (self._closing.is_set() or self._activator.closed.is_set()):
                self._turn()
        finally:
            self._end()

    def _turn(self) -> None:
        try:
            self._take_turn()
        except Exception:  # of a log handler of the host's, which may raise here again
            with suppress(Exception):
                logger.exception("the watch goes on after what should not have happened")
            self._closing.wait(FIRST_PAUSE)

    def _take_turn(self) -> None:
        self._take_outcomes()
        if monotonic() >= self._next_look:
            self._look()
        self._begin()
        self._plugins.turn(self._next_time())
        self._wake.drain()
        if self._changes.has_changed():
            self._next_look = min(self._next_look, max(monotonic() + SETTLE, self._earliest_look))

    def _end(self) -> None:
        self._deaf()
        self._plugins.end()
        for plugin in self._activator.plugins():
            self._activator.plan_try(plugin.name, None)
        self._changes.close()
        self._wake.close()

    def _next_time(self) -> float:
        tries = (entry.next_try for entry in self._entries.values())
        return min(self._next_look, monotonic() + self._changes.poll_interval, *tries)

    def _look(self) -> None:
        began = monotonic()
        wrong = self._see_all()
        ended = monotonic()
        self._earliest_look = ended + REST_AFTER_CHANGE * (ended - began)
        self._next_look = ended + max(self._changes.rescan_interval, REST * (ended - began))
        before, self._wrong = self._wrong, wrong
        if wrong is not None and kind_of(wrong) != kind_of(before):
            logger.error("the registry could not be looked at; it is looked at again", exc_info=wrong)

    def _see_all(self) -> Exception | None:
        """Look at all there is; return what a registry that somebody else wrote has raised."""
        try:
            self._changes.refresh()
            names = self._registry.scan()
            active = {plugin.name for plugin in self._activator.plugins() if plugin.is_made}  # by a `get`, perhaps
            for name in (self._entries.keys() | active) - set(names):
                self._see_gone(name)
            for name in names:
                self._see(name)
        except Exception as error:  # noqa: BLE001 - told by `_look`
            return error
        return None

    def _see(self, name: str) -> None:
        entry = self._entries.setdefault(name, _Entry())
        if self._activator.is_current(name):
            return
        plugin = self._activator.known(name)
        stamp = None if plugin is None else self._activator.stamp(plugin)
        if entry.under_way:
            # What the plugin was is asked no longer where it was replaced: it may hang, and that be the reason.
            if plugin is None or stamp in (None, entry.stamp) or not self._plugins.drop(plugin):
                return
            entry.under_way = False
        if stamp is None:  # nobody knows whether its file changed: it is tried, and no shorter pause follows
            entry.next_try = min(entry.next_try, monotonic())
        elif stamp != entry.stamp:
            entry.pause, entry.next_try = FIRST_PAUSE, monotonic()

    def _see_gone(self, name: str) -> None:
        self._entries.pop(name, None)
        plugin = self._activator.known(name)
        if plugin is not None:
            self._plugins.drop(plugin)
        with suppress(ExtframeError):  # which tells that it is removed
            self._activator.find(name)

    def _begin(self) -> None:
        now = monotonic()
        for name in [name for name, entry in self._entries.items() if entry.next_try <= now]:
            entry = self._entries[name]
            entry.under_way, entry.next_try = True, math.inf
            self._plugins.begin(name, deadlines.after(self._timeout))
            plugin = self._activator.known(name)
            if plugin is not None:
                if plugin.spec.stamp != entry.stamp:  # of a file that could not be used until now
                    entry.pause = FIRST_PAUSE
                entry.stamp = plugin.spec.stamp
                self._activator.plan_try(name, None)

    def _take_outcomes(self) -> None:
        while self._outcomes:
            name, error = self._outcomes.popleft()
            if name in self._entries:
                self._take(name, self._entries[name], error)
        while self._lost:
            entry = self._entries.get(self._lost.popleft())
            if entry is not None and not entry.under_way:
                entry.pause, entry.next_try = FIRST_PAUSE, monotonic()

    def _take(self, name: str, entry: _Entry, error: Exception | None) -> None:
        entry.under_way = False
        plugin = self._activator.known(name)
        if error is None and self._activator.is_current(name):  # else its source changed during the handshake
            entry.pause = FIRST_PAUSE
        elif isinstance(error, PluginNotFound):
            # A look sees that it has gone; or lists it all the same, as one may whom the directory shows names alone.
            self._next_look = min(self._next_look, max(self._earliest_look, monotonic() + entry.lengthen()))
        else:
            entry.next_try = monotonic() + entry.lengthen()
            if plugin is not None:
                self._activator.plan_try(name, entry.next_try)
            if error is not None and not (entry.pause <= NOT_YET and _nobody_listens(error)):
                self._fail(name, error)

    def _fail(self, name: str, error: Exception) -> None:
        if self._activator.record_failure(name, error):
            whose = "" if isinstance(error, ExtframeError) else f"plugin {name!r}: "  # of somebody else's registry
            logger.warning("%s%s; it is tried again", whose, error)


def _nobody_listens(error: Exception) -> bool:
    return error.__cause__ is not None and nobody_listens(error.__cause__)


class _Wake:
    """A file descriptor that any thread can make readable."""

    def __init__(self) -> None:
        self.descriptor, self._other_end = os.pipe()
        os.set_blocking(self.descriptor, False)
        os.set_blocking(self._other_end, False)
        # Or the number would be another file's by the time it is written to. In itself, for signal handlers.
        self._lock = threading.RLock()
        self._closed = False

    def up(self) -> None:
        """Make it readable."""
        with self._lock, suppress(BlockingIOError):  # it is full, and so readable
            if not self._closed:
                os.write(self._other_end, b"!")

    def drain(self) -> None:
        """Make it unreadable."""
        with suppress(BlockingIOError):
            while os.read(self.descriptor, 4096):
                pass

    def close(self) -> None:
        """Give the descriptors back."""
        with self._lock:
            self._closed = True
            os.close(self.descriptor)
            os.close(self._other_end)
