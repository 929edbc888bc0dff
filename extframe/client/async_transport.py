"""Requests to one address over connections in an event loop, each with a deadline. Knows no JSON, retries or plugins.

The rules are those of `BaseTransport`, which the transport of threads has too. Nothing is awaited between the moment
that a connection is taken from the pool and the moment that it belongs to an exchange.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, TypeVar

from ..concurrency.async_threads import call_in_thread
from ..errors import ExtframeError
from .async_steps import ConnectQueue, run_async
from .async_streams import AsyncResponseStream
from .base_transport import BaseTransport, is_sent, refusal
from .connection import Connection
from .exchange import READ, BaseExchange, Exchange, StreamExchange
from .http1 import Response
from .loop_registration import LoopRegistration

if TYPE_CHECKING:
    import asyncio

E = TypeVar("E", bound=BaseExchange)


class AsyncTransport(BaseTransport):
    """Sends requests to one address in one event loop. Opens as many connections as there are concurrent requests.

    Deadlines are ``time.monotonic()`` values and cover everything that a method does, as in ``Transport``. A method
    that is cancelled closes its connection.
    """

    _loop: asyncio.AbstractEventLoop  # set before the first request

    def bind(self, loop: asyncio.AbstractEventLoop) -> None:
        """Use this event loop. Connections that this process inherited from its parent are forgotten."""
        self._loop = loop
        self._connect_queue = ConnectQueue()
        self._idle.clear()

    async def exchange(self, path: str, body: bytes, deadline: float, *, look: bool = True) -> Response:
        """Send a request and return the response, whatever its status is.

        Args:
            path, body, deadline: as in ``Transport.exchange``.
            look: whether a kept connection is looked at before use. That is necessary unless the request is sent again
                where it is lost.

        Raises:
            ExtframeError: as ``Transport.exchange``.
        """
        exchange = await self._send(Exchange, self._writer.request(path, body), deadline, look)
        try:
            response = await registration_of(exchange.connection).run(exchange.advance, exchange, deadline)
        except BaseException as failure:
            self.abandon(exchange, failure)
            raise
        self.release(exchange.connection, reusable=response.keep_alive)
        return response

    async def open(
        self, path: str, body: bytes, deadline: float, *, body_deadline: float | None = None
    ) -> AsyncResponseStream:
        """Send a request and return the response as a stream, once its headers have arrived.

        Args:
            path, body, deadline, body_deadline: as in ``Transport.open``.

        Raises:
            ExtframeError: as `exchange`; so does reading the stream.
        """
        exchange = await self._send(StreamExchange, self._writer.request(path, body), deadline)
        registration = registration_of(exchange.connection)
        try:
            await registration.run(exchange.advance, exchange, deadline)
        except BaseException as failure:
            self.abandon(exchange, failure)
            raise
        if body_deadline is not None and exchange.status == 200:
            deadline = body_deadline
        return AsyncResponseStream(exchange, registration, deadline, release=self.release, describe=self._describe)

    async def _send(self, kind: type[E], request: bytes, deadline: float, look: bool = True) -> E:
        """Return an exchange whose request was sent, or part of it if the plugin responded before it took all."""
        try:
            self._check_open(deadline)
            exchange = await self._send_again(kind, request, deadline, look)
            if exchange is not None:
                return exchange
            await self._connect_queue.turn()
            self._check_open(deadline)
            exchange = await self._send_again(kind, request, deadline, look)  # one may have become free meanwhile
            if exchange is not None:
                return exchange
            exchange = self._start(kind, await self._connect(deadline), request)
            if is_sent(exchange) or await _send_rest(exchange, deadline):
                return exchange
            raise refusal(exchange.connection)
        except ExtframeError as failure:
            self._describe(failure)
            raise

    async def _send_again(self, kind: type[E], request: bytes, deadline: float, look: bool) -> E | None:
        """Return an exchange over a kept connection; None if there is none."""
        while (kept := self._reuse(kind, request, look)) is not None:
            if kept.wants is READ or await _send_rest(kept, deadline):
                return kept
            self._drop(kept.connection)
        return None

    async def _connect(self, deadline: float) -> Connection:
        if self.address.tls and self._context is None:
            await call_in_thread(self.tls_context, "read TLS files")  # which may be anywhere
        connection = await run_async(self._connecting(deadline))
        LoopRegistration(connection, self._loop, self._close_unexpected)
        return connection

    def _close_unexpected(self, connection: Connection) -> bool:
        """Close an idle connection that the plugin closed, or sent something over; return whether it was idle."""
        try:
            self._idle.remove(connection)
        except ValueError:
            return False
        self._drop(connection)
        return True


def registration_of(connection: Connection) -> LoopRegistration:
    """Return the registration of a connection that an AsyncTransport opened."""
    registration = connection.registration
    if not isinstance(registration, LoopRegistration):
        raise RuntimeError(f"{connection!r} is not registered with an event loop")
    return registration


async def _send_rest(exchange: BaseExchange, deadline: float) -> bool:
    """Send what the plugin did not take at once, and return whether it took anything."""
    if exchange.wants is READ:
        return False
    try:
        await registration_of(exchange.connection).run(exchange.send, exchange, deadline, writes=True)
    except BaseException:
        exchange.connection.close()
        raise
    return exchange.sent > 0
