"""AsyncPluginManager, what a host calls that runs in an event loop. Opens no connection itself."""

from __future__ import annotations

import asyncio
import os
from collections.abc import Awaitable, Callable, Collection, Iterable, Mapping, Sequence
from functools import partial
from time import monotonic
from types import TracebackType
from typing import TYPE_CHECKING, Any, TypeVar, overload

from ..client.async_client import AsyncClient
from ..client.circuit_breaker import Breaker
from ..client.connection_pool import ConnectionPool
from ..client.loop_binding import LoopBinding
from ..concurrency import deadlines
from ..concurrency.async_threads import call_in_thread
from ..concurrency.tasks import OwnedTasks
from ..errors import ActivationError, PluginNotFound, SpecError
from ..handlers.async_lifecycle import AsyncLifecycleEvents
from ..interface.declarations import Interface
from ..interface.remote import mirror_of
from .async_activation import AsyncActivator
from .async_dispatch import AsyncDispatcher
from .async_fan_out import call_all
from .async_watch import AsyncWatch
from .base_manager import BaseManager
from .descriptions import describe
from .outcomes import Outcomes
from .pauses import Pauses
from .plugin_base import point_of
from .usable_plugins import check_names

# Unlike PluginManager's module, this one imports at once everything that uses plugins: not on a loop that runs.

if TYPE_CHECKING:
    from typing_extensions import Self

    from ..client.choice import Choice
    from ..client.http1 import Limits
    from ..client.observers import Observer
    from ..handlers.handler_rows import Description
    from ..interface.async_interface import AsyncInterface
    from ..registry.local import Registry
    from .async_plugin import AsyncPlugin
else:
    from ..concurrency.late_types import Self, late
    from ..handlers.hook_manager import Description
    from .base_manager import Choice, Limits, Observer, Registry

    AsyncInterface = late("extframe.interface.async_interface", "AsyncInterface")
    AsyncPlugin = late("extframe.host.async_plugin", "AsyncPlugin")

T = TypeVar("T", bound="AsyncInterface")
R = TypeVar("R")


