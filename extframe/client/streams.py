"""ResponseStream: the body of a response, read while it arrives."""

from __future__ import annotations

import io
from typing import TYPE_CHECKING, Protocol

from .http1 import Headers, find_header

if TYPE_CHECKING:
    from collections.abc import Callable

    from _typeshed import WriteableBuffer
    from typing_extensions import Self

    from .connection import Connection
    from .exchange import StreamExchange


class Release(Protocol):
    """Keeps a connection whose exchange has ended, or closes it."""

    def __call__(self, connection: Connection, *, reusable: bool) -> None:
        """Keep the connection if it can be reused."""


class ResponseStream(io.BufferedReader):
    """The body of a response: ``read``, ``read1``, ``readinto``, lines.

    Closing it before its end closes the connection. Reading raises CallTimeout after the deadline, ConnectionLost if
    the connection ends before the body, and ProtocolError; the stream is closed then.

    Args:
        exchange: its status and headers have arrived.
        deadline: for reading, a ``time.monotonic()`` value.
        release: takes the connection back.
        describe: adds the address to errors.
    """

    def __init__(
        self,
        exchange: StreamExchange,
        deadline: float,
        *,
        release: Release,
        describe: Callable[[BaseException], object],
    ) -> None:
        super().__init__(_Body(exchange, deadline, release, describe))
        self.status = exchange.status
        self.headers: Headers = exchange.headers

    def header(self, name: str) -> str | None:
        """Return the value of the first header with this name, which may be given in any case."""
        return find_header(self.headers, name)

    def __enter__(self) -> Self:
        return self


class _Body(io.RawIOBase):
    def __init__(
        self,
        exchange: StreamExchange,
        deadline: float,
        release: Release,
        describe: Callable[[BaseException], object],
    ) -> None:
        super().__init__()
        self._exchange = exchange
        self._deadline = deadline
        self._release = release
        self._describe = describe
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
            self._release(self._exchange.connection, reusable=self._exchange.keep_alive)

    def _receive(self) -> bytes:
        """Return the next piece of the body, nothing at its end."""
        exchange = self._exchange
        try:
            while (piece := exchange.take()) is None:
                exchange.connection.wait_readable(self._deadline, exchange.phase)
                exchange.receive()
        except BaseException as failure:
            self.close()
            self._describe(failure)
            raise
        return piece
