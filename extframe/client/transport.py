"""Requests to one address over kept connections, each within a deadline. Knows no JSON, no retries and no names.

Each request is tried once. Only where an idle connection proves to be closed before it took a byte does another
one take its place, unseen.
"""

from __future__ import annotations

import errno
import io
import os
from time import monotonic
from typing import TYPE_CHECKING, BinaryIO

from ..errors import ConnectError, ConnectionLost, ExtframeError
from ..protocol import Address, TLSConfig
from .connection import CONNECT, SEND, Connection, connect, connect_now, late
from .connection_pool import ConnectionPool, IdleConnections
from .http1 import (
    LAST_CHUNK,
    STATUS_LINE,
    UNIX_HOST,
    Headers,
    Limits,
    RequestWriter,
    Response,
    ResponseParser,
    chunk,
    find_header,
    read_whole,
)

if TYPE_CHECKING:
    import ssl

    from _typeshed import WriteableBuffer
    from typing_extensions import Self

__all__ = ["ConnectionPool", "Exchange", "ResponseStream", "Transport"]

_PIECE_SIZE = 64 * 1024  # bytes of a file that are sent at a time


# --- the transport ------------------------------------------------------------------------------------


class Transport:
    """The way to one address. Many threads may use it; it opens as many connections as there are calls at a time.

    Deadlines are ``time.monotonic()`` values and hold for all that a method does: looking up, connecting, sending,
    receiving. Errors have the address.

    Args:
        address: where to.
        tls: how an ``https://`` address is verified; its files are read when the first connection is made.
        limits: how large an answer may be.
        pool: where idle connections are kept; one of its own where None.
    """

    def __init__(
        self,
        address: Address,
        tls: TLSConfig | None = None,
        *,
        limits: Limits | None = None,
        pool: ConnectionPool | None = None,
    ) -> None:
        self.address = address
        self._tls = tls
        self._limits = limits or Limits()
        self._pool = ConnectionPool() if pool is None else pool
        self._shelf = IdleConnections()
        self._writer = RequestWriter(UNIX_HOST if address.path else address.authority, gzip=not address.path)
        self._context: ssl.SSLContext | None = None

    def exchange(self, path: str, body: bytes, deadline: float) -> Response:
        """Send a request and return the answer, whatever its status is.

        Raises:
            SpecError: the path cannot stand in a request, or a file of the TLS configuration cannot be used.
            ConnectError: nothing was sent.
            ConnectionLost: something was sent; it may have been carried out.
            CallTimeout: the deadline passed; ``phase`` says in what.
            ProtocolError: the answer is not HTTP, or over a limit.
        """
        connection = self._begin(self._writer.request(path, body), deadline)
        try:
            response = self._receive_response(connection, deadline)
        except BaseException as failure:
            connection.close()
            self._name(failure)
            raise
        self._release(connection, reusable=response.keep_alive)
        return response

    def begin(self, path: str, body: bytes) -> Exchange | None:
        """Send a request without waiting, and return what becomes of it; None where something had to be waited for.

        That is so over TCP, and where a unix socket takes no connection for now.

        Raises:
            as `exchange`, but for CallTimeout.
        """
        if not self.address.path:
            return None
        request = self._writer.request(path, body)
        try:
            self._check_open()
            while (connection := self._pool.take(self._shelf)) is not None:
                if connection.is_usable() and connection.send_now(request):
                    return Exchange(self, connection)
                connection.close()
            sock = connect_now(self.address.path)
            if sock is None:
                return None
            connection = Connection(sock)
            self._pool.add(self._shelf, connection)
            if connection.send_now(request):
                return Exchange(self, connection)
            raise _refusal(connection)
        except ExtframeError as failure:
            self._name(failure)
            raise

    def upload(self, path: str, data: BinaryIO, deadline: float) -> Response:
        """Send what ``data`` holds in chunks, and return the answer. One that comes early ends the sending.

        Raises:
            as `exchange`; and what ``data.read`` raises.
        """
        connection = self._begin(self._writer.chunked_head(path), deadline)
        try:
            connection.in_step = connection.in_step and _send_in_chunks(connection, data, deadline)
            response = self._receive_response(connection, deadline)
        except BaseException as failure:
            connection.close()
            self._name(failure)
            raise
        self._release(connection, reusable=response.keep_alive)
        return response

    def open(self, path: str, body: bytes, deadline: float, *, body_deadline: float | None = None) -> ResponseStream:
        """Send a request and return the answer as a stream, once its headers are there.

        ``body_deadline`` is for reading the body of a 200: ``math.inf`` for no end, the same as ``deadline`` where
        None. Any other answer has no stream in it, but words about what went wrong: ``deadline`` holds for them.

        Raises:
            as `exchange`; reading the stream does too.
        """
        connection = self._begin(self._writer.request(path, body), deadline)
        try:
            parser = ResponseParser(self._limits, streaming=True)
            while not parser.head_done:
                _receive(connection, parser, deadline)
        except BaseException as failure:
            connection.close()
            self._name(failure)
            raise
        if body_deadline is not None and parser.status == 200:
            deadline = body_deadline
        return ResponseStream(_Body(self, connection, parser, deadline))

    def close(self) -> None:
        """Close the idle connections. What is under way goes on to its end; a later request is a ConnectError."""
        self._pool.close(self._shelf)

    def tls_context(self) -> ssl.SSLContext | None:
        """Return the TLS context, made on first use; None where the address is not ``https://``.

        Raises:
            SpecError: a file of the TLS configuration cannot be used.
        """
        if not self.address.tls:
            return None
        if self._context is None:
            from .tls import client_context  # ssl is slow to import, and most plugins have a unix socket

            self._context = client_context(self._tls)
        return self._context

    def _begin(self, request: bytes, deadline: float) -> Connection:
        """Return a connection that has taken ``request``, or some of it where the plugin answered before."""
        try:
            self._check_open()
            if monotonic() >= deadline:
                raise late(CONNECT)
            while (connection := self._pool.take(self._shelf)) is not None:
                if connection.is_usable() and _send(connection, request, deadline):
                    return connection
                connection.close()
            connection = self._connect(deadline)
            self._pool.add(self._shelf, connection)
            if _send(connection, request, deadline):
                return connection
            raise _refusal(connection)
        except ExtframeError as failure:
            self._name(failure)
            raise

    def _check_open(self) -> None:
        if self._shelf.closed:
            raise ConnectError("the client is closed")

    def _connect(self, deadline: float) -> Connection:
        context = self.tls_context()
        sock = connect(self.address, deadline)
        if context is None:
            return Connection(sock)
        from .tls import handshake

        return handshake(sock, context, self.address.host, deadline)

    def _receive_response(self, connection: Connection, deadline: float) -> Response:
        data = connection.receive(deadline, STATUS_LINE)
        response = read_whole(data, self._limits)
        if response is not None:
            return response
        parser = ResponseParser(self._limits)
        _feed(parser, data, connection)
        while not parser.done:
            _receive(connection, parser, deadline)
        return parser.response

    def _release(self, connection: Connection, *, reusable: bool) -> None:
        if reusable and connection.in_step:
            self._pool.put(self._shelf, connection)
        else:
            connection.close()

    def _name(self, failure: BaseException) -> None:
        if isinstance(failure, ExtframeError):
            failure.address = self.address.text


