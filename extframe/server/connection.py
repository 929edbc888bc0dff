"""One connection of the HTTP server: requests in, ASGI calls, responses out.

What concerns several connections, and the clock, belong to `Connections`.
"""

from __future__ import annotations

import asyncio
import http
import os
import select
import socket
import sys
from collections.abc import Callable, Coroutine, Iterable
from typing import Any, Protocol

from ..concurrency.system import HAS_UNIX_SOCKETS
from ..logs import get_logger
from .asgi import JSON, App, Message, Scope, encode_error
from .limits import ServerLimits
from .log_limit import LimitedLogger
from .request_parser import BadRequest, Request, RequestParser

SMALL = 8 << 10  # bytes; smaller bodies do not count towards the buffer limit
PIPELINE_LIMIT = 64 << 10  # bytes of further requests that are read while one is being answered
DISCARD_LIMIT = 64 << 20  # bytes that are read and dropped after a refusal, so that the client sees the response
LINGER = 5.0  # seconds for the same
LAST_REQUEST = 0.1  # seconds for which an idle TCP connection takes one more request during shutdown
HALF_CLOSE = 5.0  # seconds after which a TCP client that ended its side counts as gone; there is no way to ask
WRITE_BUFFER = 64 << 10  # bytes; with more unread the next request waits
STREAM_PATIENCE = 10  # times write_timeout

_STATUS_LINES = {
    each.value: f"HTTP/1.1 {each.value} {each.phrase}\r\n".encode() for each in http.HTTPStatus if each.value >= 200
}
_CLOSE = (b"connection", b"close")
_CHUNKED = (b"transfer-encoding", b"chunked")

logger = get_logger(__name__)


class _Connections(Protocol):
    """What a connection needs of `Connections`, which has the documentation."""

    app: App
    limits: ServerLimits
    loop: asyncio.AbstractEventLoop
    log: LimitedLogger
    stopping: bool
    unread: set[Connection]

    def add(self, connection: Connection) -> None: ...
    def remove(self, connection: Connection) -> None: ...
    def start(self, answer: Coroutine[Any, Any, None]) -> None: ...
    def account(self, connection: Connection) -> None: ...
    async def make_room(self, size: int) -> bool: ...


