"""What AsyncClient.send_file sends: a file or an async iterable, as pieces of bytes. Knows no connections."""

from __future__ import annotations

import inspect
import io
from collections.abc import AsyncGenerator, AsyncIterable, Awaitable, Callable
from functools import partial
from typing import Any, Protocol

from ..concurrency.async_threads import call_in_thread
from .base_transport import PIECE_SIZE
from .client import check_binary


class Readable(Protocol):
    """A binary file: ``read`` returns up to ``size`` bytes, or an awaitable of them; b"" at the end."""

    def read(self, size: int, /) -> Any:
        """Return up to ``size`` bytes."""
        raise NotImplementedError


Source = Readable | AsyncIterable[bytes]


def check_source(data: object) -> None:
    """Check that ``data`` can be sent.

    Raises:
        TypeError: it is not a binary file, and not an async iterable.
    """
    if not hasattr(data, "__aiter__"):
        check_binary(data)


async def pieces_of(data: Source) -> AsyncGenerator[bytes, None]:
    """Yield the bytes of a file from its current position, or those of an async iterable.

    A file whose ``read`` blocks is read in threads. An async generator is closed at the end, also at an early one.
    """
    if isinstance(data, AsyncIterable) and not hasattr(data, "read"):
        try:
            async for piece in data:
                if piece != b"":
                    yield piece
        finally:
            if inspect.isasyncgen(data):
                await data.aclose()
        return
    read = _reader(data)
    while (piece := await read()) != b"":
        yield piece


def _reader(file: Any) -> Callable[[], Awaitable[bytes]]:
    if inspect.iscoroutinefunction(file.read):
        return partial(file.read, PIECE_SIZE)
    if isinstance(file, io.BytesIO):
        return partial(_read_now, file)
    return lambda: call_in_thread(partial(file.read, PIECE_SIZE), "read a file")


async def _read_now(file: io.BytesIO) -> bytes:
    return file.read(PIECE_SIZE)
