"""Activate and dispatch many plugins at once, so that none waits for another. Decides about none."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Sequence
from contextlib import suppress
from functools import partial
from time import monotonic

from ..client.connection_pool import affordable
from ..concurrency.deadlines import left
from ..concurrency.event import Event
from ..concurrency.threads import TICK, ThreadPool
from ..errors import ActivationError, HandlerError
from ..interface.declarations import Interface
from ..protocol import PluginSpec
from .activation import Activator
from .handshake_pool import HandshakePool
from .pauses import POLL, SUSPECT_GRACE
from .plugin import Plugin
from .plugin_base import point_of
from .usable_plugins import GRACE, Gathering, usable_plugins

Done = Callable[[str, Exception | None], object]
"""Called once for each plugin that was begun, in any thread: its name, and its failure or None."""


class ConcurrentActivation:
    """Plugins that are being activated. One thread begins them, and makes all handshakes, turn by turn.

    Handlers run in a thread pool. So does the handshake of a plugin that cannot begin without waiting: over TCP, when
    another thread makes it, or at a socket that accepts no connection at the moment.

    Args:
        activator: finds, activates and dispatches plugins.
        done: receives the result for each plugin.
        name: the name of the threads.
        again: the extension point whose failed handlers are called again.
        wait_for_handlers: whether ``done`` is called after the handlers of a plugin have returned, or before they
            are called.
        find_in_threads: whether a registry that may be slow is searched in the thread pool.
        follow_restarts: whether a handshake that fails as the plugin is restarted is made again. The caller does so
            otherwise.
    """

    def __init__(
        self,
        activator: Activator,
        done: Done,
        name: str,
        *,
        again: str = "",
        wait_for_handlers: bool = True,
        find_in_threads: bool = False,
        follow_restarts: bool = False,
    ) -> None:
        self._activator = activator
        self._done = done
        self._again = again
        self._wait_for_handlers = wait_for_handlers
        self._follow_restarts = follow_restarts
        self._find_here = not find_in_threads or activator.registry.is_local("find")
        self._handshakes = HandshakePool()
        self._limit = affordable()  # on handshakes: each has a file descriptor
        self._not_begun: deque[tuple[str, float]] = deque()
        self._threads = ThreadPool(name)

    def listen(self, descriptor: int) -> None:
        """End a turn when there is something to read from this file descriptor, too."""
        self._handshakes.listen(descriptor)

    def begin(self, name: str, deadline: float) -> None:
        """Begin with a plugin; the deadline is that of its handshake, a ``time.monotonic()`` value."""
        if not self._find_here:
            self._threads.submit(partial(self._activate, name, deadline))
        elif len(self._handshakes) < self._limit:
            self._begin(name, deadline)
        else:
            self._not_begun.append((name, deadline))

    def _begin(self, name: str, deadline: float) -> None:
        try:
            plugin = self._activator.find(name)
            seen = plugin.spec
            if plugin.is_made:
                self._hand_over(plugin, deadline)
                return
            try:
                has_begun = self._handshakes.begin(plugin, deadline)
            except ActivationError as failure:
                self._fail(plugin, seen, failure, deadline)
            else:
                if not has_begun:
                    self._threads.submit(partial(self._activate, name, deadline))
        except Exception as error:  # noqa: BLE001 - reported to the caller
            self._done(name, error)

    def submit(self, function: Callable[[], object]) -> None:
        """Run a function, which must not raise, in the thread pool."""
        self._threads.submit(function)

    def begin_in_thread(self, name: str, deadline: float) -> None:
        """Begin with a plugin in the thread pool, where it goes on after `close`."""
        self._threads.submit(partial(self._activate, name, deadline))

    def abandon(self, plugin: Plugin) -> bool:
        """End a plugin's handshake, so that another can be begun; return whether one was under way here."""
        return self._handshakes.abandon(plugin)

    def turn(self, until: float) -> None:
        """Do what can be done, after waiting for something to happen until then at the latest."""
        if self._threads.grow():
            until = min(until, monotonic() + TICK)
        for plugin, seen, failure, deadline in self._handshakes.wait(until):
            if failure is None:
                self._succeed(plugin, deadline)
            else:
                self._fail(plugin, seen, failure, deadline)
        while self._not_begun and len(self._handshakes) < self._limit:
            self._begin(*self._not_begun.popleft())

    def finish(self, ended: Event, deadline: float) -> None:
        """Take turns until ``ended`` is set or the deadline has passed."""
        while not ended.is_set() and left(deadline):
            if len(self._handshakes):
                self.turn(deadline)
            else:
                ended.wait(min(TICK, left(deadline)) if self._threads.grow() else left(deadline))

    def close(self) -> None:
        """End the handshakes under way, and begin no more. Handlers that are running keep running."""
        self._not_begun.clear()
        self._handshakes.close()
        self._threads.cancel_pending()

    def _succeed(self, plugin: Plugin, deadline: float) -> None:
        try:
            if not plugin.is_reported_active:  # it was replaced during the handshake, or lost since
                self._threads.submit(partial(self._activate, plugin.name, deadline))
                return
            self._activator.table.record_success(plugin.name)
            self._hand_over(plugin, deadline)
        except Exception as error:  # noqa: BLE001 - of a log handler of the host's; the other results count
            self._done(plugin.name, error)

    def _fail(self, plugin: Plugin, seen: PluginSpec, failure: Exception, deadline: float) -> None:
        is_due_again = False
        with suppress(Exception):  # of the registry; the next search reports it
            is_due_again = self._follow_restarts and self._activator.has_restarted(plugin, seen, failure, deadline)
        if is_due_again:
            self._threads.submit(partial(self._activate, plugin.name, deadline))
        else:
            self._done(plugin.name, failure)

    def _hand_over(self, plugin: Plugin, deadline: float) -> None:
        is_due = self._activator.dispatcher.is_due(plugin)
        if is_due:
            self._threads.submit(partial(self._dispatch, plugin, deadline))
        if not (is_due and self._wait_for_handlers):
            self._done(plugin.name, None)

    # In the thread pool.

    def _activate(self, name: str, deadline: float) -> None:
        try:
            plugin = self._activator.activate(name, deadline)
        except Exception as error:  # noqa: BLE001 - reported to the caller
            self._done(name, error)
            return
        if not self._wait_for_handlers:
            self._done(name, None)
        self._dispatch(plugin, deadline)

    def _dispatch(self, plugin: Plugin, deadline: float) -> None:
        error: Exception | None = None
        try:
            self._activator.dispatcher.dispatch_here(plugin, again=self._again)
            if self._wait_for_handlers:
                self._activator.dispatcher.wait(plugin, deadline)
        except Exception as raised:  # noqa: BLE001 - reported to the caller
            error = raised
        except BaseException as raised:  # noqa: BLE001 - a handler's KeyboardInterrupt: signals reach the main thread
            error = HandlerError(f"a handler raised {type(raised).__name__}", plugin=plugin.name)
            error.__cause__ = raised
        if self._wait_for_handlers:
            self._done(plugin.name, error)


