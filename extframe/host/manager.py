"""PluginManager: where plugins and handlers meet. Parses no file and no reply, and opens no connection itself."""

from __future__ import annotations

import threading
import time
from collections.abc import Sequence
from functools import cached_property, partial
from typing import TYPE_CHECKING, Any, TypeVar, overload
from weakref import WeakSet

from ..client.circuit_breaker import Breaker
from ..concurrency import deadlines
from ..concurrency.deadlines import check_timeout
from ..concurrency.event import Event
from ..errors import (
    ActivationError,
    ConnectError,
    ExtframeError,
    PluginNotFound,
    SpecError,
)
from ..handlers.hook_manager import HookManager
from .arguments import check_registry, entry_point_groups

# A program that builds a manager may never use a plugin: what speaks to plugins is imported at the first use of one.
if TYPE_CHECKING:
    from types import TracebackType

    from typing_extensions import Self

    from ..handlers.failures import Failure
    from ..handlers.hook_calls import Monitor
    from ..interface.declarations import Interface
    from ..registry.local import Registry
    from .activation import Activator
    from .plugin import Plugin
    from .watch import Watch

T = TypeVar("T", bound="Interface")

POLL = 0.02  # seconds between two looks at a plugin that is waited for


class PluginManager(HookManager):
    """A pluggy.PluginManager whose hooks are fed by programs outside the host.

    Safe to use from many threads. No lock is held while bytes move or a handler runs: handlers may call any
    method of the manager.

    Args:
        registry: where plugins are found; ``LocalRegistry()`` when None.
        groups: the entry-point groups to load handlers from; ``()`` for none. Names in the environment
            variable ``EXTFRAME_DISABLE`` (divided by commas) are blocked.
        timeout: seconds for a call to a plugin, where neither the call nor the interface's method says otherwise.
        breaker: when calls to a plugin fail at once, as those before them failed; never where None.
    """

    def __init__(
        self,
        registry: Registry | None = None,
        *,
        groups: str | Sequence[str] = ("extframe",),
        timeout: float = 60.0,
        breaker: Breaker | None = Breaker(),  # noqa: B008 - a value
    ) -> None:
        check_registry(registry)
        super().__init__()
        self._registry = registry
        self._timeout = check_timeout(timeout)
        self._breaker = breaker
        self._closed = Event()
        self._watches: WeakSet[Watch] = WeakSet()
        self._watching = threading.RLock()  # guards it; in itself, as a signal handler may call `close`
        self._load(entry_point_groups(groups))

    @cached_property
    def _activator(self) -> Activator:
        """What knows plugins and speaks to them, made at the first use of one."""
        from ..client.client import Client
        from ..client.transport import ConnectionPool
        from ..handlers.lifecycle import News
        from ..registry.local import LocalRegistry
        from .activation import Activator
        from .dispatch import Dispatcher

        failures, monitors, origin = self._failures, self._current_monitors, self._origin
        made = Activator(
            LocalRegistry() if self._registry is None else self._registry,
            partial(Client, timeout=self._timeout, breaker=self._breaker, pool=ConnectionPool()),
            dispatcher=Dispatcher(self.hook, failures=failures, monitors=monitors, origin=origin),
            failures=failures,
            news=News(self.hook, failures=failures, monitors=monitors, origin=origin),
            closed=self._closed,
        )
        shared: Activator = vars(self).setdefault("_activator", made)  # by threads that come at once
        return shared

    # What a host calls.

    def scan(self) -> list[str]:
        """Return the names of the plugins that the registry sees now, sorted. Contacts none of them."""
        return self._activator.registry.scan()

    def get(
        self, name: str, implements: str | type[Interface] | None = None, *, wait: float = 0.0, timeout: float = 30.0
    ) -> Plugin:
        """Find a plugin, activate it and give it to its handlers, whatever of that has not been done yet.

        A plugin whose source changed on disk, or that refused a connection, is asked anew; handlers are then
        called for what is new in its manifest.

        Args:
            name: the name of its file, without the extension.
            implements: the extension point that it must implement.
            wait: seconds to wait for a plugin that is missing, or that still refuses connections.
            timeout: seconds for everything, the wait and the handlers included.

        Raises:
            PluginNotFound: no file says where it is; names every place that was searched.
            SpecError: the name, or the file, cannot be used.
            ActivationError: the handshake failed.
            DoesNotImplement: the manifest lacks ``implements``.
            HandlerError: a handler of ``implements`` raised; the next ``get`` calls those that did again.
            CallTimeout: a handler was still running when the time was up.
        """
        from ..protocol import check_name
        from .plugin import point_of

        check_name(name)
        activator = self._activator
        deadline = deadlines.after(timeout)
        patience = min(deadlines.after(wait), deadline)
        point = None if implements is None else point_of(implements)
        while True:
            try:
                return activator.use(name, point, deadline)
            except (PluginNotFound, SpecError, ActivationError) as missing:
                if not _is_transient(missing) or time.monotonic() + POLL >= patience:
                    activator.record_failure(name, missing)
                    raise
            self._closed.wait(POLL)

    def get_all(self, implements: str | type[Interface], *, timeout: float = 30.0) -> list[Plugin]:
        """Return every plugin that can be used as an extension point, sorted by name.

        All are activated side by side. One that is dead, hung or talks nonsense costs the others nothing: it
        is left out, and stands in ``failures()``.

        Args:
            implements: the extension point.
            timeout: seconds for everything.

        Raises:
            ExtframeError: the manager is closed.
        """
        from .concurrent_activation import use_all
        from .plugin import point_of

        point, activator = point_of(implements), self._activator
        activator.check_open()
        deadline = deadlines.after(timeout)
        return use_all(activator, self.scan(), point, deadline)

    @overload
    def driver(self, name: str, interface: type[T], *, wait: float = 0.0, timeout: float = 30.0) -> T: ...
    @overload
    def driver(self, name: str, interface: str, *, wait: float = 0.0, timeout: float = 30.0) -> Any: ...
    def driver(self, name: str, interface: str | type[Interface], *, wait: float = 0.0, timeout: float = 30.0) -> Any:
        """Return an object through which a plugin is used as one extension point.

        Args:
            name: the plugin's.
            interface: a class gives the first handler result that is one, else ``interface.remote(client)``;
                a name gives the first handler result.
            wait: as for ``get``.
            timeout: as for ``get``.

        Raises:
            ExtframeError: as ``get`` does.
        """
        return self.get(name, interface, wait=wait, timeout=timeout).driver(interface)

    def failures(self) -> list[Failure]:
        """Return what failed and has not worked since: entry points, handlers and plugins, the oldest first."""
        return self._failures.list()

    def watch(self, *, timeout: float = 10.0) -> Watch:
        """Begin to activate plugins as they come, and to notice those that are restarted, change and go.

        ::

            with extframe.PluginManager() as pm, pm.watch():
                ...

        Handlers and the lifecycle hooks hear of it. It goes on in a thread of its own until the result is closed, or
        the manager. The extra ``watch`` (``pip install 'extframe[watch]'``) has changes noticed at once and for less.

        Args:
            timeout: seconds for a plugin's handshake. One that does not answer costs the others nothing.
        """
        self._activator.check_open()
        from .watch import Watch  # a host that does not watch needs none of it

        watch = Watch(self._activator, timeout=timeout)
        with self._watching:
            self._watches.add(watch)
        if self._closed.is_set():  # `close` may have looked before
            watch.close()
        return watch

    def close(self, *, timeout: float = 5.0) -> None:
        """End what watches, and close every client. Handlers stay registered; ``get`` raises from now on.

        Args:
            timeout: seconds to wait for what watches; handlers that are running are not waited for.
        """
        deadline = deadlines.after(timeout)
        self._closed.set()
        with self._watching:
            watches = list(self._watches)
        for watch in watches:
            watch.close(deadlines.left(deadline))
        if self._is_used():
            self._activator.close()

    def _is_used(self) -> bool:
        """Return whether a plugin has been used, so that there may be any."""
        return "_activator" in vars(self)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    # What HookManager tells, and is asked for.

    def _current_monitors(self) -> Sequence[Monitor]:
        return self._monitors

    def _handler_added(self, handler: object) -> None:
        if self._is_used():
            self._activator.dispatch_all(handler)

    def _handler_removed(self, handler: object) -> None:
        if self._is_used():
            self._activator.dispatcher.forget(self._activator.plugins(), handler)


def _is_transient(missing: ExtframeError) -> bool:
    """Return whether waiting can help: there is no file yet, or half of one, or nobody listens behind it."""
    if isinstance(missing, ActivationError):
        cause = missing.__cause__
        return isinstance(cause, ConnectError) and isinstance(
            cause.__cause__, ConnectionRefusedError | FileNotFoundError
        )
    return True
