"""From a name to an active plugin whose handlers have been called, in tasks. Decides little; waits for the others."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Hashable, Mapping, Sequence
from time import monotonic
from typing import TYPE_CHECKING

from ..client.async_client import AsyncClient
from ..client.connection_pool import affordable
from ..concurrency import deadlines
from ..concurrency.tasks import OwnedTasks, done_by_all, set_done
from ..errors import ActivationError, ExtframeError
from ..handlers.access_rules import AccessRules
from ..handlers.async_lifecycle import AsyncLifecycleEvents
from ..handlers.failures import Failures
from ..handlers.hook_context import HookContext
from ..interface.async_interface import AsyncInterface
from ..interface.declarations import Interface
from ..protocol import Manifest, PluginSpec
from ..registry.local import Registry
from .async_approval import AsyncApprover
from .async_dispatch import AsyncDispatcher
from .async_plugin import AsyncPlugin
from .async_registry_access import AsyncRegistryAccess
from .lifecycle import State
from .pauses import SUSPECT_GRACE
from .plugin_base import point_of
from .plugin_contracts import PluginListener
from .plugin_table import PluginTable
from .registry_access import RegistryAccess
from .settings import ManagerSettings
from .usable_plugins import GRACE, Gathering, usable_plugins

if TYPE_CHECKING:
    from .manifest_cache import ManifestCache

BATCH = 8  # plugins that are begun in one step of the loop: each opens a connection


class AsyncActivator:
    """Finds plugins, activates them and dispatches them to their handlers, as far as that is not done yet.

    Args:
        registry: where plugins are found.
        connect: creates a plugin's client.
        context: the manager's hooks.
        dispatcher: calls the handlers.
        failures: where failures of plugins are noted.
        events: receives the lifecycle events.
        tasks: of the manager.
        manifests: the manifests of plugins that are not sent a handshake, by name.
        access: which plugins may be used.
        settings: the settings of plugins.
        cache: the manifests of earlier runs.
    """

    def __init__(
        self,
        registry: Registry,
        connect: Callable[..., AsyncClient],
        *,
        context: HookContext,
        dispatcher: AsyncDispatcher,
        failures: Failures,
        events: AsyncLifecycleEvents,
        tasks: OwnedTasks,
        manifests: Mapping[str, Manifest] = {},
        access: AccessRules | None = None,
        settings: ManagerSettings | None = None,
        cache: ManifestCache | None = None,
    ) -> None:
        self._has_cache = cache is not None
        loop = asyncio.get_running_loop()
        self.approver = AsyncApprover(context, self.activate, loop=loop, tasks=tasks)

        def create(spec: PluginSpec, listener: PluginListener) -> AsyncPlugin:
            plugin = AsyncPlugin(spec, connect, listener=listener, approver=self.approver, settings=settings)
            self.approver.protect(plugin)
            plugin.remember_in(cache)
            return plugin

        found_in = RegistryAccess(registry, manifests, access)
        self.registry = AsyncRegistryAccess(found_in)
        self.dispatcher = dispatcher
        self.events = events
        self.tasks = tasks
        self.closed: asyncio.Future[None] = loop.create_future()
        self._is_closed = False
        self.table: PluginTable[AsyncPlugin] = PluginTable(
            create,
            failures=failures,
            events=events,
            is_closed=lambda: self._is_closed,
            why=found_in.why if found_in.explains else None,
            has_changed=found_in.has_changed,
        )

    async def use(
        self, name: str, implements: str | type[Interface] | type[AsyncInterface] | None, deadline: float
    ) -> AsyncPlugin:
        """Return a plugin that is active, and dispatched to its handlers.

        Raises:
            ExtframeError: as ``AsyncPluginManager.get`` does.
        """
        plugin = await self.activate(name, deadline)
        point = None if implements is None else point_of(implements)
        await self.dispatcher.dispatch(plugin, deadline, again=point)
        if implements is not None and point is not None:
            plugin.require(implements)
            self.dispatcher.require(plugin, point)
        return plugin

    async def activate(self, name: str, deadline: float) -> AsyncPlugin:
        """Return a plugin that is active; its handlers may not have been called yet.

        Raises:
            PluginNotFound, SpecError, ActivationError: the caller that gives up records them.
        """
        plugin = await self.find(name, deadline)
        seen = plugin.spec
        try:
            is_active = await plugin.activate(deadline, unless_outdated=True)
        except ActivationError:
            if not await self._has_restarted(plugin, seen, deadline):
                raise
            is_active = False
        if not is_active:
            plugin = await self.find(name, deadline)
            await plugin.activate(deadline)
        self.table.record_success(name)
        return plugin

    async def _has_restarted(self, plugin: AsyncPlugin, seen: PluginSpec, deadline: float) -> bool:
        """Return whether a handshake that failed is to be made again; see ``Activator.has_restarted``."""
        if not plugin.was_active:
            return False
        return plugin.spec is not seen or await self.registry.stamp(seen, deadline) not in (None, seen.stamp)

    async def find(self, name: str, deadline: float) -> AsyncPlugin:
        """Return the plugin with the address that its source contains now.

        A plugin that is active stays usable while its registry cannot be searched.

        Raises:
            PluginNotFound, SpecError: as the registry does.
            ExtframeError: the registry could not be searched, or the manager is closed.
        """
        table, registry = self.table, self.registry
        plugin = table.candidate(name)
        if plugin is not None and await registry.stamp(plugin.spec, deadline) == plugin.spec.stamp:
            return plugin
        seen = table.seen(name)
        try:
            spec = await registry.find(name, deadline)
        except ExtframeError as error:
            again = table.to_check_again(name, error)
            usable = table.not_found(name, seen, error, again and await registry.stamp(again, deadline))
            if usable is None:
                raise
            return usable
        return table.found(name, spec, seen)

    async def suspects(self, names: Sequence[str]) -> list[str]:
        """Return which plugins were dead or hung in the last run; see ``Activator.suspects``."""
        return [name for name in names if await self._is_suspect(name)] if self._has_cache else []

    async def _is_suspect(self, name: str) -> bool:
        if not self.registry.is_local:
            return False
        try:
            return (await self.find(name, deadlines.after(0))).is_suspect
        except ExtframeError:  # reported by the activation
            return False

    async def is_current(self, name: str, deadline: float) -> bool:
        """Return whether a plugin is active and its source is unchanged."""
        plugin = self.table.known(name)
        return plugin is not None and self.table.is_current(plugin, await self.registry.stamp(plugin.spec, deadline))

    async def look(self, deadline: float) -> tuple[list[str], dict[str, Hashable]]:
        """Return the names of all plugins, and the stamps of the sources of those that are known.

        Raises:
            ExtframeError: the registry could not be searched.
        """
        return await self.registry.look({plugin.name: plugin.spec for plugin in self.table.plugins()}, deadline)

    async def use_all(
        self,
        implements: str | type[Interface] | type[AsyncInterface],
        deadline: float,
        *,
        names: Sequence[str] | None = None,
        give_up: float = 0.0,
    ) -> list[AsyncPlugin]:
        """Return every plugin that can be used as an extension point; note the failures of the others.

        Args:
            implements, deadline, names, give_up: as for ``concurrent_activation.use_all``.

        Raises:
            PluginsMissing: one that was requested cannot be used.
            ExtframeError: the registry could not be searched, or the manager is closed.
        """
        self.table.check_open()
        found, stamps = await self.look(deadline) if names is None else (names, {})
        rest = [name for name in found if not self._is_ready(name, stamps)]
        point = point_of(implements)
        suspects = await self.suspects(rest) if names is None else []
        ready: dict[str, Exception | None] = dict.fromkeys(set(found).difference(rest))
        results = ready | await self._activate_all(rest, point, deadline, Gathering(rest, suspects, give_up))
        self.table.check_open()
        required = names is not None
        return usable_plugins(self.table, self.dispatcher, found, implements, results, required=required)

    def _is_ready(self, name: str, stamps: Mapping[str, Hashable]) -> bool:
        """Return whether nothing is left to do before a plugin can be used."""
        plugin = self.table.known(name)
        if plugin is None or not self.table.is_current(plugin, stamps.get(name)):
            return False
        return not self.dispatcher.is_due(plugin)

    async def _activate_all(
        self, names: Sequence[str], point: str, deadline: float, gathering: Gathering
    ) -> dict[str, Exception | None]:
        """Return the failure of each plugin that was done by the deadline, or None. Nothing waits for suspects."""
        slots = asyncio.Semaphore(affordable())  # each handshake has a file descriptor

        async def use(name: str) -> None:
            error = await self._try(name, point, deadline, slots)
            while (pause := gathering.ended(name, error, monotonic())) is not None:
                await self.pause(pause)
                error = await self._try(name, point, deadline, slots)

        tasks: dict[str, asyncio.Task[None]] = {}
        try:
            for name in names:
                tasks[name] = self.tasks.start(use(name), f"extframe get_all {name}")
                if not len(tasks) % BATCH:
                    await asyncio.sleep(0)
            await done_by_all([tasks[name] for name in tasks if name not in gathering.suspects], deadline + GRACE)
            await done_by_all([tasks[name] for name in gathering.suspects], min(deadline, monotonic() + SUSPECT_GRACE))
        finally:
            for name in tasks.keys() - gathering.suspects:  # those go on
                tasks[name].cancel()
        return gathering.results()

    async def _try(self, name: str, point: str, deadline: float, slots: asyncio.Semaphore) -> Exception | None:
        """Activate and dispatch a plugin; return its failure, or None."""
        try:
            async with slots:
                plugin = await self.activate(name, deadline)
            await self.dispatcher.dispatch(plugin, deadline, again=point)
        except Exception as error:  # noqa: BLE001 - noted as the plugin's failure
            return error
        return None

    async def pause(self, seconds: float) -> None:
        """Wait some seconds, or until the manager is closed."""
        await asyncio.wait({self.closed}, timeout=seconds)

    def handler_added(self, handler: object, deadline: float) -> None:
        """Have a handler that was just registered called for every active plugin, or decide about it. Returns at once.

        Where it has not returned at the deadline, the failure is noted and it keeps running.
        """
        self.approver.handler_added(handler, self.table.plugins())
        self.dispatcher.dispatch_to(
            handler, lambda: [plugin for plugin in self.table.plugins() if plugin.state is State.ACTIVE], deadline
        )

    def handler_removed(self, handler: object) -> None:
        """Drop every reference to a handler that was unregistered."""
        self.dispatcher.forget(self.table.plugins(), handler)
        self.approver.handler_removed(self.table.plugins())

    def close(self) -> None:
        """Close every client and end all tasks; nothing is activated from now on."""
        self._is_closed = True
        set_done(self.closed)
        self.tasks.cancel()
        for plugin in self.table.plugins():
            plugin.close()

    def abandon(self) -> None:
        """Close every client without the event loop, which may be closed, and its tasks with it."""
        self._is_closed = True
        for plugin in self.table.plugins():
            plugin.client._close()
