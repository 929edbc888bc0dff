"""PluginManager, what a host calls. Parses no file and no response, and opens no connection itself."""

from __future__ import annotations

import os
from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from functools import cached_property, partial
from time import monotonic
from types import TracebackType
from typing import TYPE_CHECKING, Any, TypeVar, overload
from weakref import WeakSet

from ..client.circuit_breaker import Breaker
from ..concurrency import deadlines
from ..concurrency.event import Event
from ..concurrency.locks import signal_safe_lock
from ..errors import ActivationError, PluginNotFound, SpecError
from .base_manager import BaseManager
from .first_use import first_use
from .loop_warning import LoopWarning
from .pauses import Pauses

# A program that creates a manager may never use a plugin: everything for that is imported when one is first used.
if TYPE_CHECKING:
    from typing_extensions import Self

    from ..client.choice import Choice
    from ..client.http1 import Limits
    from ..client.observers import Observer
    from ..handlers.handler_rows import Description
    from ..interface.declarations import Interface
    from ..registry.local import Registry
    from .activation import Activator
    from .outcomes import Outcomes
    from .plugin import Plugin
    from .watch import Watch
else:
    from ..concurrency.late_types import LateGeneric, Self, late
    from ..handlers.hook_manager import Description
    from .base_manager import Choice, Limits, Observer, Registry

    Interface = late("extframe.interface.declarations", "Interface")
    Outcomes = LateGeneric("extframe.host.outcomes", "Outcomes")
    Plugin = late("extframe.host.plugin", "Plugin")
    Watch = late("extframe.host.watch", "Watch")

T = TypeVar("T", bound="Interface")
R = TypeVar("R")


