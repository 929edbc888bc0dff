"""Requests to one address over kept connections, each with a deadline. Knows no JSON, no retries and no plugins.

Each request is sent once. Only if a kept connection turns out to be closed before it took a byte of the request is
another connection used.
"""

from __future__ import annotations

import math
from time import monotonic
from typing import BinaryIO, TypeVar

from ..concurrency.system import READABLE, WRITABLE, Poll
from ..errors import CallTimeout, ExtframeError
from .base_transport import PIECE_SIZE, BaseTransport, is_sent, refusal
from .connection import SEND, Connection, late, wait
from .connection_pool import ConnectionPool
from .exchange import READ, BaseExchange, Exchange, ExchangeRecord, StreamExchange, Upload
from .http1 import BODY, LAST_CHUNK, STATUS_LINE, Response, chunk
from .request_options import RequestOptions
from .sockets import connect_now
from .steps import run
from .stream_rules import StreamRules
from .streams import ResponseStream

__all__ = ["ConnectionPool", "Transport"]

E = TypeVar("E", bound=BaseExchange)


class Transport(BaseTransport):
    """Sends requests to one address. Thread-safe; opens as many connections as there are concurrent requests.

    Deadlines are ``time.monotonic()`` values and cover everything that a method does: name lookup, connecting, TLS,
    sending, receiving. Errors carry the address.
    """

    def exchange(self, path: str, body: bytes, deadline: float, options: RequestOptions | None = None) -> Response:
        """Send a request and return the response, whatever its status is.

        Args:
            path, body: of the request.
            deadline: for all of it.
            options: what else the request has.

        Raises:
            SpecError: the path is invalid in a request, or a file of the TLS configuration cannot be used.
            ConnectError: nothing was sent.
            ConnectionLost: something was sent; it may have been executed.
            CallTimeout: the deadline passed; ``phase`` is what was being waited for.
            ProtocolError: the response is not HTTP, or over a limit.
        """
        record = None if options is None else options.begin_attempt(self.address)
        exchange = self._send(Exchange, self._writer.request(path, body, options), deadline, record)
        return self._receive(exchange, deadline)

    def begin(self, path: str, body: bytes, options: RequestOptions | None = None) -> Exchange | None:
        """Send a request without waiting; return None if connecting or sending would have to wait.

        That is always so over TCP, and at a unix socket whose backlog is full. Give the exchange to `advance` when its
        connection is readable, or to `abandon`.

        Raises:
            ExtframeError: as `exchange`, except CallTimeout.
        """
        if not self.address.path:
            return None
        request = self._writer.request(path, body, options)
        record = None if options is None else options.begin_attempt(self.address)
        try:
            self._check_open(math.inf)
            while (kept := self._reuse(Exchange, request, True, record)) is not None:
                if is_sent(kept):
                    return kept
                self._drop(kept.connection)
            sock = connect_now(self.address.path, self.peer_uids)
            if sock is None:
                return None
            exchange = self._start(Exchange, Connection(sock), request, record)
            if is_sent(exchange):
                return exchange
            raise refusal(exchange.connection)
        except ExtframeError as failure:
            self.describe(failure)
            raise

    def advance(self, exchange: Exchange) -> Response | None:
        """Read what has arrived, and return the response once all of it has. An error ends the exchange.

        Raises:
            ExtframeError: as `exchange`, except CallTimeout.
        """
        try:
            response = exchange.advance()
        except BaseException as failure:
            self.abandon(exchange, failure)
            raise
        if response is not None:
            self.release(exchange.connection, reusable=response.keep_alive)
        return response

    def upload(self, path: str, data: BinaryIO, deadline: float, options: RequestOptions | None = None) -> Response:
        """Send a file in chunks, and return the response. A response that arrives early ends the sending.

        Raises:
            ExtframeError: as `exchange`; and whatever ``data.read`` raises.
        """
        record = None if options is None else options.begin_attempt(self.address)
        exchange = self._send(Upload, self._writer.chunked_head(path, options), deadline, record)
        try:
            _send_in_chunks(exchange, data, deadline)
        except BaseException as failure:
            self.abandon(exchange, failure)
            raise
        return self._receive(exchange, deadline)

    def open(
        self,
        path: str,
        body: bytes,
        deadline: float,
        rules: StreamRules | None = None,
        options: RequestOptions | None = None,
    ) -> ResponseStream:
        """Send a request and return the response as a stream, once its headers have arrived.

        A stream that follows is returned once the request is sent; its first read waits for the headers.

        Args:
            path, body, deadline, options: as in `exchange`.
            rules: the deadlines of the stream; ``deadline`` for all of it where None.

        Raises:
            ExtframeError: as `exchange`; so does reading the stream.
        """
        rules = rules or StreamRules(deadline)
        record = None if options is None else options.begin_attempt(self.address)
        exchange = self._send(StreamExchange, self._writer.request(path, body, options), deadline, record)
        stream = ResponseStream(exchange, rules, self)
        if not rules.follows:
            stream.wait_for_headers()
        return stream

    def _send(self, kind: type[E], request: bytes, deadline: float, record: ExchangeRecord | None) -> E:
        """Return an exchange whose request was sent, or part of it if the plugin responded before it took all."""
        try:
            self._check_open(deadline)
            while (kept := self._reuse(kind, request, True, record)) is not None:
                if kept.wants is READ or _send_rest(kept, deadline):
                    return kept
                self._drop(kept.connection)
            exchange = self._start(kind, run(self._connecting(deadline)), request, record)
            if is_sent(exchange) or _send_rest(exchange, deadline):
                return exchange
            raise refusal(exchange.connection)
        except ExtframeError as failure:
            self.describe(failure)
            raise

    def _receive(self, exchange: Exchange, deadline: float) -> Response:
        connection = exchange.connection
        try:
            response = exchange.read(connection.receive(deadline, STATUS_LINE))
            while response is None:
                response = self._receive_more(exchange, deadline)
        except BaseException as failure:
            self.abandon(exchange, failure)
            raise
        self.release(connection, reusable=response.keep_alive)
        return response

    def _receive_more(self, exchange: Exchange, deadline: float) -> Response | None:
        connection, phase = exchange.connection, exchange.phase
        if phase is BODY:
            try:
                return exchange.read(connection.receive(min(deadline, monotonic() + exchange.patience), phase))
            except CallTimeout:
                response = exchange.settle()
                if response is not None:
                    return response
        return exchange.read(connection.receive(deadline, phase))


def _send_rest(exchange: BaseExchange, deadline: float) -> bool:
    """Send what the plugin did not take at once, and return whether it took any of the request."""
    if exchange.wants is READ:
        return False
    either = Poll()
    either.register(exchange.fileno(), READABLE | WRITABLE)
    try:
        wait(either, deadline, SEND)
        while not exchange.send():
            wait(either, deadline, SEND)
    except BaseException:
        exchange.connection.close()
        raise
    return exchange.sent > 0


def _send_in_chunks(upload: Upload, data: BinaryIO, deadline: float) -> None:
    while upload.connection.in_step:
        piece = data.read(PIECE_SIZE)
        if monotonic() >= deadline:
            raise late(SEND)
        if not upload.proceed(chunk(piece) if piece != b"" else LAST_CHUNK):
            _send_rest(upload, deadline)
        if piece == b"":
            return
