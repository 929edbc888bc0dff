"""The plugins that a manager knows, by name: which are current, failed or removed. Decides; never waits.

Searches no registry and makes no handshake, so that a host of threads and a host of tasks share it.
"""

from __future__ import annotations

from collections.abc import Callable, Hashable, Sequence
from contextlib import AbstractContextManager
from typing import Any, Generic, Protocol, TypeVar
from weakref import WeakValueDictionary

from ..concurrency.locks import signal_safe_lock
from ..errors import ActivationError, ExtframeError, PluginNotFound, SpecError
from ..handlers.failures import Failure, Failures, kind_of
from ..logs import get_logger
from ..protocol import PluginSpec
from .lifecycle import State
from .plugin_base import PluginBase

REMEMBERED = 256
"""Removed plugins that are remembered: if one comes back, it is the same, and its handlers are not called again."""

_REASONS = {
    PluginNotFound: "its source is gone",
    SpecError: "its source cannot be used",
    ActivationError: "it cannot be started",
}
_DEFINITE = tuple(_REASONS)
"""What a registry raises if it could search: the plugin is not there, or cannot be used."""

P = TypeVar("P", bound=PluginBase[Any])

logger = get_logger(__name__)


class Events(Protocol):
    """Passes lifecycle events on to the hooks."""

    def publish(self, hook: str, **arguments: object) -> object:
        """Have the handlers of a lifecycle hook called, after those of earlier events. Returns at once."""


