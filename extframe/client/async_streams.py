"""AsyncResponseStream: the body of a response, read by tasks while it arrives."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

from .http1 import Headers, find_header

if TYPE_CHECKING:
    from collections.abc import Callable

    from typing_extensions import Self

    from .exchange import StreamExchange
    from .loop_registration import LoopRegistration
    from .streams import Release


class AsyncResponseStream:
    """The body of a response: ``await stream.read(n)``, or ``async for piece in stream``.

    Closing it before its end closes the connection. Reading raises CallTimeout after the deadline, ConnectionLost if
    the connection ends before the body, and ProtocolError; the stream is closed then. A `read` that is cancelled loses
    nothing: the next one continues.

    Args:
        exchange: its status and headers have arrived.
        registration: that of its connection.
        deadline: for reading, a ``time.monotonic()`` value.
        release: takes the connection back.
        describe: adds the address to errors.
    """

    def __init__(
        self,
        exchange: StreamExchange,
        registration: LoopRegistration,
        deadline: float,
        *,
        release: Release,
        describe: Callable[[BaseException], object],
    ) -> None:
        self.status = exchange.status
        self.headers: Headers = exchange.headers
        self._exchange = exchange
        self._registration = registration
        self._deadline = deadline
        self._release = release
        self._describe = describe
        self._unread: memoryview | None = memoryview(b"")  # None at the end
        self._is_reading = False
        self._closed = False

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
            piece = self._exchange.take()
            if piece is None:
                await self._registration.run(self._advance, self._exchange, self._deadline)
            else:
                self._keep(piece)
        except asyncio.CancelledError:
            raise  # what arrived meanwhile is kept
        except BaseException as failure:
            self.close()
            self._describe(failure)
            raise
        finally:
            self._is_reading = False

    def _advance(self) -> bool:
        self._exchange.receive()
        piece = self._exchange.take()
        if piece is None:
            return False
        self._keep(piece)
        return True

    def _keep(self, piece: bytes) -> None:
        self._unread = memoryview(piece) if piece else None

    def __aiter__(self) -> Self:
        return self

    async def __anext__(self) -> bytes:
        piece = await self.read()
        if not piece:
            raise StopAsyncIteration
        return piece

    def close(self) -> None:
        """Close the stream, and its connection unless the body was read to its end."""
        if not self._closed:
            self._closed = True
            self._release(self._exchange.connection, reusable=self._unread is None and self._exchange.keep_alive)