class PluginManager(BaseManager):
    """A pluggy.PluginManager that also finds and activates plugins, and dispatches them to its handlers.

    Thread-safe. No lock is held while bytes move or a handler runs: handlers may call any method of the manager.

    Args:
        registry: where plugins are found; ``LocalRegistry()`` if None. Several are a `RegistryChain`. ``close`` closes
            it.
        groups: the entry-point groups to load handlers from; ``("extframe",)`` if None, ``()`` for none.
        timeout: the default timeout of calls to plugins, in seconds; also for handlers that are registered while
            plugins are active.
        breaker: the circuit breaker of each plugin; None for none.
        implements: what plugins implement whose handshake is missing or wrong, by name:
            ``{"loki": ["LogDriver"]}``. They are not sent a handshake.
        settings: the settings of plugins, by name: ``{"photos": {"bucket": "b1", "key": "${S3_KEY}"}}``. They are
            validated against the interface and sent after each handshake; docs/settings.md.
        keep_alive: whether connections are kept for reuse; not those of a plugin that turns out to close them.
        limits: the largest accepted replies of plugins, handshakes included.
        observers: are notified of each call of each plugin, handshakes included, see `Observer`.
        allow: the only handlers and plugins that may take part, by the name of the entry point, the distribution or
            the plugin, or by patterns such as ``acme-*``; ``plugin:NAME`` and ``handler:NAME`` limit an entry to one
            kind. None for all. Others are not imported or contacted. The built-in handlers need not be in it.
        block: handlers and plugins that may not take part, in the same form. The environment variables
            ``EXTFRAME_ALLOW`` and ``EXTFRAME_BLOCK`` (separated by commas) can refuse more, and never less.
        project: the name of a pluggy project, for hosts that use pluggy already. The manager recognises that project's
            markers and extframe's, and has no hooks but those that the host adds. It loads handlers, by default of the
            group with the project's name, when the host calls ``load_handlers()``.
        prefer: whose drivers are used where several handlers return one: by extension point the names of handlers or
            distributions, or patterns, the most preferred first: ``{"VolumeDriver": ["acme"]}``. Others follow in
            pluggy's order.
        choose: which instance a call goes to where a plugin has several: ``RoundRobin()`` if None,
            ``LeastOutstanding()``, ``SameZoneFirst("eu-1")``.
        cache: where manifests are remembered for the next run of a short-lived host: its name, for a file in the
            user's cache directory, or the path of a file. A plugin whose source has not changed is then contacted at
            its first call. None for no cache.

    Raises:
        TypeError: an argument is of the wrong type; the message says what to write.
    """

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
        self._closed = Event()
        self._watches: WeakSet[Watch] = WeakSet()
        self._watches_lock = signal_safe_lock()
        self._loop_warning = LoopWarning()

    @cached_property
    def _activator(self) -> Activator:
        """What finds and activates plugins, created when a plugin is first used."""
        with first_use():
            from ..client.client import Client
            from ..client.transport import ConnectionPool
            from ..handlers.lifecycle import LifecycleEvents
            from .activation import Activator
            from .dispatch import Dispatcher

            registry, context = self._registry_or_default(), self._hook_context()
        made = Activator(
            registry,
            partial(Client, pool=ConnectionPool(), **self._client_options()),
            context=context,
            dispatcher=Dispatcher(context),
            failures=self._failures,
            events=LifecycleEvents(context),
            closed=self._closed,
            manifests=self._manifests,
            settings=self._settings,
            access=self._access,
            cache=self._cache,
        )
        shared: Activator = vars(self).setdefault("_activator", made)  # by threads that arrive at the same time
        return shared

    def scan(self) -> list[str]:
        """Return the names of the plugins that the registry contains now, sorted. Opens no connection.

        Raises:
            ExtframeError: the registry could not be searched.
        """
        return self._activator.registry.scan()

    def get(
        self, name: str, implements: str | type[Interface] | None = None, *, wait: float = 0.0, timeout: float = 30.0
    ) -> Plugin:
        """Return an active plugin, activating it and dispatching it to its handlers if needed.

        If its source changed or it refused a connection since the last call, it is activated again, and handlers
        are called only for manifest entries that are new.

        Args:
            name: the name of its file, without the extension.
            implements: the extension point that it must implement.
            wait: seconds to wait for a plugin that is missing, that refuses connections, or that closes them
                without a response.
            timeout: seconds for everything, including the wait and the handlers.

        Raises:
            PluginNotFound: no file says where it is; names every place that was searched.
            SpecError: the name, the file or the settings cannot be used.
            ActivationError: the handshake failed, or the plugin refused its settings.
            DoesNotImplement: the manifest lacks ``implements``, or has it in versions that the class does not accept.
            HandlerError: a handler of ``implements`` raised; the next ``get`` calls those that did again.
            CallTimeout: a handler was still running at the deadline.
            ExtframeError: the registry could not be searched, or the manager is closed.
        """
        self._loop_warning.check()
        activator = self._activator
        from .plugin_base import point_of

        deadline = deadlines.after(timeout)
        give_up = min(deadlines.after(wait), deadline)
        if implements is not None:
            point_of(implements)  # raises what is wrong with it
            self._settings.learn(implements, name)
        pauses = Pauses()
        while True:
            try:
                return activator.use(name, implements, deadline)
            except (PluginNotFound, SpecError, ActivationError) as failure:
                pause = pauses.after(failure, give_up - monotonic())
                if pause is None:
                    activator.table.record_failure(name, failure)
                    raise
            self._closed.wait(pause)

    def get_all(
        self,
        implements: str | type[Interface],
        *,
        names: Collection[str] | None = None,
        wait: float = 0.0,
        timeout: float = 30.0,
    ) -> list[Plugin]:
        """Return every plugin that can be used as an extension point, sorted by name.

        All are activated concurrently. One that is dead, hangs or sends garbage does not affect the others: it is
        left out, logged, and listed in ``failures()``.

        Args:
            implements: the extension point.
            names: the plugins that are requested; None for all.
            wait: seconds to wait for plugins that are missing, that refuse connections, or that close them without a
                response; of plugins that are not requested by name, for those that the registry contains.
            timeout: seconds for everything.

        Raises:
            PluginsMissing: a plugin that was requested by name cannot be used; names each, with the reason.
            ExtframeError: the registry could not be searched, or the manager is closed.
        """
        self._loop_warning.check()
        self._activator.table.check_open()
        self._settings.learn(implements)
        with first_use():
            from .concurrent_activation import use_all
            from .usable_plugins import check_names
        deadline, give_up = deadlines.after(timeout), deadlines.after(wait)
        return use_all(self._activator, implements, deadline, names=check_names(names), give_up=min(give_up, deadline))

    @overload
    def driver(self, name: str, interface: type[T], *, wait: float = 0.0, timeout: float = 30.0) -> T: ...
    @overload
    def driver(self, name: str, interface: str, *, wait: float = 0.0, timeout: float = 30.0) -> Any: ...
    def driver(self, name: str, interface: str | type[Interface], *, wait: float = 0.0, timeout: float = 30.0) -> Any:
        """Return an object through which a plugin is used as one extension point.

        Args:
            name: the plugin's name.
            interface: a class returns the first handler result that is an instance of it, otherwise
                ``interface.remote(client)``; a name returns the first handler result.
            wait: as for ``get``.
            timeout: as for ``get``.

        Raises:
            ExtframeError: as ``get`` does.
        """
        return self.get(name, interface, wait=wait, timeout=timeout).driver(interface)

    def drivers(
        self, interface: type[T], *, names: Collection[str] | None = None, wait: float = 0.0, timeout: float = 30.0
    ) -> dict[str, T]:
        """Return a driver for every plugin that can be used as an extension point, by the plugin's name, sorted.

        Args:
            interface: the class of the drivers, as for ``driver``.
            names, wait, timeout: as for ``get_all``, which says which plugins are left out.

        Raises:
            ExtframeError: as ``get_all`` does.
        """
        plugins = self.get_all(interface, names=names, wait=wait, timeout=timeout)
        return {plugin.name: plugin.driver(interface) for plugin in plugins}

    def call_all(
        self,
        interface: type[T],
        function: Callable[[T], R],
        *,
        names: Collection[str] | None = None,
        wait: float = 0.0,
        timeout: float = 30.0,
    ) -> Outcomes[R]:
        """Call a function with the driver of every plugin that can be used as an extension point, in parallel.

        ::

            outcomes = pm.call_all(VolumeDriver, VolumeDriver.list, timeout=5)
            outcomes = pm.call_all(VolumeDriver, lambda volumes: volumes.get("photos"), timeout=5)
            outcomes.results  # {'rclone': ...}
            outcomes.errors  # {'nfs': CallTimeout(...)}

        Each plugin is activated and called in a thread of its own, so that none waits for another. At the deadline, a
        function that has not returned is left running.

        Args:
            interface: the class of the drivers, as for ``driver``.
            function: a method of the interface that takes no argument, or a function of a driver.
            names, wait: as for ``get_all``; a plugin that was requested by name is never left out.
            timeout: seconds for everything.

        Raises:
            ExtframeError: the registry could not be searched, or the manager is closed.
        """
        self._loop_warning.check()
        self._activator.table.check_open()
        with first_use():
            from .fan_out import call_all
            from .usable_plugins import check_names
        deadline = deadlines.after(timeout)

        def driver(name: str) -> T:
            return self.driver(name, interface, wait=wait, timeout=max(deadlines.left(deadline), 0.001))

        return call_all(self._activator, driver, interface, function, names=check_names(names), deadline=deadline)

    def describe(self, *, timeout: float = 30.0) -> list[Description]:
        """Return a row for each handler and each plugin: for a host's own ``plugins`` command. Opens no connection.

        Args:
            timeout: seconds for the registry.

        Raises:
            ExtframeError: the registry could not be searched.
        """
        with first_use():
            from .descriptions import describe
        access = self._activator.registry
        names = access.scan_all(deadlines.after(timeout))
        return describe(self.described_handlers(), self._activator.table, names, access.refusal)

    def watch(self, *, timeout: float = 10.0, ping: float | None = None) -> Watch:
        """Activate plugins as they appear, and notice those that restart, change and disappear.

        ::

            with extframe.PluginManager() as pm, pm.watch():
                ...

        The lifecycle hooks report each step. The watch runs in a thread of its own until it or the manager is
        closed. The extra ``watch`` (``pip install 'extframe[watch]'``) uses inotify instead of polling.

        Args:
            timeout: seconds for a plugin's handshake. One that does not answer does not delay the others.
            ping: seconds of silence after which an active plugin is pinged; None for never. One that does not answer
                within ``timeout`` is lost, and activated again once it responds.

        Raises:
            ExtframeError: the manager is closed, or the system has no thread.
        """
        self._activator.table.check_open()
        with first_use():
            from .watch import Watch  # a host that does not watch does not need it

        watch = Watch(self._activator, timeout=timeout, ping=ping)
        with self._watches_lock:
            self._watches.add(watch)
        if self._closed.is_set():  # `close` may have missed it
            watch.close()
        return watch

    def close(self, *, timeout: float = 5.0) -> None:
        """Close all watches, clients and registries, and wake threads that wait for a plugin.

        Handlers stay registered; ``get`` raises from now on. A `Supervisor` stops the plugins that it started, which
        takes as long as the slowest needs, at most its ``stop_timeout``.

        Args:
            timeout: seconds to wait for watches. Handlers that are running are not waited for.
        """
        deadline = deadlines.after(timeout)
        self._closed.set()
        with self._watches_lock:
            watches = list(self._watches)
        for watch in watches:
            watch.close(deadlines.left(deadline))
        if self._is_used():
            self._activator.close()
        self._close_registry()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    # What HookManager calls.

    def _handler_added(self, handler: object) -> None:
        if self._is_used():
            self._activator.handler_added(handler, deadlines.after(self._timeout))

    def _handler_removed(self, handler: object) -> None:
        if self._is_used():
            self._activator.handler_removed(handler)
