"""From a name to an active plugin whose handlers have been called. Parses nothing, and opens no connection itself."""

from __future__ import annotations

import threading
from collections.abc import Callable, Hashable, Sequence
from weakref import WeakValueDictionary

from ..client.client import Client
from ..concurrency.event import Event
from ..errors import ExtframeError, PluginNotFound
from ..handlers.failures import Failure, Failures, kind_of
from ..handlers.lifecycle import News
from ..registry.local import Registry
from .dispatch import Dispatcher
from .lifecycle import State
from .plugin import Plugin

REMEMBERED = 256
"""Plugins that are removed: one that is back meanwhile is the same, and its handlers are not called again."""


class Activator:
    """Knows all plugins that were asked for, and takes each as far as it has not come yet.

    Args:
        registry: where plugins are found.
        connect: makes a plugin's client.
        dispatcher: calls the handlers.
        failures: where plugins that fail are noted.
        news: hears what becomes of plugins.
        closed: is set when nothing is activated any more.
    """

    def __init__(
        self,
        registry: Registry,
        connect: Callable[..., Client],
        *,
        dispatcher: Dispatcher,
        failures: Failures,
        news: News,
        closed: Event,
    ) -> None:
        self.registry = registry
        self.dispatcher = dispatcher
        self.closed = closed
        self._connect = connect
        self._failures = failures
        self._news = news
        self._plugins: dict[str, Plugin] = {}
        self._gone: dict[str, None] = {}  # names that are removed, which was told, the longest gone first
        self._forgotten: WeakValueDictionary[str, Plugin] = WeakValueDictionary()  # that somebody else may still have
        self._table = threading.RLock()  # guards all three; in itself, as a signal handler may call `close`
        self._planned_tries: dict[str, float] = {}
        self._listeners: list[Callable[[Plugin], object]] = []

    # One plugin.

    def use(self, name: str, point: str | None, deadline: float) -> Plugin:
        """Return a plugin that is active, and given to its handlers.

        Raises:
            ExtframeError: as ``PluginManager.get`` does.
        """
        plugin = self.activate(name, deadline)
        self.dispatcher.dispatch(plugin, deadline, again=point)
        if point is not None:
            plugin.require(point)
            self.dispatcher.require(plugin, point)
        return plugin

    def activate(self, name: str, deadline: float) -> Plugin:
        """Return a plugin that is active; handlers have not heard of it yet.

        Raises:
            PluginNotFound, SpecError, ActivationError: as ``PluginManager.get`` does. Whoever gives up notes them.
        """
        plugin = self.find(name)
        plugin.activate(deadline)
        self.record_success(name)
        return plugin

    def find(self, name: str) -> Plugin:
        """Return what is known of a plugin, as its source says now.

        Raises:
            PluginNotFound, SpecError: as the registry does.
        """
        self.check_open(name)
        plugin = self._plugins.get(name)
        if plugin is not None and name not in self._gone and self.registry.stamp(plugin.spec) == plugin.spec.stamp:
            return plugin
        try:
            spec = self.registry.find(name)
        except ExtframeError as error:
            if plugin is not None and self.is_current(name):
                return plugin  # it is back, and another thread has seen it
            if plugin is not None:
                plugin.mark_missing(
                    "its source " + ("is gone" if isinstance(error, PluginNotFound) else "cannot be used")
                )
            if isinstance(error, PluginNotFound):
                self._tell_removed(name)
            raise
        with self._table:
            self._gone.pop(name, None)
            plugin = self._plugins.get(name) or self._recall(name)
            if plugin is None:
                self.check_open(name)  # `close` looks at the table after it said so
                plugin = Plugin(spec, self._connect(spec.address, tls=spec.tls, plugin=name), listener=self)
                self._plugins[name] = plugin
                return plugin
        plugin.renew(spec)
        return plugin

    def known(self, name: str) -> Plugin | None:
        """Return a plugin that was asked for before, whatever has become of it."""
        return self._plugins.get(name)

    def is_current(self, name: str) -> bool:
        """Return whether a plugin is active and its source is what it was."""
        plugin = self._plugins.get(name)
        return plugin is not None and plugin.is_made and self.stamp(plugin) == plugin.spec.stamp

    def stamp(self, plugin: Plugin) -> Hashable:
        """Return what the registry says of a plugin's source now; None where it cannot, which `find` then tells."""
        try:
            return self.registry.stamp(plugin.spec)
        except Exception:  # noqa: BLE001 - of a registry that somebody else wrote
            return None

    def is_ready(self, name: str) -> bool:
        """Return whether nothing is left to be done for a plugin."""
        return self.is_current(name) and not self.dispatcher.is_due(self._plugins[name])

    # What came of it.

    def record_failure(self, name: str, error: Exception) -> bool:
        """Note that a plugin failed, and tell it if it did not fail before, or in another way; return whether.

        A name that is nobody's is no plugin, and what the end of the manager brings is no failure.
        """
        if (name not in self._plugins and isinstance(error, PluginNotFound)) or self.closed.is_set():
            return False
        subject = ("plugin", name)
        is_new = kind_of(error) != kind_of(self._failures.exception(subject))
        self._failures.note(subject, Failure(f"plugin {name!r}", error))
        if is_new and not isinstance(error, PluginNotFound):
            self._news.tell("plugin_failed", name=name, error=error)
        return is_new

    def record_success(self, name: str) -> None:
        """Note that a plugin works."""
        self._failures.clear(("plugin", name))

    def _tell_removed(self, name: str) -> None:
        subject = ("plugin", name)
        with self._table:
            is_news = (name in self._plugins or subject in self._failures) and name not in self._gone
            if is_news:
                self._gone[name] = None
                self._forget(list(self._gone)[:-REMEMBERED])
        if is_news:
            self._failures.clear(subject)
            self._news.tell("plugin_removed", name=name)

    def _forget(self, names: Sequence[str]) -> None:
        """Keep plugins that are long gone only for those who have them, or have drivers of theirs."""
        for name in names:
            del self._gone[name]
            plugin = self._plugins.pop(name, None)
            if plugin is not None:
                self._forgotten[name] = plugin
            self._failures.clear_plugin(name)

    def _recall(self, name: str) -> Plugin | None:
        plugin = self._forgotten.pop(name, None)
        if plugin is not None:
            self._plugins[name] = plugin
        return plugin

    def plan_try(self, name: str, when: float | None) -> None:
        """Record when a watch tries a plugin again, a ``time.monotonic()`` value; None for not by itself."""
        if when is None:
            self._planned_tries.pop(name, None)
        else:
            self._planned_tries[name] = when

    def planned_try(self, name: str) -> float | None:
        """Return what `plan_try` recorded."""
        return self._planned_tries.get(name)

    def state_changed(self, plugin: Plugin, state: State, reason: str) -> None:
        """Pass a plugin's new state on to the lifecycle hooks and to the listeners."""
        if state is State.ACTIVE:
            self._news.tell("plugin_activated", name=plugin.name, plugin=plugin)
        elif state is State.LOST:
            self._news.tell("plugin_lost", name=plugin.name, plugin=plugin, reason=reason)
            for listener in list(self._listeners):
                listener(plugin)

    # All plugins.

    def listen(self, listener: Callable[[Plugin], object]) -> Callable[[], None]:
        """Have ``listener`` called with each plugin that is lost, until what this returns is called.

        It must return at once.
        """
        self._listeners.append(listener)
        return lambda: self._listeners.remove(listener)

    def plugins(self) -> list[Plugin]:
        """Return all plugins that were asked for, and that somebody may still use."""
        with self._table:
            return [*self._plugins.values(), *self._forgotten.values()]

    def dispatch_all(self, handler: object) -> None:
        """Give every active plugin to a handler that has come, in this thread."""
        for plugin in self.plugins():
            if plugin.state is State.ACTIVE:
                self.dispatcher.dispatch_here(plugin, only=handler)

    def close(self) -> None:
        """Close every client; nothing is activated from now on."""
        self.closed.set()
        for plugin in self.plugins():
            plugin.close()

    def check_open(self, name: str | None = None) -> None:
        """Do nothing while something may be activated.

        Raises:
            ExtframeError: the manager is closed.
        """
        if self.closed.is_set():
            raise ExtframeError("this PluginManager is closed; make a new one", plugin=name)
