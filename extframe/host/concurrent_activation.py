"""Take many plugins to their handlers, none waiting for another. Finds none itself, and decides about none."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Mapping, Sequence
from functools import partial
from time import monotonic

from ..client.connection_pool import affordable
from ..concurrency.deadlines import left
from ..concurrency.event import Event
from ..concurrency.threads import TICK, ThreadPool
from ..errors import CallTimeout, DoesNotImplement, ExtframeError, HandlerError
from .activation import Activator
from .handshake_pool import HandshakePool
from .plugin import Plugin

GRACE = 0.02  # seconds after the deadline in which get_all collects the timeouts

Done = Callable[[str, Exception | None], object]
"""Hears once of each plugin that was begun: its name, and why it failed, if it did. In any thread."""


class ConcurrentActivation:
    """Plugins on their way. One thread begins them and takes turn after turn, in which it makes all handshakes.

    Handlers have the threads of a crew. So has a plugin whose handshake cannot be begun without a wait: over TCP,
    behind another thread's handshake, at a socket that takes no connection for now.

    Args:
        activator: takes plugins further.
        done: hears what became of each.
        name: the crew's threads'.
        again: the extension point whose failed handlers are called again.
        handlers_too: whether ``done`` hears of a plugin when its handlers have returned, or before they are called.
    """

    def __init__(
        self, activator: Activator, done: Done, name: str, *, again: str = "", handlers_too: bool = True
    ) -> None:
        self._activator = activator
        self._done = done
        self._again = again
        self._handlers_too = handlers_too
        self._handshakes = HandshakePool()
        self._at_once = affordable()  # handshakes: each has a file descriptor
        self._not_begun: deque[tuple[str, float]] = deque()
        self._crew = ThreadPool(name)

    def listen(self, descriptor: int) -> None:
        """Let a turn end when there is something to read from this file descriptor, too."""
        self._handshakes.listen(descriptor)

    def begin(self, name: str, deadline: float) -> None:
        """Begin with a plugin; the deadline is its handshake's, a ``time.monotonic()`` value."""
        if len(self._handshakes) < self._at_once:
            self._begin(name, deadline)
        else:
            self._not_begun.append((name, deadline))

    def _begin(self, name: str, deadline: float) -> None:
        try:
            plugin = self._activator.find(name)
            if plugin.is_made:
                self._hand_over(plugin, deadline)
            elif not self._handshakes.begin(plugin, deadline):
                self._crew.submit(partial(self._activate, name, deadline))
        except Exception as error:  # noqa: BLE001 - of a registry that somebody else wrote, perhaps
            self._done(name, error)

    def drop(self, plugin: Plugin) -> bool:
        """Give up a plugin's handshake, so that another can be begun; return whether one was under way here."""
        return self._handshakes.drop(plugin)

    def turn(self, until: float) -> None:
        """Do what can be done, after waiting until then at most for something to happen."""
        if self._crew.grow():
            until = min(until, monotonic() + TICK)
        for plugin, failure, deadline in self._handshakes.wait(until):
            if failure is None:
                self._activator.record_success(plugin.name)
                self._hand_over(plugin, deadline)
            else:
                self._done(plugin.name, failure)
        while self._not_begun and len(self._handshakes) < self._at_once:
            self._begin(*self._not_begun.popleft())

    def finish(self, ended: Event, deadline: float) -> None:
        """Take turns until ``ended`` is set, or the deadline has passed."""
        while not ended.is_set() and left(deadline):
            if len(self._handshakes):
                self.turn(deadline)
            else:
                ended.wait(min(TICK, left(deadline)) if self._crew.grow() else left(deadline))

    def end(self) -> None:
        """Give up the handshakes under way, and what has not begun. Handlers that run go on alone."""
        self._not_begun.clear()
        self._handshakes.close()
        self._crew.cancel_pending()

    def _hand_over(self, plugin: Plugin, deadline: float) -> None:
        is_due = self._activator.dispatcher.is_due(plugin)
        if is_due:
            self._crew.submit(partial(self._dispatch, plugin, deadline))
        if not (is_due and self._handlers_too):
            self._done(plugin.name, None)

    # In a thread of the crew.

    def _activate(self, name: str, deadline: float) -> None:
        try:
            plugin = self._activator.activate(name, deadline)
        except Exception as error:  # noqa: BLE001 - handed to whoever waits
            self._done(name, error)
            return
        if not self._handlers_too:
            self._done(name, None)
        self._dispatch(plugin, deadline)

    def _dispatch(self, plugin: Plugin, deadline: float) -> None:
        error: Exception | None = None
        try:
            self._activator.dispatcher.dispatch_here(plugin, again=self._again)
            if self._handlers_too:
                self._activator.dispatcher.wait(plugin, deadline)
        except Exception as raised:  # noqa: BLE001 - handed to whoever waits
            error = raised
        if self._handlers_too:
            self._done(plugin.name, error)


# --- all plugins of an extension point ----------------------------------------------------------------


def use_all(activator: Activator, names: Sequence[str], point: str, deadline: float) -> list[Plugin]:
    """Return the plugins among ``names`` that can be used as an extension point, in that order.

    All are activated concurrently. A plugin that is dead, hung or malformed is left out, and its failure recorded.
    """
    names = list(dict.fromkeys(names))
    rest = [name for name in names if not activator.is_ready(name)]
    outcomes = dict.fromkeys(set(names).difference(rest)) | _activate_all(activator, rest, point, deadline)
    found = [_usable(activator, name, point, outcomes) for name in names]
    return [plugin for plugin in found if plugin is not None]


def _activate_all(
    activator: Activator, names: Sequence[str], point: str, deadline: float
) -> dict[str, Exception | None]:
    """Return the outcome of each activation that ended by the deadline: its error, or None for success."""
    outcomes: dict[str, Exception | None] = {}
    ended = Event()

    def note(name: str, error: Exception | None) -> None:
        outcomes[name] = error
        if len(outcomes) == len(names):
            ended.set()

    plugins = ConcurrentActivation(activator, note, "extframe get_all", again=point)
    try:
        for name in names:
            plugins.begin(name, deadline)
        if names:
            plugins.finish(ended, deadline + GRACE)
    finally:
        plugins.end()
    return dict(outcomes)


def _usable(activator: Activator, name: str, point: str, outcomes: Mapping[str, Exception | None]) -> Plugin | None:
    """Return a plugin that can be used, or None after recording why it cannot."""
    plugin = activator.known(name)
    error = outcomes[name] if name in outcomes else _late(activator, name, plugin)
    if error is not None or plugin is None:
        activator.record_failure(name, error or _late(activator, name, plugin))
        return None
    activator.record_success(name)  # also of a handler that was late and has returned since
    try:
        plugin.require(point)
        activator.dispatcher.require(plugin, point)
    except (DoesNotImplement, HandlerError):  # the handler is in failures() already
        return None
    return plugin


def _late(activator: Activator, name: str, plugin: Plugin | None) -> ExtframeError:
    if plugin is None:
        return CallTimeout("no time was left for it", plugin=name, phase="handshake")
    return activator.dispatcher.late(plugin) if plugin.is_made else plugin.late()
