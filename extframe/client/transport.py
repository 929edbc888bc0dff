"""Requests to one address over kept connections, each with a deadline. Knows no JSON, no retries and no plugins.

Each request is sent once. Only if a kept connection turns out to be closed before it took a byte of the request is
another connection used.
"""

from __future__ import annotations

import errno
import os
import select
from time import monotonic
from typing import TYPE_CHECKING, BinaryIO, TypeVar

from ..errors import ConnectError, ConnectionLost, ExtframeError
from ..logs import get_logger
from ..protocol import Address, TLSConfig
from .connection import CONNECT, SEND, Connection, late, wait
from .connection_pool import ConnectionPool, IdleConnections
from .exchange import BaseExchange, Exchange, StreamExchange
from .http1 import LAST_CHUNK, STATUS_LINE, UNIX_HOST, Limits, RequestWriter, Response, chunk
from .keep_alive import KeepAlive
from .sockets import connect, connect_now
from .streams import ResponseStream

if TYPE_CHECKING:
    import ssl
    from collections.abc import Collection

__all__ = ["ConnectionPool", "Transport"]

E = TypeVar("E", bound=BaseExchange)

logger = get_logger(__name__)

_PIECE_SIZE = 64 * 1024  # bytes of a file that are sent at a time


class Transport:
    """Sends requests to one address. Thread-safe; opens as many connections as there are concurrent requests.

    Deadlines are ``time.monotonic()`` values and cover everything that a method does: name lookup, connecting, TLS,
    sending, receiving. Errors carry the address.

    Args:
        address: of the plugin.
        tls: how an ``https://`` address is verified; its files are read when the first connection is made.
        limits: the largest accepted response.
        pool: where idle connections are kept; one of its own where None.
        keep_alive: whether connections are kept for reuse, until the plugin turns out to close them.
        peer_uids: the users that may listen at a unix socket, in addition to root and this user; None for all.
    """

    def __init__(
        self,
        address: Address,
        tls: TLSConfig | None = None,
        *,
        limits: Limits | None = None,
        pool: ConnectionPool | None = None,
        keep_alive: bool = True,
        peer_uids: Collection[int] | None = None,
    ) -> None:
        self.address = address
        self._tls = tls
        self._limits = limits or Limits()
        self._pool = ConnectionPool() if pool is None else pool
        self._idle = IdleConnections()
        self._keep_alive = KeepAlive(keep_alive)
        self._peer_uids = peer_uids
        self._writer = RequestWriter(UNIX_HOST if address.path else address.authority, gzip=not address.path)
        self._context: ssl.SSLContext | None = None

    def exchange(self, path: str, body: bytes, deadline: float) -> Response:
        """Send a request and return the response, whatever its status is.

        Raises:
            SpecError: the path is invalid in a request, or a file of the TLS configuration cannot be used.
            ConnectError: nothing was sent.
            ConnectionLost: something was sent; it may have been executed.
            CallTimeout: the deadline passed; ``phase`` is what was being waited for.
            ProtocolError: the response is not HTTP, or over a limit.
        """
        exchange = self._send(Exchange, self._writer.request(path, body), deadline)
        return self._receive(exchange, deadline)

    def begin(self, path: str, body: bytes) -> Exchange | None:
        """Send a request without waiting; return None if connecting or sending would have to wait.

        That is always so over TCP, and at a unix socket whose backlog is full. Give the exchange to `advance` when its
        connection is readable, or to `abandon`.

        Raises:
            ExtframeError: as `exchange`, except CallTimeout.
        """
        if not self.address.path:
            return None
        request = self._writer.request(path, body)
        try:
            if self._idle.closed:
                raise _closed()
            while (connection := self._pool.take(self._idle)) is not None:
                exchange = Exchange(connection, request, self._limits)
                if connection.is_usable() and exchange.send() and exchange.sent:
                    return exchange
                self._drop(connection)
            sock = connect_now(self.address.path, self._peer_uids)
            if sock is None:
                return None
            connection = Connection(sock)
            self._pool.add(self._idle, connection)
            exchange = Exchange(connection, request, self._limits)
            if exchange.send() and exchange.sent:
                return exchange
            raise _refusal(connection)
        except ExtframeError as failure:
            self._describe(failure)
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

    def upload(self, path: str, data: BinaryIO, deadline: float) -> Response:
        """Send a file in chunks, and return the response. A response that arrives early ends the sending.

        Raises:
            ExtframeError: as `exchange`; and whatever ``data.read`` raises.
        """
        exchange = self._send(Exchange, self._writer.chunked_head(path), deadline)
        connection = exchange.connection
        try:
            connection.in_step = connection.in_step and _send_in_chunks(connection, data, deadline)
        except BaseException as failure:
            self.abandon(exchange, failure)
            raise
        return self._receive(exchange, deadline)

    def open(self, path: str, body: bytes, deadline: float, *, body_deadline: float | None = None) -> ResponseStream:
        """Send a request and return the response as a stream, once its headers have arrived.

        Args:
            path, body, deadline: as in `exchange`.
            body_deadline: for reading the body of a 200; ``math.inf`` for none, ``deadline`` where None. ``deadline``
                always covers the body of any other status, as it is an error message.

        Raises:
            ExtframeError: as `exchange`; so does reading the stream.
        """
        exchange = self._send(StreamExchange, self._writer.request(path, body), deadline)
        try:
            while not exchange.advance():
                exchange.connection.wait_readable(deadline, exchange.phase)
        except BaseException as failure:
            self.abandon(exchange, failure)
            raise
        if body_deadline is not None and exchange.status == 200:
            deadline = body_deadline
        return ResponseStream(exchange, deadline, release=self.release, describe=self._describe)

    def release(self, connection: Connection, *, reusable: bool) -> None:
        """Keep the connection of an exchange that has ended, if it can be reused, or close it."""
        if reusable and connection.in_step and self._keep_alive.keeps:
            self._pool.put(self._idle, connection)
        else:
            connection.close()

    def abandon(self, exchange: BaseExchange, failure: BaseException | None = None) -> None:
        """Close the connection of an exchange that has no response; ``failure`` gets the address."""
        connection = exchange.connection
        if isinstance(failure, ConnectionLost) and connection.uses and exchange.phase is STATUS_LINE:
            self._record_close(connection)
        connection.close()
        if isinstance(failure, ExtframeError):
            failure.address = self.address.text

    def _drop(self, connection: Connection) -> None:
        """Close a kept connection that cannot be used."""
        if not connection.is_inherited:
            self._record_close(connection)
        connection.close()

    def _record_close(self, connection: Connection) -> None:
        opened, last_used, uses = connection.opened, connection.idle_since, connection.uses
        if self._keep_alive.record_close(monotonic(), opened=opened, last_used=last_used, uses=uses):
            logger.debug("the plugin at %s closes its connections after each response: none is kept", self.address)

    def close(self) -> None:
        """Close the idle connections. Requests under way go on to their end; later ones raise ConnectError."""
        self._pool.close(self._idle)

    def tls_context(self) -> ssl.SSLContext | None:
        """Return the TLS context, created on first use; None if the address is not ``https://``.

        Raises:
            SpecError: a file of the TLS configuration cannot be used.
        """
        if not self.address.tls:
            return None
        if self._context is None:
            from .tls import client_context  # ssl is slow to import, and most plugins have a unix socket

            self._context = client_context(self._tls)
        return self._context

    def _send(self, kind: type[E], request: bytes, deadline: float) -> E:
        """Return an exchange whose request was sent, or part of it if the plugin responded before it took all."""
        try:
            if self._idle.closed:
                raise _closed()
            if monotonic() >= deadline:
                raise late(CONNECT)
            while (connection := self._pool.take(self._idle)) is not None:
                exchange = kind(connection, request, self._limits)
                if connection.is_usable() and (exchange.send() or _send_rest(exchange, deadline)) and exchange.sent:
                    return exchange
                self._drop(connection)
            connection = self._connect(deadline)
            self._pool.add(self._idle, connection)
            exchange = kind(connection, request, self._limits)
            if (exchange.send() or _send_rest(exchange, deadline)) and exchange.sent:
                return exchange
            raise _refusal(connection)
        except ExtframeError as failure:
            self._describe(failure)
            raise

    def _receive(self, exchange: Exchange, deadline: float) -> Response:
        connection = exchange.connection
        try:
            response = exchange.read(connection.receive(deadline, STATUS_LINE))
            while response is None:
                response = exchange.read(connection.receive(deadline, exchange.phase))
        except BaseException as failure:
            self.abandon(exchange, failure)
            raise
        self.release(connection, reusable=response.keep_alive)
        return response

    def _connect(self, deadline: float) -> Connection:
        context = self.tls_context()
        sock = connect(self.address, deadline, self._peer_uids)
        if context is None:
            return Connection(sock)
        from .tls import handshake

        return handshake(sock, context, self.address.host, deadline)

    def _describe(self, failure: BaseException) -> None:
        if isinstance(failure, ExtframeError):
            failure.address = self.address.text