def _send(connection: Connection, request: bytes, deadline: float) -> bool:
    """Whether the connection took any of ``request``; what it took of it may have been carried out."""
    try:
        sent = connection.send(request, deadline)
    except BaseException:
        connection.close()
        raise
    connection.in_step = sent == len(request)
    return sent > 0


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
    """Whether all of ``data`` was sent, and not ended by an answer."""
    while (piece := data.read(_PIECE_SIZE)) != b"":
        if monotonic() >= deadline:
            raise late(SEND)
        if connection.has_answered() or not _send_all(connection, chunk(piece), deadline):
            return False
    return _send_all(connection, LAST_CHUNK, deadline)


def _send_all(connection: Connection, data: bytes, deadline: float) -> bool:
    return connection.send(data, deadline) == len(data)


def _receive(connection: Connection, parser: ResponseParser, deadline: float) -> None:
    _feed(parser, connection.receive(deadline, parser.phase), connection)


def _feed(parser: ResponseParser, data: bytes, connection: Connection) -> None:
    if data:
        parser.feed(data)
    else:
        parser.end(clean=not connection.cut)


# --- answers that nobody waits for --------------------------------------------------------------------


class Exchange:
    """A request that was sent, made by `Transport.begin`: look at it when ``fileno()`` is readable.

    One thread at a time. It is not to be looked at after its answer, or after an error.
    """

    def __init__(self, transport: Transport, connection: Connection) -> None:
        self._transport = transport
        self._connection = connection
        self._parser: ResponseParser | None = None

    def fileno(self) -> int:
        """Return the file descriptor to wait for."""
        return self._connection.fileno()

    @property
    def phase(self) -> str:
        """What is being waited for, in the words of CallTimeout."""
        return STATUS_LINE if self._parser is None else self._parser.phase

    def advance(self) -> Response | None:
        """Read what came, and return the answer once all of it is there.

        Raises:
            as `Transport.exchange`, but for CallTimeout.
        """
        try:
            data = self._connection.receive_now()
            response = None if data is None else self._read(data)
        except BaseException as failure:
            self.abandon()
            self._transport._name(failure)
            raise
        if response is not None:
            self._transport._release(self._connection, reusable=response.keep_alive)
        return response

    def abandon(self) -> None:
        """Close the connection."""
        self._connection.close()

    def _read(self, data: bytes) -> Response | None:
        if self._parser is None:
            response = read_whole(data, self._transport._limits)
            if response is not None:
                return response
            self._parser = ResponseParser(self._transport._limits)
        _feed(self._parser, data, self._connection)
        return self._parser.response if self._parser.done else None