class PluginTable(Generic[P]):
    """The plugins that a manager knows, with their failures and lifecycle events.

    A plugin's lock may be held while the table's is taken, never the other way round. What is published depends on a
    plugin's state, and its lock is held until it is: so the events of a plugin have the order of its states.

    Args:
        create: creates a plugin from a spec and its listener, which is the table.
        failures: where failures of plugins are noted.
        events: receives the lifecycle events.
        is_closed: returns whether the manager is closed.
        why: returns the registry's reason for a failure, or None; None if the registry gives none.
        has_changed: returns whether the source is another than a spec was made from.
    """

    def __init__(
        self,
        create: Callable[..., P],
        *,
        failures: Failures,
        events: Events,
        is_closed: Callable[[], bool],
        why: Callable[[PluginSpec, Exception], str | None] | None = None,
        has_changed: Callable[[PluginSpec], bool] = lambda spec: False,
    ) -> None:
        self._why = why
        self.has_changed = has_changed
        self._planned_tries: dict[str, float] = {}
        self._create = create
        self._failures = failures
        self._events = events
        self._is_closed = is_closed
        self._plugins: dict[str, P] = {}
        # The names whose last event is their removal, the earliest first, and whether they are still missing.
        self._removed: dict[str, bool] = {}
        self._forgotten: WeakValueDictionary[str, P] = WeakValueDictionary()  # that the host may still use
        self._lock = signal_safe_lock()  # events are published under it, so that their order is that of the changes
        self._listeners: list[Callable[[P], object]] = []

    def known(self, name: str) -> P | None:
        """Return a plugin that was requested before, whatever its state."""
        return self._plugins.get(name)

    def candidate(self, name: str) -> P | None:
        """Return a known plugin that need not be searched again if its source has not changed.

        Raises:
            ExtframeError: the manager is closed.
        """
        self.check_open(name)
        return None if name in self._removed else self._plugins.get(name)

    def seen(self, name: str) -> PluginSpec | None:
        """Return what was found last of a known plugin, which `found` and `not_found` need after a search."""
        plugin = self._plugins.get(name)
        return None if plugin is None else plugin.latest_spec

    def plugins(self) -> list[P]:
        """Return all plugins that were requested, and that the host may still use."""
        with self._lock:
            return [*self._plugins.values(), *self._forgotten.values()]

    def is_current(self, plugin: P, stamp: Hashable) -> bool:
        """Return whether a plugin is active and its source is unchanged, given the stamp of its source now."""
        return plugin.is_made and stamp == plugin.spec.stamp

    def is_of_kind(self, point: str) -> Callable[[str], bool]:
        """Return what says whether a plugin, by its name, is known to implement an extension point."""

        def answer(name: str) -> bool:
            plugin = self._plugins.get(name)
            return plugin is not None and point in plugin.manifest.implements

        return answer

    def listen(self, listener: Callable[[P], object]) -> Callable[[], None]:
        """Call ``listener`` with each plugin that is lost, until the returned function is called.

        The listener must return at once.
        """
        self._listeners.append(listener)
        return lambda: self._listeners.remove(listener)

    # What a search found.

    def found(self, name: str, spec: PluginSpec, seen: PluginSpec | None) -> P:
        """Return the plugin for what a registry found, created or renewed.

        Args:
            name: what was searched for, which may be another name of the plugin.
            spec: what was found.
            seen: the spec of the known plugin of that name before the search. Where another search has renewed it
                since, that one counts: this one may be older.
        """
        self.record_search(None)
        with self._lock:
            self.check_open(spec.name)  # `close` takes the plugins from the table after it set this
            if spec.name in self._removed:
                self._removed[spec.name] = False
            known = self._plugins.get(spec.name)
            plugin = known or self._recall(spec.name)
            if plugin is None:
                plugin = self._create(spec, self)
                self._plugins[spec.name] = plugin
                return plugin
        if known is None or spec.name != name:  # `seen` says nothing about it
            seen = plugin.latest_spec
        plugin.renew(spec, seen)
        return plugin

    def to_check_again(self, name: str, error: ExtframeError) -> PluginSpec | None:
        """Return the spec whose stamp `not_found` needs: another caller may have found the plugin meanwhile."""
        return self.seen(name) if isinstance(error, _DEFINITE) else None

    def not_found(self, name: str, seen: PluginSpec | None, error: ExtframeError, stamp: Hashable = None) -> P | None:
        """Note that a search failed.

        Where the registry could not be searched, that says nothing about the plugin.

        Args:
            name: the plugin's.
            seen: the spec of the known plugin before the search.
            error: what the registry raised.
            stamp: of the source that `to_check_again` names, None if it names none.

        Returns:
            The plugin if it can be used all the same; None if the caller is to raise the error.
        """
        plugin = self._plugins.get(name)
        if not isinstance(error, _DEFINITE):
            if plugin is None or not plugin.is_made:
                return None
            self.record_search(error)
            return plugin
        if plugin is not None and self.is_current(plugin, stamp):
            return plugin  # it is back, and another caller has found it
        is_gone = isinstance(error, PluginNotFound)
        if plugin is not None and seen is not None:
            plugin.mark_missing(
                seen, error, next(reason for kind, reason in _REASONS.items() if isinstance(error, kind))
            )
        if is_gone:
            self._mark_removed(name)
        return None

    def _mark_removed(self, name: str) -> None:
        subject = ("plugin", name)
        with self._state_lock(name), self._lock:
            plugin = self._plugins.get(name)
            is_back = plugin is not None and plugin.is_reported_active
            is_known = plugin is not None or subject in self._failures
            if is_back or not is_known:
                return
            is_new = self._removed.pop(name, None) is None
            self._removed[name] = True
            if not is_new:
                return
            self._failures.clear(subject)
            self._forget(list(self._removed)[:-REMEMBERED])
            self._events.publish("plugin_removed", name=name)

    def _state_lock(self, name: str) -> AbstractContextManager[object]:
        """Return the lock of a plugin, during which its state and what was published about it agree."""
        plugin = self._plugins.get(name)
        return self._lock if plugin is None else plugin.lock

    def _forget(self, names: Sequence[str]) -> None:
        """Keep plugins that were removed long ago only while the host uses them or their drivers."""
        for name in names:
            del self._removed[name]
            plugin = self._plugins.pop(name, None)
            if plugin is not None:
                self._forgotten[name] = plugin
            self._failures.clear_plugin(name)

    def _recall(self, name: str) -> P | None:
        plugin = self._forgotten.pop(name, None)
        if plugin is not None:
            self._plugins[name] = plugin
        return plugin

    # What happened to a plugin.

    def record_failure(self, name: str, error: Exception) -> bool:
        """Note that a plugin could not be used; return whether that is new.

        An event is published unless the plugin failed in the same way before, or is active. Names that do not exist
        are ignored, as are the errors of a closed manager, and those of an attempt that is outdated by now: the plugin
        has been activated, or removed, since.
        """
        subject = ("plugin", name)
        with self._state_lock(name), self._lock:
            plugin = self._plugins.get(name)
            is_missing = isinstance(error, PluginNotFound)
            if self._is_closed() or (plugin is None and is_missing):
                return False
            is_active = plugin is not None and plugin.is_reported_active
            if (is_active and isinstance(error, ActivationError)) or (self._removed.get(name) and not is_missing):
                return False
            is_new = kind_of(error) != kind_of(self._failures.exception(subject))
            self._failures.note(subject, Failure(f"plugin {name!r}", error))
            if is_new and not (is_missing or is_active):  # a handler of an active plugin is late: no event
                self._removed.pop(name, None)
                self._events.publish("plugin_failed", name=name, error=error)
            return is_new

    def failure(self, name: str) -> BaseException | None:
        """Return why a plugin could not be used; None if it could, or was not used."""
        return self._failures.exception(("plugin", name))

    def record_success(self, name: str) -> None:
        """Note that a plugin can be used, unless it was lost meanwhile: a failure that was noted since is newer."""
        subject = ("plugin", name)
        if subject not in self._failures:  # as in almost every use of a plugin
            return
        with self._state_lock(name):
            plugin = self._plugins.get(name)
            if plugin is None or plugin.is_reported_active:
                self._failures.clear(subject)

    def record_search(self, error: ExtframeError | None) -> None:
        """Note whether the registry could be searched, which says nothing about any plugin; log a new error once."""
        subject = ("registry",)
        if error is None:
            self._failures.clear(subject)
        elif kind_of(error) != kind_of(self._failures.exception(subject)):
            self._failures.note(subject, Failure("registry", error))
            logger.warning("%s; plugins that are active stay usable", error)

    def state_changed(self, plugin: P, state: State, reason: str) -> None:
        """Publish a plugin's new state, and report a loss to the listeners. See `PluginListener`."""
        if state is State.ACTIVE:
            with self._lock:
                self._removed.pop(plugin.name, None)  # it went during the handshake: the next search reports it again
                self._failures.clear(("plugin", plugin.name))  # now, as the next one is an event again
                self._events.publish("plugin_activated", name=plugin.name, plugin=plugin)
        elif state is State.LOST:
            with self._lock:
                self._events.publish("plugin_lost", name=plugin.name, plugin=plugin, reason=reason)
            for listener in list(self._listeners):
                listener(plugin)

    def plan_try(self, name: str, when: float | None) -> None:
        """Record when a watch activates a plugin again, a ``time.monotonic()`` value; None for never."""
        if when is None:
            self._planned_tries.pop(name, None)
        else:
            self._planned_tries[name] = when

    def planned_try(self, name: str) -> float | None:
        """Return what `plan_try` recorded. See `PluginListener`."""
        return self._planned_tries.get(name)

    @property
    def explains(self) -> bool:
        """Whether the registry explains failures. See `PluginListener`."""
        return self._why is not None

    def why(self, spec: PluginSpec, failure: Exception) -> str | None:
        """Return the registry's reason for a failure. See `PluginListener`."""
        return None if self._why is None else self._why(spec, failure)

    # The end.

    def check_open(self, name: str | None = None) -> None:
        """Do nothing while plugins may be activated.

        Raises:
            ExtframeError: the manager is closed.
        """
        if self._is_closed():
            raise ExtframeError("this PluginManager is closed; create a new one", plugin=name)
