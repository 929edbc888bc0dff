"""AsyncClientBase: the attempts of awaited calls, the event loop and the shutdown of a client. Knows no JSON."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from contextvars import Context
from time import monotonic
from types import TracebackType
from typing import TYPE_CHECKING, Concatenate, ParamSpec, TypeVar

from ..errors import TransportError
from .async_transport import AsyncTransport
from .base import BaseClient
from .client import Client
from .loop_binding import LoopBinding

if TYPE_CHECKING:
    from typing_extensions import Self

    from .attempts import Attempts
    from .stream_rules import StreamRules

R = TypeVar("R")
P = ParamSpec("P")


class AsyncClientBase(BaseClient):
    """What makes the attempts of calls and is closed in the end: `AsyncClient` without the calls."""

    def _open(self) -> None:
        self._is_closed = False
        self._pauses: set[asyncio.Future[None]] = set()  # of calls that wait for a retry
        self._sync: Client | None = None
        self._binding = LoopBinding(repr(self), self._bind)
        self._transport = self._new_transport(AsyncTransport)

    def _bind(self, loop: asyncio.AbstractEventLoop) -> None:
        self._pauses = set()
        self._transport.bind(loop)

    async def _attempt(
        self,
        attempts: Attempts,
        rules: StreamRules | None,
        send: Callable[Concatenate[AsyncTransport, float, P], Awaitable[R]],
        *args: P.args,
        **kwargs: P.kwargs,
    ) -> R:
        """Return what a method of the transport returns, which takes a deadline, after as many attempts as allowed.

        ``rules`` are those of a stream, which the method opens. The arguments are not in a closure, whose cells would
        be an eighth of the objects of each call.
        """
        try:
            self._binding.check()
            while True:
                transport = self._transport
                try:
                    if (guard := self.endpoint.async_guard) is not None:
                        await guard(attempts.method, attempts.deadline)
                        transport = self._transport
                    result = await send(transport, attempts.deadline, *args, **kwargs)
                except TransportError as failure:
                    wait = attempts.wait_after(failure, monotonic(), moved=self._transport is not transport)
                    if wait is None or await self._is_closed_after(wait) or not attempts.may_continue(monotonic()):
                        attempts.give_up(failure, monotonic())
                        raise
                else:
                    if rules is None:
                        attempts.succeed()
                    else:
                        rules.record_sent()
                    return result
        except BaseException:  # also where the task was cancelled: that says nothing about the plugin
            attempts.abandon()
            raise

    async def _is_closed_after(self, seconds: float) -> bool:
        """Wait for some seconds, or until the client is closed; return whether it is."""
        if not self._is_closed:
            loop = asyncio.get_running_loop()
            pause: asyncio.Future[None] = loop.create_future()
            timer = loop.call_later(seconds, _end, pause, context=Context())
            self._pauses.add(pause)
            try:
                await pause
            finally:
                self._pauses.discard(pause)
                timer.cancel()
        return self._is_closed

    @property
    def sync(self) -> Client:
        """A `Client` for the same plugin, with the same circuit breaker, for code that runs in a thread.

        It is created at the first use, has connections of its own, and is closed with this client.
        """
        if self._sync is None:
            self._sync = Client.on(self.endpoint, pool=self._pool)
            if self._is_closed:
                self._sync.close()
        return self._sync

    # Shutdown.

    def _reconnect(self) -> None:
        before, transport = self._transport, self._new_transport(AsyncTransport)
        if self._binding.loop is not None:
            transport.bind(self._binding.loop)
        self._transport = transport
        before.close()
        if self._is_closed:
            transport.close()

    async def aclose(self) -> None:
        """Close the connections, and the streams that follow, and end the waits for a retry.

        Other calls under way go on to their end. Later ones raise ConnectError.
        """
        self._close()

    def _close(self) -> None:
        self._is_closed = True
        self._close_streams()
        self._transport.close()
        for pause in self._pauses:
            _end(pause)
        if self._sync is not None:
            self._sync.close()

    def __del__(self) -> None:
        # The event loop knows the connections, and would keep them as long as it runs.
        if hasattr(self, "_transport"):
            self._transport.close()

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._close()


def _end(pause: asyncio.Future[None]) -> None:
    if not pause.done():
        pause.set_result(None)
