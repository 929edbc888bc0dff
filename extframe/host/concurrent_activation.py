"""Take many plugins to their handlers, none waiting for another. Finds none itself, and decides about none."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable
from functools import partial
from time import monotonic

from ..client.connection_pool import affordable
from ..concurrency.deadlines import left
from ..concurrency.event import Event
from ..concurrency.threads import TICK, ThreadPool
from .activation import Activator
from .handshake_pool import HandshakePool
from .plugin import Plugin

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
        if self._crew.tend():
            until = min(until, monotonic() + TICK)
        for plugin, failure, deadline in self._handshakes.wait(until):
            if failure is None:
                self._activator.worked(plugin.name)
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
                ended.wait(min(TICK, left(deadline)) if self._crew.tend() else left(deadline))

    def end(self) -> None:
        """Give up the handshakes under way, and what has not begun. Handlers that run go on alone."""
        self._not_begun.clear()
        self._handshakes.close()
        self._crew.dismiss()

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