# --- all plugins of an extension point ----------------------------------------------------------------


def use_all(
    activator: Activator,
    implements: str | type[Interface],
    deadline: float,
    *,
    names: Sequence[str] | None = None,
    give_up: float = 0.0,
) -> list[Plugin]:
    """Return every plugin that can be used as an extension point, sorted by name; note the failures of the others.

    Args:
        activator: activates them.
        implements: the extension point.
        deadline: for everything; this and ``give_up`` are ``time.monotonic()`` values.
        names: the plugins that are requested; None for all.
        give_up: until when those are tried again that are missing or refuse connections.

    Raises:
        PluginsMissing: one that was requested cannot be used.
        ExtframeError: the registry could not be searched.
    """
    found = list(dict.fromkeys(activator.registry.scan(deadline))) if names is None else names
    rest = [name for name in found if not activator.is_ready(name, deadline)]
    point = point_of(implements)
    suspects = activator.suspects(rest) if names is None else []
    ready: dict[str, Exception | None] = dict.fromkeys(set(found).difference(rest))
    gathering = Gathering(rest, suspects, give_up)
    results = ready | _activate_all(activator, rest, point, deadline, gathering)
    activator.table.check_open()
    required = names is not None
    return usable_plugins(activator.table, activator.dispatcher, found, implements, results, required=required)


def _activate_all(
    activator: Activator, names: Sequence[str], point: str, deadline: float, gathering: Gathering
) -> dict[str, Exception | None]:
    """Return the failure of each plugin that was done by the deadline, or None. Nothing waits for suspects."""
    over, complete = Event(), Event()

    def done(name: str, error: Exception | None) -> None:
        gathering.ended(name, error, monotonic())
        if gathering.is_over:
            over.set()
        if gathering.is_complete:
            complete.set()

    # Looked at once: the last try of a plugin may be due when the time for further tries has just passed.
    tries_again = monotonic() < gathering.give_up
    activation = ConcurrentActivation(
        activator, done, "extframe get_all", again=point, find_in_threads=True, follow_restarts=True
    )
    try:
        for name in names:
            (activation.begin_in_thread if name in gathering.suspects else activation.begin)(name, deadline)
        until = deadline + GRACE
        while not (gathering.is_over or activator.closed.is_set()) and left(until):
            activation.finish(over, min(until, monotonic() + POLL) if tries_again else until)
            for name in gathering.due(monotonic()):
                activation.begin(name, deadline)
        if not gathering.is_complete:
            activation.finish(complete, min(deadline, monotonic() + SUSPECT_GRACE))
    finally:
        activation.close()
    return gathering.results()
