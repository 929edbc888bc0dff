"""Which plugins a watch activates, and when, and when it scans. Decides; never waits: the time is passed in.

Makes no handshake and searches no registry, so that a host of threads and a host of tasks share it.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Collection, Hashable
from dataclasses import dataclass
from typing import Any, Generic, TypeVar

from ..client.retry import nothing_listens
from ..errors import ExtframeError, PluginNotFound
from ..handlers.failures import kind_of
from ..logs import get_logger
from .plugin_base import PluginBase
from .plugin_table import PluginTable

SETTLE = 0.05  # seconds from a change to the scan: a file that is being written changes more than once
FIRST_PAUSE, LONGEST_PAUSE = 0.05, 10.0  # seconds between two tries of a plugin that fails
NOT_YET = 0.2  # seconds: up to that pause, a socket that refuses connections is that of a plugin that is starting

# The pause after a scan, as a multiple of its duration: a directory of a thousand entries must not cost more of a
# core than one of ten.
REST, REST_AFTER_CHANGE = 150, 10

P = TypeVar("P", bound=PluginBase[Any])

logger = get_logger(__name__)


@dataclass
class _Entry:
    """What is known about one name. ``stamp`` is that of its source when it was last tried."""

    stamp: Hashable = None
    under_way: bool = False
    next_try: float = 0.0
    pause: float = FIRST_PAUSE
    next_ping: float = math.inf
    is_pinged: bool = False
    responses: int = -1

    def lengthen(self) -> float:
        """Return the current pause, and double the next one."""
        pause, self.pause = self.pause, min(2 * self.pause, LONGEST_PAUSE)
        return pause


class WatchPlan(Generic[P]):
    """What a watch does next. Times are ``time.monotonic()`` values.

    Args:
        table: the plugins that the manager knows.
        abandon: ends the handshake of a plugin, if the watch makes one; returns whether it did.
        starts_on_use: returns whether a plugin does not run and would be started: the watch leaves it alone.
        ping: seconds of silence after which an active plugin is pinged; None for never.
    """

    def __init__(
        self,
        table: PluginTable[P],
        abandon: Callable[[P], bool],
        starts_on_use: Callable[[str], bool] = lambda name: False,
        *,
        ping: float | None = None,
    ) -> None:
        self._ping = math.inf if ping is None else ping
        self._starts_on_use = starts_on_use
        self._table = table
        self._abandon = abandon
        self._entries: dict[str, _Entry] = {}
        self._next_scan = 0.0
        self._earliest_scan = 0.0
        self._scan_error: Exception | None = None

    def next_try(self, name: str, now: float) -> float | None:
        """Return the seconds until a failed plugin is tried again; None if it has not failed, or is being tried."""
        entry = self._entries.get(name)
        if entry is None or entry.under_way or entry.next_try == math.inf:
            return None
        return max(0.0, entry.next_try - now)

    def next_time(self) -> float:
        """Return when there is something to do, unless something happens before."""
        return min([self._next_scan, *(min(entry.next_try, entry.next_ping) for entry in self._entries.values())])

    def close(self) -> None:
        """Record that no plugin will be tried again."""
        for name in self._entries:
            self._table.plan_try(name, None)

    # Scans.

    def scan_is_due(self, now: float) -> bool:
        """Return whether the registry is to be scanned."""
        return now >= self._next_scan

    def changed(self, now: float) -> None:
        """Note that something changed in the registry."""
        self._next_scan = min(self._next_scan, max(now + SETTLE, self._earliest_scan))

    def begin_scan(self) -> None:
        """Note that a scan begins, which `scanned` ends. What changes from now on is a reason for another."""
        self._next_scan = math.inf

    def missing(self, names: Collection[str]) -> list[str]:
        """Return which plugins a scan did not find. They are to be looked up, which reports that they were removed."""
        active = {plugin.name for plugin in self._table.plugins() if plugin.is_made}  # by a `get`, perhaps
        missing = [*(self._entries.keys() | active) - set(names)]
        for name in missing:
            self._entries.pop(name, None)
            self._table.plan_try(name, None)
            plugin = self._table.known(name)
            if plugin is not None:
                self._abandon(plugin)
        return missing

    def present(self, name: str, stamp: Hashable, now: float) -> None:
        """Note that a scan found a plugin.

        Args:
            name: the plugin's.
            stamp: of the source that the table knows, as it is now; None if it knows none, or that cannot be said.
            now: the time.
        """
        entry = self._entries.setdefault(name, _Entry())
        plugin = self._table.known(name)
        if plugin is not None and self._table.is_current(plugin, stamp):
            if entry.next_ping == math.inf and not entry.is_pinged:
                self._plan_ping(name, entry, now)  # it was activated by a `get`, perhaps
            return
        if entry.under_way:
            # A handshake with a plugin that was replaced is abandoned: it may hang, which may be why it was replaced.
            if plugin is None or stamp in (None, entry.stamp) or not self._abandon(plugin):
                return
            entry.under_way = False
        if stamp is None:  # its file may or may not have changed: it is tried, and the next pause does not get shorter
            entry.next_try = min(entry.next_try, now)
        elif stamp != entry.stamp:
            entry.pause, entry.next_try = FIRST_PAUSE, now

    def scanned(self, began: float, ended: float, rescan_interval: float, error: Exception | None) -> None:
        """Note that a scan ended; ``error`` says why the registry could not be searched, which changes no plugin."""
        self._earliest_scan = ended + REST_AFTER_CHANGE * (ended - began)
        planned = ended + max(rescan_interval, REST * (ended - began))
        self._next_scan = max(self._earliest_scan, min(planned, self._next_scan))
        before, self._scan_error = self._scan_error, error
        if error is not None and kind_of(error) != kind_of(before):
            logger.error("the registry could not be searched and will be searched again: %s", error, exc_info=error)

    # Plugins.

    def due(self, now: float) -> list[str]:
        """Return the plugins that are to be activated now. For each, `begun` and `ended` follow."""
        due = [name for name, entry in self._entries.items() if entry.next_try <= now]
        dormant = {name for name in due if self._starts_on_use(name)}
        for name in due:
            self._entries[name].under_way, self._entries[name].next_try = name not in dormant, math.inf
            self._table.plan_try(name, None)
        return [name for name in due if name not in dormant]

    def begun(self, name: str) -> None:
        """Note that a plugin was searched, and that its handshake begins."""
        entry, plugin = self._entries.get(name), self._table.known(name)
        if entry is not None and plugin is not None:
            if plugin.spec.stamp != entry.stamp:  # its file could not be used until now
                entry.pause = FIRST_PAUSE
            entry.stamp = plugin.spec.stamp

    def ended(self, name: str, error: Exception | None, is_current: bool, now: float) -> None:
        """Note the result for a plugin; ``is_current`` says whether it is active and its source is unchanged."""
        entry = self._entries.get(name)
        if entry is None:
            return
        entry.under_way = False
        if error is None and is_current:  # else its source changed during the handshake
            entry.pause = FIRST_PAUSE
            self._plan_ping(name, entry, now)
        elif isinstance(error, PluginNotFound):
            # The next scan finds that it disappeared, or lists it again: a directory may be listable but not enterable.
            self._next_scan = min(self._next_scan, max(self._earliest_scan, now + entry.lengthen()))
        else:
            entry.next_try = now + entry.lengthen()
            self._table.plan_try(name, entry.next_try)
            if error is not None and not (entry.pause <= NOT_YET and _is_starting(error)):
                self._record_failure(name, error)

    def pings(self, now: float) -> list[P]:
        """Return the active plugins that are to be pinged now, as they have been silent. For each, `pinged` follows."""
        silent = []
        for name, entry in self._entries.items():
            plugin = self._table.known(name) if entry.next_ping <= now else None
            if plugin is None:
                continue
            if not plugin.is_made:
                entry.next_ping = math.inf  # until it is active again
                continue
            if plugin.responses != entry.responses:
                self._plan_ping(name, entry, now)
            else:
                entry.next_ping, entry.is_pinged = math.inf, True
                silent.append(plugin)
        return silent

    def pinged(self, name: str, now: float) -> None:
        """Note that a ping has ended."""
        entry = self._entries.get(name)
        if entry is not None:
            entry.is_pinged = False
            self._plan_ping(name, entry, now)

    def _plan_ping(self, name: str, entry: _Entry, now: float) -> None:
        plugin = self._table.known(name)
        entry.responses, entry.next_ping = -1 if plugin is None else plugin.responses, now + self._ping

    def lost(self, name: str, now: float) -> None:
        """Note that an active plugin was lost."""
        entry = self._entries.get(name)
        if entry is not None and not entry.under_way:
            entry.pause, entry.next_try = FIRST_PAUSE, now

    def _record_failure(self, name: str, error: Exception) -> None:
        if self._table.record_failure(name, error):
            whose = "" if isinstance(error, ExtframeError) else f"plugin {name!r}: "
            logger.warning("%s%s; it will be tried again", whose, error)


def _is_starting(error: Exception) -> bool:
    return error.__cause__ is not None and nothing_listens(error.__cause__)
