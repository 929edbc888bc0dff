"""ResponseStream: the body of a response, read while it arrives."""

from __future__ import annotations

import io
import threading
from contextlib import suppress
from time import monotonic
from typing import TYPE_CHECKING, NoReturn, Protocol, TypeVar

from ..errors import ExtframeError
from .http1 import Headers, find_header
from .replies import ERROR_PAGE_LIMIT, refusal

if TYPE_CHECKING:
    from collections.abc import Callable

    from _typeshed import WriteableBuffer
    from typing_extensions import Self

    from ..errors import RemoteError
    from .connection import Connection
    from .exchange import StreamExchange
    from .stream_rules import StreamRules

R = TypeVar("R")

_CLOSED = "the stream was closed while it was read"


class StreamOwner(Protocol):
    """Takes the connection of a stream back: a `Transport`."""

    def release(self, connection: Connection, *, reusable: bool) -> None:
        """Keep a connection if it can be reused, or close it."""

    def abandon(self, exchange: StreamExchange, failure: BaseException) -> None:
        """Close the connection of an exchange that has no response, and add the address to ``failure``."""

    def describe(self, failure: BaseException) -> None:
        """Add the address to an error."""


class ResponseStream(io.BufferedReader):
    """The body of a response: ``read``, ``read1``, ``readinto``, lines.

    Closing it before its end closes the connection. `close` may be called in any thread at any time: one that is
    reading then gets a ValueError at once. Reading raises CallTimeout after the deadline, ConnectionLost if the
    connection ends before the body, and ProtocolError; the stream is closed then. The first read of a stream that
    follows waits for the headers, too, and raises RemoteError if the status is not 200.

    Args:
        exchange: its request was sent.
        rules: the deadlines.
        owner: takes the connection back.
    """

    def __init__(self, exchange: StreamExchange, rules: StreamRules, owner: StreamOwner) -> None:
        self._exchange = exchange
        self._body = _Body(exchange, rules, owner)
        super().__init__(self._body)

    def wait_for_headers(self) -> None:
        """Wait until ``status`` and ``headers`` have arrived.

        Raises:
            ExtframeError: as `Transport.open`; the stream is closed.
        """
        self._body.wait_for_headers()

    @property
    def status(self) -> int:
        """The status of the response. RuntimeError before its headers have arrived."""
        return self._exchange.status

    @property
    def headers(self) -> Headers:
        """The headers of the response. RuntimeError before they have arrived."""
        return self._exchange.headers

    def header(self, name: str) -> str | None:
        """Return the value of the first header with this name, which may be given in any case."""
        return find_header(self.headers, name)

    def close(self) -> None:
        """Close the stream, and wake the thread that reads it."""
        self._body.interrupt()  # first: BufferedReader.close waits until no thread is reading
        with suppress(RuntimeError):  # by a signal handler that interrupted a read, which will close the stream
            super().close()

    def __reduce_ex__(self, protocol: object) -> NoReturn:  # io's own classes have it from Python 3.12 on
        raise TypeError(
            f"{type(self).__name__} cannot be pickled or copied, as its connection belongs to this process: send what "
            "is read from it"
        )

    def __enter__(self) -> Self:
        return self


class _Body(io.RawIOBase):
    def __init__(self, exchange: StreamExchange, rules: StreamRules, owner: StreamOwner) -> None:
        super().__init__()
        self._exchange = exchange
        self._rules = rules
        self._owner = owner
        self._deadline: float | None = None  # of the body, once the headers have arrived
        self._unread = memoryview(b"")
        self._lock = threading.RLock()  # never held while waiting; reentrant, for signal handlers
        self._is_reading = self._is_closing = self._is_cut = False

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: WriteableBuffer) -> int:
        if not self._unread:
            self._unread = memoryview(self._read(self._receive))
        target = memoryview(buffer).cast("B")
        size = min(len(target), len(self._unread))
        target[:size] = self._unread[:size]
        self._unread = self._unread[size:]
        return size

    def wait_for_headers(self) -> None:
        self._read(self._wait_for_headers)

    def interrupt(self) -> None:
        """Have the thread that reads raise ValueError. It may be polling the descriptor: this does not close it."""
        with self._lock:
            self._is_closing = True
            if self._is_reading:
                self._is_cut = True
                self._exchange.connection.shutdown()

    def close(self) -> None:
        with self._lock:
            if not self.closed:
                super().close()
                reusable = self._deadline is not None and self._exchange.keep_alive and not self._is_cut
                self._owner.release(self._exchange.connection, reusable=reusable)

    # Reading, by one thread at a time: BufferedReader has a lock.

    def _read(self, receive: Callable[[], R]) -> R:
        """Return what ``receive`` returns; close the stream if it raises."""
        with self._lock:
            if self._is_closing:
                raise ValueError(_CLOSED)
            self._is_reading = True
        try:
            received = receive()
        except BaseException as failure:
            self._end(failure)
            if self._is_closing and isinstance(failure, ExtframeError):
                raise ValueError(_CLOSED) from None
            raise
        with self._lock:
            self._is_reading = False
        if self._is_closing:  # what was received may only seem to be the end of the body
            self.close()
            raise ValueError(_CLOSED)
        return received

    def _end(self, failure: BaseException) -> None:
        if not self._is_closing:
            if self._deadline is None:
                self._owner.abandon(self._exchange, failure)
            self._owner.describe(failure)
            self._rules.record_failure(failure, monotonic())
        self.close()

    def _receive(self) -> bytes:
        """Return the next piece of the body, nothing at its end."""
        deadline = self._wait_for_headers() if self._deadline is None else self._deadline
        if self._rules.follows and self._exchange.status != 200:
            raise self._refusal(deadline)
        return self._next_piece(deadline)

    def _wait_for_headers(self) -> float:
        """Return the deadline of the body."""
        exchange, rules = self._exchange, self._rules
        while not exchange.advance():
            exchange.connection.wait_readable(rules.headers_deadline, exchange.phase)
        rules.record_data()
        self._deadline = rules.body_deadline(exchange.status, monotonic())
        return self._deadline

    def _next_piece(self, deadline: float) -> bytes:
        exchange = self._exchange
        while (piece := exchange.take()) is None:
            exchange.connection.wait_readable(deadline, exchange.phase)
            exchange.receive()
            self._rules.record_data()
        return piece

    def _refusal(self, deadline: float) -> RemoteError:
        exchange, body = self._exchange, b""
        while len(body) < ERROR_PAGE_LIMIT and (piece := self._next_piece(deadline)):
            body += piece
        return refusal(exchange.status, find_header(exchange.headers, "Location"), body[:ERROR_PAGE_LIMIT])
