"""Detect that the caller of a method has disconnected, through ASGI's ``receive``."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from contextvars import ContextVar

from .asgi import Receive

WATCH_AFTER = 0.02  # seconds; most calls have ended by then and cost nothing


def caller_gone() -> bool:
    """Whether the caller of the running method has disconnected: it timed out, or it died.

    A method that takes long can check this to stop, or to undo what is no longer needed. extframe stops nothing by
    itself, because half a mount is worse than an unused one. False outside a call::

        def mount(self, name: str, id: str) -> str:
            while not self.is_ready(name):
                if caller_gone():
                    raise RemoteError("the caller has disconnected")
                time.sleep(0.5)
            return self.path(name)
    """
    watcher = _current.get(None)
    return watcher is not None and watcher.gone


class DisconnectWatcher:
    """Watches the connection of one call while it runs."""

    __slots__ = ("_loop", "_receive", "_task", "_timer", "gone", "on_gone")

    def __init__(self, receive: Receive) -> None:
        self.gone = False
        self.on_gone: Callable[[], object] | None = None
        self._receive = receive
        self._loop = asyncio.get_running_loop()
        self._task: asyncio.Task[None] | None = None
        self._timer = self._loop.call_later(WATCH_AFTER, self._start)
        _current.set(self)

    def _start(self) -> None:
        self._task = self._loop.create_task(self._watch())

    async def _watch(self) -> None:
        # After the body, ASGI has no other message than this.
        if (await self._receive())["type"] != "http.disconnect":
            return
        self.gone = True
        if self.on_gone is not None:
            self.on_gone()

    def stop(self) -> None:
        """Stop watching."""
        self._timer.cancel()
        if self._task is not None:
            self._task.cancel()


_current: ContextVar[DisconnectWatcher] = ContextVar("extframe.server.disconnect")
