"""AsyncResponseStream: the body of a response, read by tasks while it arrives."""

from __future__ import annotations

import asyncio
from time import monotonic
from typing import TYPE_CHECKING, NoReturn

from .http1 import Headers, find_header
from .replies import ERROR_PAGE_LIMIT, refusal

if TYPE_CHECKING:
    from asyncio import Future
    from collections.abc import Callable

    from typing_extensions import Self

    from ..errors import RemoteError
    from .exchange import StreamExchange
    from .loop_registration import LoopRegistration
    from .stream_rules import StreamRules
    from .streams import StreamOwner


_CLOSED = "the stream was closed while it was read"


class AsyncResponseStream:
    """The body of a response: ``await stream.read(n)``, or ``async for piece in stream``.

    Closing it before its end closes the connection, and a task that is reading gets a ValueError at once. `close` may
    be called in any task and in any thread. Reading raises CallTimeout after the deadline, ConnectionLost if the
    connection ends before the body, and ProtocolError; the stream is closed then. A `read` that is cancelled loses
    nothing: the next one continues. The first read of a stream that follows waits for the headers, too, and raises
    RemoteError if the status is not 200.

    Args:
        exchange: its request was sent.
        registration: that of its connection.
        rules: the deadlines.
        owner: takes the connection back.
    """

    def __init__(
        self, exchange: StreamExchange, registration: LoopRegistration, rules: StreamRules, owner: StreamOwner
    ) -> None:
        self._exchange = exchange
        self._registration = registration
        self._rules = rules
        self._owner = owner
        self._deadline: float | None = None  # of the body, once the headers have arrived
        self._unread: memoryview | None = memoryview(b"")  # None at the end
        self._waiting: Future[bool] | None = None
        self._failure: Exception | None = None  # of a step, also of one for which no task waited any more
        self._is_reading = False
        self._closed = False

    async def wait_for_headers(self) -> None:
        """Wait until ``status`` and ``headers`` have arrived.

        Raises:
            ExtframeError: as `AsyncTransport.open`; the stream is closed.
        """
        try:
            await self._wait_for_headers()
        except BaseException as failure:
            self._end(failure)
            raise

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

    @property
    def closed(self) -> bool:
        """Whether the stream is closed."""
        return self._closed

    async def read(self, size: int = -1, /) -> bytes:
        """Return up to ``size`` bytes as soon as there are any, b"" at the end; any number of bytes where negative.

        Raises:
            CallTimeout, ConnectionLost, ProtocolError: the stream is closed.
            ValueError: the stream was closed before.
            RuntimeError: another task reads it.
        """
        if self._closed:
            raise ValueError("read of a closed stream")
        if self._is_reading:
            raise RuntimeError("another task is reading this stream; only one may at a time")
        if size == 0 or self._unread is None:
            return b""
        if not self._unread:
            await self._receive()
        return self._take(size)

    def _take(self, size: int) -> bytes:
        unread = self._unread
        if unread is None:
            return b""
        taken = unread if size < 0 else unread[:size]
        self._unread = unread[len(taken) :]
        return bytes(taken)

    async def _receive(self) -> None:
        self._is_reading = True
        try:
            deadline = await self._wait_for_headers() if self._deadline is None else self._deadline
            if self._rules.follows and self._exchange.status != 200:
                raise await self._refusal(deadline)
            self._keep(await self._next_piece(deadline))
        except asyncio.CancelledError:
            raise  # what arrived meanwhile is kept
        except BaseException as failure:
            self._end(failure)
            raise
        finally:
            self._is_reading = False

    async def _wait_for_headers(self) -> float:
        """Return the deadline of the body."""
        exchange, rules = self._exchange, self._rules
        # What was received while sending waits to be read: the loop would not report it.
        if not exchange.has_headers and (exchange.connection.in_step or not exchange.advance()):
            await self._run(self._advance_headers, rules.headers_deadline)
        rules.record_data()
        self._deadline = rules.body_deadline(exchange.status, monotonic())
        return self._deadline

    async def _next_piece(self, deadline: float) -> bytes:
        """Return the next piece of the body, nothing at its end."""
        while (piece := self._exchange.take()) is None:
            await self._run(self._advance, deadline)
        return piece

    def _advance_headers(self) -> bool:
        try:
            return self._exchange.advance()
        except Exception as failure:
            self._failure = failure
            raise

    def _advance(self) -> bool:
        try:
            self._exchange.receive()
        except Exception as failure:
            self._failure = failure
            raise
        self._rules.record_data()
        return True

    async def _run(self, step: Callable[[], bool], deadline: float) -> None:
        self._check_open()  # it may have been closed after the last step, before this task went on
        if self._failure is not None:  # it came after a read was cancelled
            raise self._failure
        self._waiting = self._registration.run(step, self._exchange, deadline)
        try:
            await self._waiting
        finally:
            self._waiting = None
        self._check_open()

    def _check_open(self) -> None:
        if self._closed:
            raise ValueError(_CLOSED)

    async def _refusal(self, deadline: float) -> RemoteError:
        exchange, body = self._exchange, b""
        while len(body) < ERROR_PAGE_LIMIT and (piece := await self._next_piece(deadline)):
            body += piece
        return refusal(exchange.status, self.header("Location"), body[:ERROR_PAGE_LIMIT])

    def _end(self, failure: BaseException) -> None:
        if not self._closed:
            if self._deadline is None:
                self._owner.abandon(self._exchange, failure)
            self._owner.describe(failure)
            self._rules.record_failure(failure, monotonic())
        self.close()

    def _keep(self, piece: bytes) -> None:
        self._unread = memoryview(piece) if piece else None

    def __reduce__(self) -> NoReturn:
        raise TypeError(
            f"{type(self).__name__} cannot be pickled or copied, as its connection belongs to this process: send what "
            "is read from it"
        )

    def __aiter__(self) -> Self:
        return self

    async def __anext__(self) -> bytes:
        piece = await self.read()
        if not piece:
            raise StopAsyncIteration
        return piece

    def close(self) -> None:
        """Close the stream, and its connection unless the body was read to its end. A task that reads is woken.

        In another thread than that of the event loop, the connection is closed as soon as the loop runs.
        """
        if not self._closed:
            self._closed = True
            self._registration.call_in_loop(self._release)

    def _release(self) -> None:
        waiting = self._waiting
        is_read = self._deadline is not None and self._unread is None
        self._owner.release(self._exchange.connection, reusable=is_read and self._exchange.keep_alive)
        if waiting is not None and not waiting.done():
            waiting.set_exception(ValueError(_CLOSED))
