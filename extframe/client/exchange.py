"""Exchange: one request and its response on one connection. Never waits: says what it wants, and advances.

The sync transport waits with ``poll`` for what an exchange wants, an async one with its event loop.
"""

from __future__ import annotations

from typing import ClassVar, Protocol

from ..errors import ConnectionLost
from .connection import SEND, Connection
from .http1 import BODY, STATUS_LINE, Headers, Limits, Response, ResponseParser, read_whole
from .replies import is_whole

READ, WRITE = "read", "write"
"""What an exchange waits for: its connection to be readable, or to be readable or writable."""


_PATIENCE = 0.2  # seconds: longer than the pause that a plugin may make between the parts of a response
_SETTLED_PER_SECOND = 10e6  # bytes: less than a tenth of what is decoded in a second


class ExchangeRecord(Protocol):
    """What an exchange reports to if its call is observed. ``response`` is the response, or its parser."""

    response: Response | ResponseParser | None

    def record_connection(self, is_reused: bool, request: bytes) -> None:
        """Record that there is a connection for the request."""

    def record_sent(self, size: int, is_done: bool) -> None:
        """Record that bytes of the request were sent, or all that is going to be."""

    def record_received(self, size: int) -> None:
        """Record that bytes of the response arrived; none at the end of the connection."""


class BaseExchange:
    """The sending half of an exchange, and what it waits for.

    One thread or task at a time advances it, whenever ``fileno()`` is ready for what it ``wants``, and not again after
    its response or an error. The code that drives it closes the connection.

    Args:
        connection: ready for a request.
        request: the bytes to send.
        limits: the largest accepted response.
        record: of the call, if it is observed.
    """

    __slots__ = ("_limits", "_parser", "_record", "_request", "connection", "sent", "wants")
    _streaming: ClassVar[bool] = False

    def __init__(
        self, connection: Connection, request: bytes, limits: Limits, record: ExchangeRecord | None = None
    ) -> None:
        self.connection = connection
        self.wants = WRITE
        self.sent = 0
        """Bytes of the request that the peer took. If it took any, it may execute the request; if it took none by the
        time that the exchange wants to read, another connection can be tried."""
        self._limits = limits
        self._parser: ResponseParser | None = None
        self._request = request
        self._record = record
        if record is not None:
            record.record_connection(connection.uses > 0, request)

    def fileno(self) -> int:
        """Return the file descriptor to wait for."""
        return self.connection.fileno()

    @property
    def phase(self) -> str:
        """What the exchange waits for, as in ``CallTimeout.phase``."""
        if self.wants is WRITE:
            return SEND
        return STATUS_LINE if self._parser is None else self._parser.phase

    def send(self) -> bool:
        """Send what the peer takes now, and return whether it is time to read.

        It is once all was sent, or when the peer closed the connection or responded before it took all. In that case
        the connection is out of step: a later response could be to either request.
        """
        connection, request, sent = self.connection, self._request, self.sent
        if sent and connection.has_answered():
            return self._stop_sending()
        try:
            taken = connection.write(memoryview(request)[sent:] if sent else request)
        except OSError:
            return self._stop_sending()
        self.sent = sent = sent + taken
        if self._record is not None:
            self._record.record_sent(taken, sent == len(request))
        if sent == len(request):
            self.wants = READ
            return True
        return not sent and self._is_closed() and self._stop_sending()

    def _is_closed(self) -> bool:
        try:
            return self.connection.has_answered()
        except ConnectionLost:
            return True

    def _stop_sending(self) -> bool:
        self.connection.in_step = False
        self.wants = READ
        if self._record is not None:
            self._record.record_sent(0, True)
        return True

    def _feed(self, data: bytes) -> ResponseParser:
        parser = self._parser
        if parser is None:
            parser = self._parser = ResponseParser(self._limits, streaming=self._streaming)
        if data:
            parser.feed(data)
        else:
            parser.end(clean=not self.connection.cut)
        return parser