class Connection(asyncio.Protocol):
    """A client's connection."""

    def __init__(self, shared: _Connections, on_made: Callable[[], object]) -> None:
        self._on_made = on_made
        self.served = False  # whether a request was answered
        self.idle_since = shared.loop.time()
        self.request_started: float | None = None  # while a request is incomplete
        self.accounted = 0  # bytes, by `Connections`
        self.transport: asyncio.Transport
        self._shared = shared
        self._parser = RequestParser(shared.limits.head_limit, shared.limits.limit)
        self._exchange: Exchange | None = None
        self._writable: asyncio.Future[None] | None = None  # while the client reads too slowly
        self._paused = False
        self._eof_at: float | None = None
        self._close_at: float | None = None  # while what arrives is dropped
        self._discarded = 0
        self._written = self._drained = 0  # bytes
        self._stalled_since = 0.0

    # --- called by the event loop

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Start."""
        self.transport = transport  # type: ignore[assignment]
        self.transport.set_write_buffer_limits(WRITE_BUFFER)
        self._on_made()
        self._shared.add(self)

    def connection_lost(self, exc: Exception | None) -> None:
        """Release everything and report the disconnection to the call that is running."""
        self._parser = RequestParser(0, 0)
        self._shared.remove(self)
        self.resume_writing()
        if self._exchange is not None:
            self._exchange.disconnect()

    def data_received(self, data: bytes) -> None:
        """Parse what arrived, unless a request is being answered."""
        if self._close_at is not None:
            self._discarded += len(data)
            if self._discarded > DISCARD_LIMIT:
                self.transport.abort()
        elif self._exchange is None:
            self._parse(data)
        else:
            self._parser.hold(data)
            if self._parser.size > PIPELINE_LIMIT and not self._paused:
                self._paused = True
                self.transport.pause_reading()
            self._shared.account(self)

    def eof_received(self) -> bool:
        """Keep the connection open for the response if the client only closed its side (``nc -N``, ``socat``)."""
        if self._exchange is None or self.transport.get_extra_info("sslcontext") or _hung_up(self.transport):
            return False
        self._eof_at = self._shared.loop.time()
        return True

    def pause_writing(self) -> None:
        """Note that the client does not keep up."""
        if self._writable is None:
            self._writable = self._shared.loop.create_future()

    def resume_writing(self) -> None:
        """Note that the client has caught up."""
        if self._writable is not None:
            if not self._writable.done():
                self._writable.set_result(None)
            self._writable = None

    # --- requests

    @property
    def busy(self) -> bool:
        """Whether a request is being answered."""
        return self._exchange is not None

    @property
    def size(self) -> int:
        """Bytes held for requests."""
        body = 0 if self._exchange is None else len(self._exchange.body)
        return self._parser.size + (body if body > SMALL else 0)

    @property
    def pipelined(self) -> int:
        """Bytes of requests that arrived before the last one was answered."""
        return self._parser.size if self.busy else 0

    @property
    def unread(self) -> int:
        """Bytes of responses that the client has not read."""
        return self.transport.get_write_buffer_size()

    def _parse(self, data: bytes) -> None:
        try:
            request = self._parser.receive(data)
        except BadRequest as bad:
            self.refuse(bad.status, str(bad))
            return
        if request is not None:
            self.request_started = None
            self._start(request)
        elif not self._parser.idle:
            if self.request_started is None:
                self.request_started = self._shared.loop.time()
            if self._parser.waits_for_continue:
                self.transport.write(b"HTTP/1.1 100 Continue\r\n\r\n")
            self._shared.account(self)

    def _start(self, request: Request) -> None:
        self._exchange = exchange = Exchange(self, request)
        exchange.keep_alive &= not self._shared.stopping
        if self._parser.size or len(request.body) > SMALL:
            self._shared.account(self)
        self._shared.start(self._answer(exchange, exchange.scope(request)))

    async def _answer(self, exchange: Exchange, scope: Scope) -> None:
        try:
            await self._shared.app(scope, exchange.receive, exchange.send)
        except (Exception, asyncio.CancelledError) as error:  # noqa: BLE001 - reported by the application
            logger.debug("a response failed: %r", error)
            exchange.fail()
        if self._writable is not None and exchange.keep_alive:
            await self._writable
        self._end(exchange)

    def _end(self, exchange: Exchange) -> None:
        self._exchange = None
        self.served = True
        self.idle_since = self._shared.loop.time()
        if self.accounted:
            self._shared.account(self)
        if self.transport.is_closing() or self._close_at is not None:
            return
        if not exchange.keep_alive or self._shared.stopping:
            self.transport.close()
            return
        if self._parser.size:
            self._parse(b"")
        if self._eof_at is not None and self._exchange is None:
            self.transport.close()
        elif self._paused and self._parser.size <= PIPELINE_LIMIT:
            self._paused = False
            self.transport.resume_reading()

    def refuse(self, status: int, message: str) -> None:
        """Answer with an error, drop what still arrives and close."""
        self._parser = RequestParser(0, 0)
        self._shared.account(self)
        self.request_started = None
        body = encode_error(message)
        self.write(_head(status, [JSON, (b"content-length", b"%d" % len(body)), _CLOSE]) + body)
        if not self.transport.can_write_eof():
            self.transport.close()
        elif not self.transport.is_closing():
            self._close_at = self._shared.loop.time() + LINGER
            self.transport.write_eof()

    def shut_down(self) -> None:
        """Close once the request that is being answered has its response, and one that is on its way, too.

        A client cannot know that a request was not executed whose connection was closed after it was sent.
        """
        if self._exchange is not None:
            self._exchange.keep_alive = False
        elif self._close_at is not None or not _refuse_requests(self.transport):
            self._shared.loop.call_later(LAST_REQUEST, self._close_idle)

    def _close_idle(self) -> None:
        if self._exchange is None:
            self.transport.close()

    # --- responses

    def write(self, data: bytes) -> None:
        """Send ``data``."""
        if self.transport.is_closing():
            return
        self.transport.write(data)
        self._written += len(data)
        if self.transport.get_write_buffer_size():
            self._shared.unread.add(self)

    async def drain(self) -> None:
        """Wait while the client does not keep up."""
        if self._writable is not None:
            await asyncio.shield(self._writable)

    async def make_room(self, size: int) -> bool:
        """Return whether a response of ``size`` bytes may be held in memory."""
        return await self._shared.make_room(size)

    # --- time

    def check(self, now: float) -> None:
        """Act on what has lasted too long."""
        limits = self._shared.limits
        if self._close_at is not None:
            if now > self._close_at:
                self.transport.abort()
        elif self._exchange is not None:
            self._check_caller(now)
        elif self.request_started is not None:
            if now - self.request_started > limits.request_timeout:
                message = f"the request did not arrive within {limits.request_timeout:g} seconds (request_timeout=)"
                self._shared.log.warning("closed a connection: %s", message)
                self.refuse(408, message)
        elif now - self.idle_since > (limits.keep_alive if self.served else limits.request_timeout):
            self.transport.close()

    def check_reader(self, now: float) -> None:
        """Disconnect a client that has read nothing for too long."""
        patience = self._shared.limits.write_timeout
        if self._exchange is not None and self._exchange.is_stream:
            patience *= STREAM_PATIENCE
        if self.stalled_for(now) > patience:
            self._shared.log.warning(
                "closed a connection: the client read nothing for %g seconds (write_timeout=)", patience
            )
            self.transport.abort()

    def stalled_for(self, now: float) -> float:
        """Return for how many seconds the client has read nothing, as far as this was asked before."""
        drained = self._written - self.unread
        if drained != self._drained or not self._stalled_since:
            self._drained, self._stalled_since = drained, now
        if not self.unread:
            self._stalled_since = 0.0
            return 0.0
        return now - self._stalled_since

    def _check_caller(self, now: float) -> None:
        if self._eof_at is None or self._exchange is None or self._exchange.disconnected:
            return
        if _hung_up(self.transport):
            self.transport.abort()
        elif not _is_unix(self.transport) and now - self._eof_at > HALF_CLOSE:
            self._exchange.disconnect()


class Exchange:
    """A request and its response, as ASGI sees them."""

    __slots__ = (
        "_connection",
        "_headers",
        "_is_head",
        "_received",
        "_status",
        "_version",
        "_waiting",
        "body",
        "complete",
        "disconnected",
        "is_stream",
        "keep_alive",
        "started",
    )

    def __init__(self, connection: Connection, request: Request) -> None:
        head = request.head
        self.body = request.body
        self.keep_alive = head.keep_alive
        self.disconnected = self.started = self.complete = self.is_stream = False
        self._connection = connection
        self._is_head = head.method == "HEAD"
        self._version = head.version
        self._received = False
        self._waiting: asyncio.Future[None] | None = None
        self._status = 0
        self._headers: Iterable[tuple[bytes, bytes]] = ()

    def scope(self, request: Request) -> Scope:
        """Return what ASGI says of the request."""
        head = request.head
        raw_path, _, query = head.target.partition(b"?")
        return {
            "type": "http",
            "asgi": {"version": "3.0", "spec_version": "2.3"},
            "http_version": head.version,
            "method": head.method,
            "scheme": "http",
            "path": head.path,
            "raw_path": raw_path,
            "query_string": query,
            "root_path": "",
            "headers": head.headers,
            "client": None,
            "server": None,
        }

    async def receive(self) -> Message:
        """Return the body, and after that the disconnection once there is one."""
        if not self._received:
            self._received = True
            return {"type": "http.request", "body": self.body, "more_body": False}
        if not self.disconnected:
            if self._waiting is None or self._waiting.done():
                self._waiting = asyncio.get_running_loop().create_future()
            await self._waiting
        return {"type": "http.disconnect"}

    def disconnect(self) -> None:
        """Report that the client has gone."""
        self.disconnected = True
        if self._waiting is not None and not self._waiting.done():
            self._waiting.set_result(None)

    async def send(self, message: Message) -> None:
        """Send the head, or a piece of the body."""
        if message["type"] == "http.response.start":
            self._status, self._headers = message["status"], message["headers"]
            if not any(name == b"content-length" for name, _ in self._headers):
                self._start_stream()
            return
        body, more = message.get("body", b""), message.get("more_body", False)
        if not self.started:  # extframe's application never sends a body of known length in pieces
            if len(body) > SMALL and not await self._connection.make_room(len(body)):
                body = encode_error("too many responses wait for clients to read them (buffer=)")
                self._status, self._headers = 503, [JSON, (b"content-length", b"%d" % len(body))]
            self._send_whole(body)
            return
        self.complete = not more
        self._connection.write(self._piece(body, more))
        await self._connection.drain()

    def _send_whole(self, body: bytes) -> None:
        self.started = self.complete = True
        head = _head(self._status, self._final(self._headers))
        if self._is_head or len(body) > SMALL:
            self._connection.write(head)
        if not self._is_head:
            self._connection.write(body if len(body) > SMALL else head + body)  # no copy of what is large

    def _start_stream(self) -> None:
        self.started = self.is_stream = True
        if self._version == "1.0":
            self.keep_alive = False
            self._connection.write(_head(self._status, self._final(self._headers)))
        else:
            self._connection.write(_head(self._status, [*self._final(self._headers), _CHUNKED]))

    def _piece(self, body: bytes, more: bool) -> bytes:
        if self._version == "1.0":
            return body
        piece = b"%x\r\n%b\r\n" % (len(body), body) if body else b""
        return piece if more else piece + b"0\r\n\r\n"

    def _final(self, headers: Iterable[tuple[bytes, bytes]]) -> Iterable[tuple[bytes, bytes]]:
        if _CLOSE in headers:
            self.keep_alive = False
            return headers
        return headers if self.keep_alive else [*headers, _CLOSE]

    def fail(self) -> None:
        """End a response that the application did not complete: by an error, or by cutting the connection."""
        if self.complete:
            return
        self.keep_alive = False
        if self.started:
            self._connection.transport.abort()
        else:
            body = encode_error("the plugin could not answer")
            self._status, self._headers = 500, [JSON, (b"content-length", b"%d" % len(body))]
            self._send_whole(body)


def _head(status: int, headers: Iterable[tuple[bytes, bytes]]) -> bytes:
    line = _STATUS_LINES.get(status) or b"HTTP/1.1 %d \r\n" % status
    return b"".join([line, *(b"%b: %b\r\n" % header for header in headers), b"\r\n"])


def _is_unix(transport: asyncio.Transport) -> bool:
    found = transport.get_extra_info("socket")
    return found is not None and HAS_UNIX_SOCKETS and found.family == socket.AF_UNIX


def _hung_up(transport: asyncio.Transport) -> bool:
    """Return whether the client has closed both directions. Only unix sockets report that."""
    found = transport.get_extra_info("socket")
    if found is None or found.fileno() < 0:
        return True
    if not HAS_UNIX_SOCKETS:
        return False
    poll = select.poll()
    poll.register(found.fileno(), 0)
    return any(events & (select.POLLHUP | select.POLLERR) for _, events in poll.poll(0))


def _refuse_requests(transport: asyncio.Transport) -> bool:
    """Let the client's next write fail; what it wrote before is read, and then the end. Linux's unix sockets only.

    Returns whether that was done.
    """
    if sys.platform != "linux" or not _is_unix(transport):
        return False
    found = transport.get_extra_info("socket")
    try:
        with socket.socket(fileno=os.dup(found.fileno())) as same:
            same.shutdown(socket.SHUT_RD)
    except OSError:  # no descriptor is left, or the client has closed the connection
        return False
    return True


UNAVAILABLE_BODY = encode_error("the plugin has too many connections (connections=)")
UNAVAILABLE = _head(503, [JSON, (b"content-length", b"%d" % len(UNAVAILABLE_BODY)), _CLOSE]) + UNAVAILABLE_BODY
"""The response to a connection that there is no room for."""