class AsyncPluginManager(BaseManager):
    """A pluggy.PluginManager that also finds and activates plugins, for hosts that run in an event loop.

    ::

        async with extframe.AsyncPluginManager() as pm:
            volumes = await pm.driver("rclone", extframe.AsyncVolumeDriver)
            await volumes.mount("photos", id="c1")

    It makes the decisions of ``PluginManager``. Handlers may be ``async def``, which run on the loop, or ``def``,
    which run in daemon threads as wrappers do; all are called one after the other, and given an ``AsyncClient``. A
    registry that may block is called in a thread. Cancelling a task that waits for a plugin disturbs no other.

    A manager belongs to the event loop of its first await. Its handlers can be registered in any thread.

    Args:
        registry, groups, timeout, breaker, implements, settings, keep_alive, limits, observers, allow, block, project,
            prefer, choose, cache: as for ``PluginManager``.

    Raises:
        TypeError: an argument is of the wrong type; the message says what to write.
    """

    _runs_async_handlers = True

    def __init__(
        self,
        registry: Registry | Sequence[Registry] | None = None,
        *,
        groups: str | Sequence[str] | None = None,
        timeout: float = 60.0,
        breaker: Breaker | None = Breaker(),  # noqa: B008 - a value
        implements: Mapping[str, Sequence[str]] = {},
        settings: Mapping[str, Mapping[str, Any]] = {},
        keep_alive: bool = True,
        limits: Limits | None = None,
        observers: Iterable[Observer] = (),
        allow: Sequence[str] | None = None,
        block: Sequence[str] = (),
        project: str | None = None,
        prefer: Mapping[str, Sequence[str]] = {},
        choose: Choice | None = None,
        cache: str | os.PathLike[str] | None = None,
    ) -> None:
        super().__init__(
            registry,
            groups=groups,
            timeout=timeout,
            breaker=breaker,
            implements=implements,
            settings=settings,
            keep_alive=keep_alive,
            limits=limits,
            observers=observers,
            allow=allow,
            block=block,
            project=project,
            prefer=prefer,
            choose=choose,
            cache=cache,
        )
        self._binding = LoopBinding("this AsyncPluginManager", self._bind)
        self._is_closed = False

    def _bind(self, loop: asyncio.AbstractEventLoop) -> None:
        """Create what finds and activates plugins, when a plugin is first used."""
        tasks = OwnedTasks()
        context = self._hook_context()
        self._activator = AsyncActivator(
            self._registry_or_default(),
            partial(AsyncClient, pool=ConnectionPool(), **self._client_options()),
            context=context,
            dispatcher=AsyncDispatcher(context, loop=loop, tasks=tasks),
            failures=self._failures,
            events=AsyncLifecycleEvents(context, loop=loop, tasks=tasks),
            tasks=tasks,
            manifests=self._manifests,
            settings=self._settings,
            access=self._access,
            cache=self._cache,
        )
        if self._is_closed:
            self._activator.close()

    def _bound(self) -> AsyncActivator:
        """Return what finds and activates plugins.

        Raises:
            RuntimeError: the manager was first used in another event loop.
        """
        self._binding.check()
        return self._activator

    async def scan(self, *, timeout: float = 30.0) -> list[str]:
        """Return the names of the plugins that the registry contains now, sorted. Opens no connection.

        Args:
            timeout: seconds to wait for the registry.

        Raises:
            ExtframeError: the registry could not be searched.
            RuntimeError: the manager was first used in another event loop.
        """
        return await self._bound().registry.scan(deadlines.after(timeout))

    async def get(
        self,
        name: str,
        implements: str | type[Interface] | type[AsyncInterface] | None = None,
        *,
        wait: float = 0.0,
        timeout: float = 30.0,
    ) -> AsyncPlugin:
        """Return an active plugin, activating it and dispatching it to its handlers if needed.

        Handlers, and a handshake that other tasks wait for, continue if this task is cancelled.

        Args:
            name, implements, wait, timeout: as for ``PluginManager.get``.

        Raises:
            ExtframeError: as ``PluginManager.get``.
            RuntimeError: the manager was first used in another event loop.
        """
        activator = self._bound()
        deadline = deadlines.after(timeout)
        give_up = min(deadlines.after(wait), deadline)
        if implements is not None:
            point_of(implements)  # raises what is wrong with it
            self._settings.learn(implements, name)
        pauses = Pauses()
        while True:
            try:
                return await activator.use(name, implements, deadline)
            except (PluginNotFound, SpecError, ActivationError) as failure:
                pause = pauses.after(failure, give_up - monotonic())
                if pause is None:
                    activator.table.record_failure(name, failure)
                    raise
            await activator.pause(pause)

    async def get_all(
        self,
        implements: str | type[Interface] | type[AsyncInterface],
        *,
        names: Collection[str] | None = None,
        wait: float = 0.0,
        timeout: float = 30.0,
    ) -> list[AsyncPlugin]:
        """Return every plugin that can be used as an extension point, sorted by name.

        All are activated concurrently. One that is dead, hangs or sends garbage does not affect the others: it is
        left out, logged, and listed in ``failures()``.

        Args:
            implements: the extension point.
            names, wait, timeout: as for ``PluginManager.get_all``.

        Raises:
            PluginsMissing: a plugin that was requested by name cannot be used; names each, with the reason.
            ExtframeError: the registry could not be searched, or the manager is closed.
            RuntimeError: the manager was first used in another event loop.
        """
        self._settings.learn(implements)
        deadline, give_up = deadlines.after(timeout), deadlines.after(wait)
        chosen = check_names(names)
        return await self._bound().use_all(implements, deadline, names=chosen, give_up=min(give_up, deadline))

    @overload
    async def driver(self, name: str, interface: type[T], *, wait: float = 0.0, timeout: float = 30.0) -> T: ...
    @overload
    async def driver(self, name: str, interface: str, *, wait: float = 0.0, timeout: float = 30.0) -> Any: ...
    async def driver(
        self, name: str, interface: str | type[AsyncInterface], *, wait: float = 0.0, timeout: float = 30.0
    ) -> Any:
        """Return an object through which a plugin is used as one extension point.

        Args:
            name: the plugin's name.
            interface: an async class, such as ``AsyncVolumeDriver``, returns the first handler result that is an
                instance of it, otherwise ``interface.remote(client)``; a name returns the first handler result.
            wait: as for ``get``.
            timeout: as for ``get``.

        Raises:
            ExtframeError: as ``get`` does.
            TypeError: the interface is not async; the message names the one that is.
        """
        check_async(interface)
        return (await self.get(name, interface, wait=wait, timeout=timeout)).driver(interface)

    async def drivers(
        self, interface: type[T], *, names: Collection[str] | None = None, wait: float = 0.0, timeout: float = 30.0
    ) -> dict[str, T]:
        """Return a driver for every plugin that can be used as an extension point, by the plugin's name, sorted.

        Args:
            interface: the async class of the drivers, as for ``driver``.
            names, wait, timeout: as for ``get_all``, which says which plugins are left out.

        Raises:
            ExtframeError: as ``get_all`` does.
            TypeError: the interface is not async; the message names the one that is.
        """
        check_async(interface)
        plugins = await self.get_all(interface, names=names, wait=wait, timeout=timeout)
        return {plugin.name: plugin.driver(interface) for plugin in plugins}

    async def call_all(
        self,
        interface: type[T],
        function: Callable[[T], Awaitable[R]],
        *,
        names: Collection[str] | None = None,
        wait: float = 0.0,
        timeout: float = 30.0,
    ) -> Outcomes[R]:
        """Await a function of the driver of every plugin that can be used as an extension point, in parallel.

        ::

            outcomes = await pm.call_all(AsyncVolumeDriver, lambda volumes: volumes.get("photos"), timeout=5)

        At the deadline, and if this task is cancelled, the calls under way are cancelled.

        Args:
            interface: the async class of the drivers, as for ``driver``.
            function: a method of the interface that takes no argument, or a function of a driver. It is awaited.
            names, wait, timeout: as for ``PluginManager.call_all``.

        Raises:
            ExtframeError: the registry could not be searched, or the manager is closed.
            TypeError: the interface is not async; the message names the one that is.
        """
        check_async(interface)
        activator, deadline = self._bound(), deadlines.after(timeout)
        activator.table.check_open()

        async def driver(name: str) -> T:
            return await self.driver(name, interface, wait=wait, timeout=max(deadlines.left(deadline), 0.001))

        return await call_all(activator, driver, interface, function, names=check_names(names), deadline=deadline)

    async def describe(self, *, timeout: float = 30.0) -> list[Description]:
        """Return a row for each handler and each plugin: for a host's own ``plugins`` command. Opens no connection.

        Args:
            timeout: seconds for the registry.

        Raises:
            ExtframeError: the registry could not be searched.
        """
        activator = self._bound()
        names = await activator.registry.scan_all(deadlines.after(timeout))
        return describe(self.described_handlers(), activator.table, names, activator.registry.refusal)

    def watch(self, *, timeout: float = 10.0, ping: float | None = None) -> AsyncWatch:
        """Activate plugins as they appear, notice those that restart, change and disappear, and report it as data.

        ::

            async with pm.watch() as events:
                async for event in events:
                    print(event.kind, event.name)  # activated rclone

        The lifecycle hooks report each step, too. The extra ``watch`` (``pip install 'extframe[watch]'``) uses inotify
        instead of polling.

        Args:
            timeout: seconds for a plugin's handshake. One that does not answer does not delay the others.
            ping: seconds of silence after which an active plugin is pinged; None for never. One that does not answer
                within ``timeout`` is lost, and activated again once it responds.

        Raises:
            ExtframeError: the manager is closed.
            RuntimeError: no event loop runs, or the manager was first used in another one.
        """
        activator = self._bound()
        activator.table.check_open()
        return AsyncWatch(activator, timeout=timeout, ping=ping)

    async def aclose(self, *, timeout: float = 5.0) -> None:
        """Close all watches, clients and registries, and cancel async handlers that are running.

        Tasks that wait for a plugin are woken. Handlers stay registered; ``get`` raises from now on.

        Args:
            timeout: seconds to wait for the cancelled handlers.

        Raises:
            RuntimeError: the manager was first used in another event loop.
        """
        deadline = deadlines.after(timeout)
        activator = self._bound() if self._is_used() else None
        self._is_closed = True
        try:
            if activator is not None:
                activator.close()
                await activator.tasks.close(deadline)
        finally:  # also where this task is cancelled
            if hasattr(self._registry, "close") or self._cache_argument is not None:
                await call_in_thread(self._close_registry, "extframe registry.close")

    def _close_from_outside(self) -> None:
        """Close the manager where its event loop does not run, and may be closed already."""
        self._is_closed = True
        loop = self._binding.loop
        if loop is None or loop.is_closed() or loop.is_running():
            self._close_registry()
        if loop is None:
            return
        if loop.is_closed() or loop.is_running():
            self._activator.abandon()
        else:
            loop.run_until_complete(self.aclose())

    async def __aenter__(self) -> Self:
        self._bound()
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self.aclose()

    # What HookManager calls.

    def _handler_added(self, handler: object) -> None:
        if self._is_used():
            self._activator.handler_added(handler, deadlines.after(self._timeout))

    def _handler_removed(self, handler: object) -> None:
        if self._is_used():
            self._activator.handler_removed(handler)


def check_async(interface: object) -> None:
    """Do nothing if drivers of an interface can be awaited.

    Raises:
        TypeError: it is a sync interface.
    """
    if isinstance(interface, type) and issubclass(interface, Interface):
        name = mirror_of(interface).__name__
        raise TypeError(f"{interface.__name__} is not async: an AsyncPluginManager gives drivers of {name}")