def _closed() -> ConnectError:
    return ConnectError("the client is closed")


def _send_rest(exchange: BaseExchange, deadline: float) -> bool:
    """Send what the plugin did not take at once, and return True."""
    either = select.poll()
    either.register(exchange.fileno(), select.POLLIN | select.POLLOUT)
    try:
        wait(either, deadline, SEND)
        while not exchange.send():
            wait(either, deadline, SEND)
    except BaseException:
        exchange.connection.close()
        raise
    return True


def _refusal(connection: Connection) -> ConnectError:
    """Return the error for a new connection that took nothing; over TLS the plugin may have said why."""
    try:
        connection.has_answered()
    except ConnectError as said:
        return said
    except ConnectionLost:
        pass
    finally:
        connection.close()
    refusal = ConnectError("the plugin closed the connection before it took any of the request")
    refusal.__cause__ = ConnectionResetError(errno.ECONNRESET, os.strerror(errno.ECONNRESET))
    return refusal


def _send_in_chunks(connection: Connection, data: BinaryIO, deadline: float) -> bool:
    """Return whether all of ``data`` was sent; a response ends the sending."""
    while (piece := data.read(_PIECE_SIZE)) != b"":
        if monotonic() >= deadline:
            raise late(SEND)
        if connection.has_answered() or not _send_all(connection, chunk(piece), deadline):
            return False
    return _send_all(connection, LAST_CHUNK, deadline)


def _send_all(connection: Connection, data: bytes, deadline: float) -> bool:
    return connection.send(data, deadline) == len(data)
