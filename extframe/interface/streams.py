"""Streams of records in async code: decode them as bytes arrive. Knows no client."""

from __future__ import annotations

import io
from collections.abc import AsyncIterator
from typing import TYPE_CHECKING, Any, Protocol

if TYPE_CHECKING:
    from .markers import StreamCodec

CHUNK = 64 * 1024  # bytes


class Readable(Protocol):
    """An async byte stream, as ``AsyncClient.stream`` yields it."""

    async def read(self, size: int = -1, /) -> bytes:
        """Return up to ``size`` bytes as soon as there are any, b"" at the end."""
        raise NotImplementedError


class _Incomplete(BaseException):
    """A record needs bytes that have not arrived. Not an Exception, so that no codec handles it."""


class _Buffer(io.BufferedIOBase):
    """The bytes that have arrived and are not decoded yet, as a file. Reading past them raises _Incomplete."""

    def __init__(self) -> None:
        self._bytes = bytearray()
        self._position = 0
        self._is_complete = False
        self.missing = 1

    def feed(self, data: bytes) -> None:
        """Append bytes that arrived; b"" marks the end of the stream."""
        self._bytes += data
        self._is_complete = self._is_complete or not data

    def commit(self) -> None:
        """Drop the bytes that were read: they are decoded."""
        del self._bytes[: self._position]
        self._position = 0

    def rewind(self) -> None:
        """Return to the first byte that is not decoded."""
        self._position = 0

    def is_consumed(self) -> bool:
        """Return whether the stream has ended and all of it is decoded."""
        return self._is_complete and not self._bytes

    def readable(self) -> bool:
        return True

    def read(self, size: int | None = -1, /) -> bytes:
        wanted = None if size is None or size < 0 else size
        there = len(self._bytes) - self._position
        if not self._is_complete and (wanted is None or there < wanted):
            self._wait(CHUNK if wanted is None else wanted - there)
        return self._take(there if wanted is None else min(wanted, there))

    read1 = read

    def readline(self, size: int | None = -1, /) -> bytes:
        end = self._bytes.find(b"\n", self._position) + 1
        length = (end or len(self._bytes)) - self._position
        if size is not None and 0 <= size <= length:
            return self._take(size)
        if not end and not self._is_complete:
            self._wait(1)
        return self._take(length)

    def _wait(self, missing: int) -> None:
        self.missing = missing
        raise _Incomplete

    def _take(self, size: int) -> bytes:
        taken = bytes(self._bytes[self._position : self._position + size])
        self._position += size
        return taken


async def unpack_async(codec: StreamCodec, stream: Readable) -> AsyncIterator[Any]:
    """Yield the records of an async byte stream, each as soon as its last byte has arrived.

    ``codec.unpack`` is synchronous: it reads what has arrived, and is started again at the beginning of a record when
    it needs more. So it must read no further than a record's end, and keep nothing from one record to the next.

    Raises:
        ProtocolError: the bytes are invalid.
    """
    buffer = _Buffer()
    while not buffer.is_consumed():
        try:
            for record in codec.unpack(buffer):  # type: ignore[arg-type]
                buffer.commit()
                yield record
            return
        except _Incomplete:
            buffer.rewind()
        missing = buffer.missing
        while missing > 0:
            data = await stream.read(CHUNK)
            buffer.feed(data)
            missing = missing - len(data) if data else 0
