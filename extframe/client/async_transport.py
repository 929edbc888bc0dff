"""Requests to one address over connections in an event loop, each with a deadline. Knows no JSON, retries or plugins.

The rules are those of `BaseTransport`, which the transport of threads has too. Nothing is awaited between the moment
that a connection is taken from the pool and the moment that it belongs to an exchange.
"""

from __future__ import annotations

import asyncio
import math
from collections.abc import AsyncGenerator, Callable, Coroutine
from contextlib import aclosing
from contextvars import Context
from time import monotonic
from typing import Any, TypeVar

from ..concurrency.async_threads import call_in_thread
from ..errors import CallTimeout, ExtframeError
from ..protocol import Address, TLSConfig
from .async_steps import ConnectQueue, run_async, until
from .async_streams import AsyncResponseStream
from .base_transport import BaseTransport, is_sent, refusal
from .connection import SEND, Connection
from .exchange import READ, BaseExchange, Exchange, ExchangeRecord, StreamExchange, Upload
from .http1 import BODY, LAST_CHUNK, Response, chunk
from .loop_registration import LoopRegistration
from .replies import whole
from .request_options import RequestOptions
from .stream_rules import StreamRules

E = TypeVar("E", bound=BaseExchange)


class AsyncTransport(BaseTransport):
    """Sends requests to one address in one event loop. Opens as many connections as there are concurrent requests.

    Deadlines are ``time.monotonic()`` values and cover everything that a method does, as in ``Transport``. A method
    that is cancelled closes its connection.
    """

    def __init__(self, address: Address, tls: TLSConfig | None = None, **options: Any) -> None:
        super().__init__(address, tls, **options)
        self.reset()

    def reset(self) -> None:
        """Forget the connections, and what is under way, that this process inherited from its parent."""
        self._empty = Context()
        self._connect_queue = ConnectQueue()
        self._feeders: dict[Connection, asyncio.Task[None]] = {}  # of uploads under way
        self._idle.clear()

    def exchange(
        self, deadline: float, path: str, body: bytes, look: bool = True, options: RequestOptions | None = None
    ) -> Coroutine[Any, Any, Response]:
        """Send a request, and return the response when it is awaited, whatever its status is; it must be, at once.

        Args:
            deadline, path, body, options: as in ``Transport.exchange``.
            look: whether a kept connection is looked at before use. That is necessary unless the request is sent again
                where it is lost.

        Raises:
            ExtframeError: as ``Transport.exchange``.
            ConnectionLost: also if the response is truncated, and of no use (`replies.whole`).
        """
        request = self._writer.request(path, body, options)
        record = None if options is None else options.begin_attempt(self.address)
        kept = self._reuse(Exchange, request, look, record) if self._is_open(deadline) else None
        if kept is not None and kept.wants is READ:
            return self._receive(kept, deadline)  # so are most: one coroutine less saves a twentieth of a call
        return self._exchange(kept, request, deadline, look, record)

    async def _exchange(
        self, kept: Exchange | None, request: bytes, deadline: float, look: bool, record: ExchangeRecord | None
    ) -> Response:
        return await self._receive(await self._send(Exchange, request, deadline, record, look, kept), deadline)

    async def upload(
        self,
        deadline: float,
        path: str,
        pieces: Callable[[], AsyncGenerator[bytes, None]],
        options: RequestOptions | None = None,
    ) -> Response:
        """Send pieces of bytes, none of them empty, and return the response. A response that arrives early ends it.

        Args:
            deadline, path, options: as in ``Transport.upload``.
            pieces: is called once something was sent.

        Raises:
            ExtframeError: as `exchange`; and whatever ``pieces`` raises.
        """
        record = None if options is None else options.begin_attempt(self.address)
        upload = await self._send(Upload, self._writer.chunked_head(path, options), deadline, record)
        try:
            if upload.connection.in_step:
                await self._send_pieces(upload, pieces(), deadline)
        except BaseException as failure:
            self.abandon(upload, failure)
            raise
        return await self._receive(upload, deadline)

    async def _receive(self, exchange: Exchange, deadline: float) -> Response:
        """Return the response once all of it has arrived, or enough, as `Exchange.settle` says."""
        connection = exchange.connection
        try:
            # It may have been received while the request was sent: the loop would not report it.
            response = (
                await registration_of(connection).run(exchange.progress, exchange, deadline)
                if connection.in_step
                else exchange.progress()
            )
            if not isinstance(response, Response):
                response = await _receive_rest(exchange, deadline)
        except BaseException as failure:
            self.abandon(exchange, failure)
            raise
        self.release(connection, reusable=response.keep_alive)
        return whole(response)

    async def open(
        self,
        deadline: float,
        path: str,
        body: bytes,
        rules: StreamRules | None = None,
        options: RequestOptions | None = None,
    ) -> AsyncResponseStream:
        """Send a request and return the response as a stream, once its headers have arrived.

        Args:
            deadline, path, body, rules, options: as in ``Transport.open``.

        Raises:
            ExtframeError: as `exchange`; so does reading the stream.
        """
        rules = rules or StreamRules(deadline)
        request = self._writer.request(path, body, options)
        record = None if options is None else options.begin_attempt(self.address)
        exchange = await self._send(StreamExchange, request, deadline, record)
        stream = AsyncResponseStream(exchange, registration_of(exchange.connection), rules, self)
        if not rules.follows:
            await stream.wait_for_headers()
        return stream

    async def _send(
        self,
        kind: type[E],
        request: bytes,
        deadline: float,
        record: ExchangeRecord | None,
        look: bool = True,
        kept: E | None = None,
    ) -> E:
        """Return an exchange whose request was sent, or part of it if the plugin responded before it took all.

        ``kept`` is one that was begun over a kept connection.
        """
        try:
            for waits in (False, True):  # for its turn to connect, in which a connection may become free
                if waits:
                    await self._connect_queue.turn()
                if kept is None:
                    self._check_open(deadline)
                    kept = self._reuse(kind, request, look, record)
                while kept is not None:
                    if kept.wants is READ or await _send_rest(kept, deadline):
                        return kept
                    self._drop(kept.connection)
                    kept = self._reuse(kind, request, look, record)
            exchange = self._start(kind, await self._connect(deadline), request, record)
            if is_sent(exchange) or await _send_rest(exchange, deadline):
                return exchange
            raise refusal(exchange.connection)
        except ExtframeError as failure:
            self.describe(failure)
            raise

    async def _send_pieces(self, upload: Upload, pieces: AsyncGenerator[bytes, None], deadline: float) -> None:
        """Send the body of a request, in a task: the wait for a piece ends at the deadline, and when a response comes.

        Raises:
            CallTimeout: the deadline passed.
        """
        connection = upload.connection
        feeder = self._feeders[connection] = asyncio.get_running_loop().create_task(_feed(upload, pieces))
        feeder.add_done_callback(_retrieve)
        try:
            await until(feeder, deadline, SEND)
        finally:
            del self._feeders[connection]
            if not feeder.done():
                feeder.cancel()
                await asyncio.wait({feeder})
        if feeder.cancelled() and connection.has_answered():
            upload.send()
        else:
            feeder.result()

    async def _connect(self, deadline: float) -> Connection:
        if self.address.tls and self._context is None:
            await call_in_thread(self.tls_context, "read TLS files")  # which may be anywhere
        connection = await run_async(self._connecting(deadline))
        LoopRegistration(connection, asyncio.get_running_loop(), self._close_unexpected, self._empty)
        return connection

    def _close_unexpected(self, connection: Connection) -> bool:
        """Close an idle connection that the plugin closed, or sent something over; return whether it was idle."""
        try:
            self._idle.remove(connection)
        except ValueError:
            feeder = self._feeders.get(connection)
            if feeder is not None:  # a response to what was sent so far: the wait for more is over
                feeder.cancel()
            return False
        self._drop(connection)
        return True