# --- streams ------------------------------------------------------------------------------------------


class ResponseStream(io.BufferedReader):
    """The body of an answer, read while it comes: ``read``, ``read1``, ``readinto``, lines.

    Closing it before its end closes the connection. Reading raises CallTimeout after the deadline, ConnectionLost
    where the body ends before its announced end, and ProtocolError; the stream is closed then.
    """

    def __init__(self, body: _Body) -> None:
        super().__init__(body)
        self.status = body.parser.status
        self.headers: Headers = body.parser.headers

    def header(self, name: str) -> str | None:
        """Return the value of the first header of this name, which is given in any case."""
        return find_header(self.headers, name)

    def __enter__(self) -> Self:
        return self


class _Body(io.RawIOBase):
    def __init__(self, transport: Transport, connection: Connection, parser: ResponseParser, deadline: float) -> None:
        super().__init__()
        self.parser = parser
        self._transport = transport
        self._connection = connection
        self._deadline = deadline
        self._unread = memoryview(b"")

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: WriteableBuffer) -> int:
        if not self._unread:
            self._unread = memoryview(self._receive())
        target = memoryview(buffer).cast("B")
        size = min(len(target), len(self._unread))
        target[:size] = self._unread[:size]
        self._unread = self._unread[size:]
        return size

    def close(self) -> None:
        if not self.closed:
            super().close()
            self._transport._release(self._connection, reusable=self.parser.keep_alive)

    def _receive(self) -> bytes:
        """Return the next piece of the body, nothing at its end."""
        try:
            piece = self.parser.take_body()
            while not piece and not self.parser.done:
                _receive(self._connection, self.parser, self._deadline)
                piece = self.parser.take_body()
            if not piece and not self.parser.complete:
                raise ConnectionLost("the connection ended before the body of the answer did")
            return piece
        except BaseException as failure:
            self.close()
            self._transport._name(failure)
            raise
