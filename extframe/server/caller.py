"""Learn that whoever made a call has gone. Knows ASGI's ``receive``, and no methods."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from contextvars import ContextVar

from .asgi import Receive

PATIENCE = 0.02  # seconds after which a call is watched; most have been answered by then, and cost nothing


def caller_gone() -> bool:
    """Whether the caller of the method that runs has hung up: it gave up waiting, or it died.

    A method that takes long asks now and then, to stop or to undo what nobody will use. Nothing is stopped
    without it: half a mount is worse than one too many. False outside a call::

        def mount(self, name: str, id: str) -> str:
            while not self.is_ready(name):
                if caller_gone():
                    raise RemoteError("nobody waits for this any more")
                time.sleep(0.5)
            return self.path(name)
    """
    caller = _current.get(None)
    return caller is not None and caller.gone


class Caller:
    """Whoever waits for one call."""

    __slots__ = ("_loop", "_receive", "_timer", "_watch", "gone", "when_gone")

    def __init__(self, receive: Receive) -> None:
        self.gone = False
        self.when_gone: Callable[[], object] | None = None
        self._receive = receive
        self._loop = asyncio.get_running_loop()
        self._watch: asyncio.Task[None] | None = None
        self._timer = self._loop.call_later(PATIENCE, self._start_watch)
        _current.set(self)

    def _start_watch(self) -> None:
        self._watch = self._loop.create_task(self._wait())

    async def _wait(self) -> None:
        # Once the body has been read, nothing but this can come.
        if (await self._receive())["type"] != "http.disconnect":
            return
        self.gone = True
        if self.when_gone is not None:
            self.when_gone()

    def answered(self) -> None:
        """Watch no longer."""
        self._timer.cancel()
        if self._watch is not None:
            self._watch.cancel()


_current: ContextVar[Caller] = ContextVar("extframe.server.caller")