class Exchange(BaseExchange):
    """A request and its whole response."""

    __slots__ = ()

    def advance(self) -> Response | None:
        """Send or read what is possible now, and return the response once all of it has arrived.

        Raises:
            ConnectionLost: the connection ended before the response did.
            ProtocolError: the response is not HTTP, or over a limit.
        """
        if self.wants is WRITE and not self.send():
            return None
        data = self.connection.receive_now()
        return None if data is None else self.read(data)

    def progress(self) -> Response | bool:
        """Do as `advance` does; return the response, or whether a part of its body has arrived.

        Raises:
            ConnectionLost, ProtocolError: as `advance`.
        """
        return self.advance() or self.phase is BODY

    @property
    def patience(self) -> float:
        """The seconds of silence in the body after which `settle` is worth a try, so that it costs little."""
        return _PATIENCE if self._parser is None else _PATIENCE + self._parser.size / _SETTLED_PER_SECOND

    def settle(self) -> Response | None:
        """Return the response if the rest of its body does not matter: its first JSON value is complete.

        The body may never end: its Content-Length may be too large, or the plugin may expect that the client closes
        the connection. Docker's engine reads no further than the first value either.
        """
        parser = self._parser
        if parser is None or parser.phase is not BODY or parser.status != 200:
            return None
        partial = parser.partial
        if not (partial.body and is_whole(200, partial.body)):
            return None
        if self._record is not None:
            self._record.response = partial
        return partial

    def read(self, data: bytes) -> Response | None:
        """Take ``data`` that was received, nothing at the end of the connection; return the response once it is whole.

        Raises:
            ConnectionLost, ProtocolError: as `advance`.
        """
        record = self._record
        if record is not None:
            record.record_received(len(data))
        response = read_whole(data, self._limits) if self._parser is None else None
        if response is None:
            parser = self._feed(data)
            if not parser.done:
                return None
            response = parser.response
        if record is not None:
            record.response = response
        return response


class Upload(Exchange):
    """A request whose body follows in pieces, and its whole response. An early response ends the sending."""

    __slots__ = ()

    def proceed(self, data: bytes) -> bool:
        """Send a further piece of the request as far as possible now, and return whether it is done; else `send` more.

        The connection is out of step once the plugin responded or closed the connection: no further piece is due then.

        Raises:
            ConnectionLost: the connection was reset.
        """
        if self.connection.has_answered():
            return self._stop_sending()
        self._request = data
        self.sent = 0
        self.wants = WRITE
        return self.send()


class StreamExchange(BaseExchange):
    """A request and a response whose body is read in pieces while it arrives."""

    __slots__ = ()
    _streaming = True

    def advance(self) -> bool:
        """Send or read what is possible now, and return whether ``status`` and ``headers`` have arrived.

        Raises:
            ConnectionLost, ProtocolError: as `Exchange.advance`.
        """
        if self.wants is WRITE and not self.send():
            return False
        data = self.connection.receive_now()
        return data is not None and self._feed(data).head_done

    def take(self) -> bytes | None:
        """Return a piece of the body: nothing at its end, None if none has arrived; `receive` then.

        Raises:
            ConnectionLost: the connection ended before the body did.
            ProtocolError: the body is compressed and cannot be decompressed.
        """
        parser = self._response
        piece = parser.take_body()
        if piece:
            return piece
        if not parser.done:
            return None
        if not parser.complete:
            raise ConnectionLost("the connection ended before the body of the response")
        return b""

    def receive(self) -> None:
        """Read what has arrived of the body.

        Raises:
            ConnectionLost, ProtocolError: as `Exchange.advance`.
        """
        data = self.connection.receive_now()
        if data is not None:
            self._feed(data)

    def _feed(self, data: bytes) -> ResponseParser:
        record = self._record
        if record is not None:
            record.record_received(len(data))
        parser = super()._feed(data)
        if record is not None and parser.head_done:
            record.response = parser
        return parser

    @property
    def has_headers(self) -> bool:
        """Whether ``status`` and ``headers`` have arrived."""
        return self._parser is not None and self._parser.head_done

    @property
    def status(self) -> int:
        """The status of the response."""
        return self._response.status

    @property
    def headers(self) -> Headers:
        """The headers of the response."""
        return self._response.headers

    @property
    def keep_alive(self) -> bool:
        """Whether the connection can be reused; False before the end of the body."""
        return self._response.keep_alive

    @property
    def _response(self) -> ResponseParser:
        if self._parser is None:
            raise RuntimeError("the response has not begun")
        return self._parser