async def _receive_rest(exchange: Exchange, deadline: float) -> Response:
    """Return the response, a part of which may have arrived."""
    registration = registration_of(exchange.connection)
    received: Response | bool | None = None
    while not isinstance(received, Response):
        patience = exchange.patience if exchange.phase is BODY else math.inf
        try:
            received = await registration.run(exchange.progress, exchange, min(deadline, monotonic() + patience))
        except CallTimeout:
            received = exchange.settle()
            if received is None:
                received = await registration.run(exchange.progress, exchange, deadline)
    return received


def registration_of(connection: Connection) -> LoopRegistration:
    """Return the registration of a connection that an AsyncTransport opened."""
    registration = connection.registration
    if not isinstance(registration, LoopRegistration):
        raise RuntimeError(f"{connection!r} is not registered with an event loop")
    return registration


def _retrieve(feeder: asyncio.Task[None]) -> None:
    """Take note of a failure, which is not asked for if the upload is cancelled as well."""
    if not feeder.cancelled():
        feeder.exception()


async def _feed(upload: Upload, pieces: AsyncGenerator[bytes, None]) -> None:
    """Send pieces without a deadline: at the deadline this is cancelled."""
    async with aclosing(pieces):
        async for piece in pieces:
            await _proceed(upload, chunk(piece))
            if not upload.connection.in_step:
                return
    await _proceed(upload, LAST_CHUNK)


async def _proceed(upload: Upload, data: bytes) -> None:
    if not upload.proceed(data):
        await _send_rest(upload, math.inf)


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
