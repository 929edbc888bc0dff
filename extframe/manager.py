"""PluginManager: where plugins and handlers meet. Parses no file and no reply, and opens no connection itself."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Sequence
from functools import partial
from typing import TYPE_CHECKING, Any, TypeVar, overload

from . import deadline as deadlines
from .breaker import Breaker
from .client import Client
from .dispatch import Dispatcher
from .errors import ActivationError, CallTimeout, ConnectError, ExtframeError, HandlerError, PluginNotFound, SpecError
from .failures import Failure
from .hookmanager import HookManager
from .interface import Interface
from .logs import get_logger
from .plugin import Plugin, State, point_of
from .protocol import check_name
from .registry import LocalRegistry, Registry
from .transport import ConnectionPool
from .worker import side_by_side

if TYPE_CHECKING:
    from types import TracebackType

    from typing_extensions import Self

T = TypeVar("T", bound=Interface)

logger = get_logger(__name__)

POLL = 0.02  # seconds between two looks at a plugin that is waited for
GRACE = 0.02  # seconds in which get_all hears of the deadlines that have passed


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
        groups: Sequence[str] = ("extframe",),
        timeout: float = 60.0,
        breaker: Breaker | None = Breaker(),  # noqa: B008 - a value
    ) -> None:
        self._registry = LocalRegistry() if registry is None else registry
        self._connect = partial(Client, timeout=timeout, breaker=breaker, pool=ConnectionPool())
        self._plugins: dict[str, Plugin] = {}
        self._table = threading.Lock()  # guards _plugins
        self._closed = threading.Event()
        super().__init__()
        self._dispatcher = Dispatcher(
            self.hook, failures=self._failures, monitors=lambda: self._monitors, origin=self._origin
        )
        self._load(groups)

    # What a host calls.

    def scan(self) -> list[str]:
        """Return the names of the plugins that the registry sees now, sorted. Contacts none of them."""
        return self._registry.scan()

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
        check_name(name)
        deadline = deadlines.after(timeout)
        patience = min(deadlines.after(wait), deadline)
        point = None if implements is None else point_of(implements)
        while True:
            try:
                return self._use(name, point, deadline)
            except (PluginNotFound, SpecError, ActivationError) as missing:
                if not _may_yet_come(missing) or time.monotonic() + POLL >= patience:
                    raise
            self._closed.wait(POLL)

    def get_all(self, implements: str | type[Interface], *, timeout: float = 30.0) -> list[Plugin]:
        """Return every plugin that can be used as an extension point, sorted by name.

        All are activated side by side. One that is dead, hung or talks nonsense costs the others nothing: it
        is left out, and stands in ``failures()``.

        Args:
            implements: the extension point.
            timeout: seconds for everything.
        """
        point, deadline = point_of(implements), deadlines.after(timeout)
        names = list(dict.fromkeys(self.scan()))
        uses: dict[str, Callable[[], Plugin]] = {
            name: partial(self._plugins.__getitem__, name) for name in names if self._is_ready(name)
        }
        rest = [name for name in names if name not in uses]
        uses |= side_by_side(partial(self._use_here, point, deadline), rest, deadline + GRACE, "extframe get_all")
        found = [self._usable(name, point, uses.get(name, partial(self._late, name))) for name in names]
        return [plugin for plugin in found if plugin is not None]

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

    def close(self) -> None:
        """Close every client. Handlers stay registered; ``get`` raises from now on."""
        self._closed.set()
        with self._table:
            plugins = list(self._plugins.values())
        for plugin in plugins:
            plugin.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    # From a name to an active plugin whose handlers have been called.

    def _use(self, name: str, point: str | None, deadline: float) -> Plugin:
        plugin = self._activate(name, deadline)
        self._dispatcher.dispatch(plugin, deadline, again=point)
        if point is not None:
            plugin.require(point)
            self._dispatcher.require(plugin, point)
        return plugin

    def _activate(self, name: str, deadline: float) -> Plugin:
        try:
            plugin = self._known(name)
            plugin.activate(deadline)
        except ExtframeError as error:
            if name in self._plugins or not isinstance(error, PluginNotFound):  # a name that is nobody's is no plugin
                self._note(name, error)
            raise
        self._failures.clear(("plugin", name))
        return plugin

    def _known(self, name: str) -> Plugin:
        self._check_open(name)
        plugin = self._plugins.get(name)
        if plugin is not None and self._registry.stamp(plugin.spec) == plugin.spec.stamp:
            return plugin
        try:
            spec = self._registry.find(name)
        except ExtframeError:
            if plugin is not None:
                plugin.miss()
            raise
        with self._table:
            plugin = self._plugins.get(name)
            if plugin is None:
                self._check_open(name)  # `close` looks at the table after it said so
                client = self._connect(spec.address, tls=spec.tls, plugin=name)
                self._plugins[name] = plugin = Plugin(spec, client)
                return plugin
        plugin.renew(spec)
        return plugin

    def _check_open(self, name: str) -> None:
        if self._closed.is_set():
            raise ExtframeError("this PluginManager is closed; make a new one", plugin=name)

    def _note(self, name: str, error: Exception) -> None:
        self._failures.note(("plugin", name), Failure(f"plugin {name!r}", error))

    # Side by side.

    def _is_ready(self, name: str) -> bool:
        """Return whether a plugin is active and nothing is left to be done for it."""
        plugin = self._plugins.get(name)
        return (
            plugin is not None
            and plugin.state is State.ACTIVE
            and bool(plugin.manifest.implements)
            and self._registry.stamp(plugin.spec) == plugin.spec.stamp
            and not self._dispatcher.is_due(plugin)
        )

    def _use_here(self, point: str, deadline: float, name: str) -> Plugin:
        plugin = self._activate(name, deadline)
        self._dispatcher.dispatch_here(plugin, again=point)
        self._dispatcher.wait(plugin, deadline)
        return plugin

    def _usable(self, name: str, point: str, use: Callable[[], Plugin]) -> Plugin | None:
        """Return what came of the use of a plugin, or None, and note why."""
        try:
            plugin = use()
            self._failures.clear(("plugin", name))  # of a handler that was late, and has returned
            if not plugin.implements(point):
                return None
            self._dispatcher.require(plugin, point)
        except HandlerError:
            return None  # the handler stands in failures() already
        except Exception as error:  # noqa: BLE001 - one plugin's trouble is not the others'
            self._note(name, error)
            return None
        return plugin

    def _late(self, name: str) -> Plugin:
        plugin = self._plugins.get(name)
        if plugin is None:
            raise CallTimeout("there was no time left for it", plugin=name, phase="handshake")
        raise self._dispatcher.late(plugin)

    # What HookManager tells.

    def _handler_added(self) -> None:
        for plugin in self._active():
            self._dispatcher.dispatch_here(plugin)

    def _handler_removed(self, handler: object) -> None:
        with self._table:
            plugins = list(self._plugins.values())
        self._dispatcher.forget(plugins, handler)

    def _active(self) -> list[Plugin]:
        with self._table:
            return [plugin for plugin in self._plugins.values() if plugin.state is State.ACTIVE]


def _may_yet_come(missing: ExtframeError) -> bool:
    """Return whether waiting can help: there is no file yet, or half of one, or nobody listens behind it."""
    if isinstance(missing, ActivationError):
        cause = missing.__cause__
        return isinstance(cause, ConnectError) and isinstance(
            cause.__cause__, ConnectionRefusedError | FileNotFoundError
        )
    return True
