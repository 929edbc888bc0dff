"""From a name to an active plugin whose handlers have been called. Decides little; waits for the others."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import TYPE_CHECKING

from ..client.client import Client
from ..concurrency.event import Event
from ..errors import ActivationError, ExtframeError
from ..handlers.access_rules import AccessRules
from ..handlers.failures import Failures
from ..handlers.hook_context import HookContext
from ..interface.declarations import Interface
from ..protocol import Manifest, PluginSpec
from ..registry.local import Registry
from .approval import Approver
from .dispatch import Dispatcher
from .lifecycle import State
from .plugin import Plugin
from .plugin_base import point_of
from .plugin_contracts import PluginListener
from .plugin_table import Events, PluginTable
from .registry_access import RegistryAccess
from .settings import ManagerSettings

if TYPE_CHECKING:
    from .manifest_cache import ManifestCache


class Activator:
    """Finds plugins, activates them and dispatches them to their handlers, as far as that is not done yet.

    Args:
        registry: where plugins are found.
        connect: creates a plugin's client.
        context: the manager's hooks.
        dispatcher: calls the handlers.
        failures: where failures of plugins are noted.
        events: receives the lifecycle events.
        closed: is set when the manager is closed.
        manifests: the manifests of plugins that are not sent a handshake, by name.
        access: which plugins may be used.
        settings: the settings of plugins.
        cache: the manifests of earlier runs.
    """

    def __init__(
        self,
        registry: Registry,
        connect: Callable[..., Client],
        *,
        context: HookContext,
        dispatcher: Dispatcher,
        failures: Failures,
        events: Events,
        closed: Event,
        manifests: Mapping[str, Manifest] = {},
        access: AccessRules | None = None,
        settings: ManagerSettings | None = None,
        cache: ManifestCache | None = None,
    ) -> None:
        self._has_cache = cache is not None
        self.approver = Approver(context, self.activate)

        def create(spec: PluginSpec, listener: PluginListener) -> Plugin:
            plugin = Plugin(spec, connect, listener=listener, approver=self.approver, settings=settings)
            self.approver.protect(plugin)
            plugin.remember_in(cache)
            return plugin

        self.registry = RegistryAccess(registry, manifests, access)
        self.dispatcher = dispatcher
        self.closed = closed
        self.table: PluginTable[Plugin] = PluginTable(
            create,
            failures=failures,
            events=events,
            is_closed=closed.is_set,
            why=self.registry.why if self.registry.explains else None,
            has_changed=self.registry.has_changed,
        )

    def use(self, name: str, implements: str | type[Interface] | None, deadline: float) -> Plugin:
        """Return a plugin that is active, and dispatched to its handlers.

        Raises:
            ExtframeError: as ``PluginManager.get`` does.
        """
        plugin = self.activate(name, deadline)
        point = None if implements is None else point_of(implements)
        self.dispatcher.dispatch(plugin, deadline, again=point)
        if implements is not None and point is not None:
            plugin.require(implements)
            self.dispatcher.require(plugin, point)
        return plugin

    def activate(self, name: str, deadline: float) -> Plugin:
        """Return a plugin that is active; its handlers may not have been called yet.

        Raises:
            PluginNotFound, SpecError, ActivationError: as ``PluginManager.get`` does. The caller that gives up
                records them.
        """
        plugin = self.find(name, deadline)
        seen = plugin.spec
        try:
            is_active = plugin.activate(deadline, unless_outdated=True)
        except ActivationError as failure:
            if not self.has_restarted(plugin, seen, failure, deadline):
                raise
            is_active = False
        if not is_active:
            plugin = self.find(name, deadline)
            plugin.activate(deadline)
        self.table.record_success(name)
        return plugin

    def has_restarted(self, plugin: Plugin, seen: PluginSpec, failure: Exception, deadline: float) -> bool:
        """Return whether a handshake that failed is to be made again, as the plugin was active and has restarted.

        Args:
            plugin: the plugin.
            seen: its spec before the handshake. That of now is another where another caller has noticed the restart.
            failure: of the handshake.
            deadline: for a registry that may wait.
        """
        if not isinstance(failure, ActivationError) or not plugin.was_active:
            return False
        return plugin.spec is not seen or self.registry.stamp(seen, deadline) not in (None, seen.stamp)

    def find(self, name: str, deadline: float | None = None) -> Plugin:
        """Return the plugin with the address that its source contains now.

        A plugin that is active stays usable while its registry cannot be searched.

        Args:
            name: the plugin's.
            deadline: a ``time.monotonic()`` value for registries other than ``LocalRegistry``; None for no limit.

        Raises:
            PluginNotFound, SpecError: as the registry does.
            ExtframeError: the registry could not be searched, or the manager is closed.
        """
        table, registry = self.table, self.registry
        plugin = table.candidate(name)
        if plugin is not None and registry.stamp(plugin.spec, deadline) == plugin.spec.stamp:
            return plugin
        seen = table.seen(name)
        try:
            spec = registry.find(name, deadline)
        except ExtframeError as error:
            again = table.to_check_again(name, error)
            usable = table.not_found(name, seen, error, again and registry.stamp(again, deadline))
            if usable is None:
                raise
            return usable
        return table.found(name, spec, seen)

    def suspects(self, names: Sequence[str]) -> list[str]:
        """Return which plugins were dead or hung in the last run: nothing but a request for them waits for them."""
        return [name for name in names if self._is_suspect(name)] if self._has_cache else []

    def _is_suspect(self, name: str) -> bool:
        if not self.registry.is_local("find"):
            return False
        try:
            return self.find(name).is_suspect
        except ExtframeError:  # reported by the activation
            return False

    def is_current(self, name: str, deadline: float | None = None) -> bool:
        """Return whether a plugin is active and its source is unchanged."""
        plugin = self.table.known(name)
        return plugin is not None and self.table.is_current(plugin, self.registry.stamp(plugin.spec, deadline))

    def is_ready(self, name: str, deadline: float | None = None) -> bool:
        """Return whether nothing is left to do before a plugin can be used."""
        plugin = self.table.known(name)
        return plugin is not None and self.is_current(name, deadline) and not self.dispatcher.is_due(plugin)

    def handler_added(self, handler: object, deadline: float) -> None:
        """Dispatch every active plugin to a handler that was just registered, or have it decide about the plugin.

        Where it has not returned at the deadline, the failure is noted and it keeps running.
        """
        self.approver.handler_added(handler, self.table.plugins())
        active = [plugin for plugin in self.table.plugins() if plugin.state is State.ACTIVE]
        self.dispatcher.dispatch_to(handler, active, deadline)

    def handler_removed(self, handler: object) -> None:
        """Drop every reference to a handler that was unregistered."""
        self.dispatcher.forget(self.table.plugins(), handler)
        self.approver.handler_removed(self.table.plugins())

    def close(self) -> None:
        """Close every client; nothing is activated from now on."""
        self.closed.set()
        for plugin in self.table.plugins():
            plugin.close()
