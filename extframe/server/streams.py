"""Send a stream of records while they come. Knows ASGI's ``send`` and the records' codec; no methods."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Iterator
from typing import Any

from ..interface.markers import StreamCodec
from .asgi import STREAM, Send
from .caller import Caller
from .workers import Workers

PATIENCE = 1.0  # seconds: a stream that has no record by then begins without one, and can no more answer an error


class StreamReply:
    """An answer whose body is a stream. It begins with the first record; before that it may still be an error."""

    def __init__(self, send: Send, codec: StreamCodec) -> None:
        self.begun = False
        self._beginning: asyncio.Task[None] | None = None
        self._send = send
        self._codec = codec

    async def begin(self) -> None:
        """Send the head, once."""
        if not self.begun:
            self.begun = True
            await self._send({"type": "http.response.start", "status": 200, "headers": [STREAM]})

    def begin_now(self) -> None:
        """Send the head from outside a task."""
        self._beginning = asyncio.get_running_loop().create_task(self.begin())

    async def send(self, record: Any) -> None:
        """Send a record, and wait where the client is slow to take it."""
        data = self._codec.pack(record)
        await self.begin()
        await self._send({"type": "http.response.body", "body": data, "more_body": True})

    async def end(self) -> None:
        """Say that there are no more."""
        await self.begin()
        await self._send({"type": "http.response.body", "body": b""})


async def send_records(reply: StreamReply, records: Any, caller: Caller, workers: Workers) -> None:
    """Send all ``records``, an iterator of either kind. It is closed when they end, or when the caller is gone.

    Raises:
        TypeError: ``records`` is no iterable.
    """
    loop = asyncio.get_running_loop()
    timer = loop.call_later(PATIENCE, reply.begin_now)
    try:
        if hasattr(records, "__aiter__"):
            await _send_on_loop(reply, aiter(records), caller)
        else:
            iterator = iter(records)
            await workers.run(lambda: _send_from_thread(reply, iterator, caller, loop))
        if not caller.gone:
            await reply.end()
    except asyncio.CancelledError:
        caller.gone = True  # nobody will read what a thread has still to give
        raise
    finally:
        timer.cancel()


async def _send_on_loop(reply: StreamReply, records: AsyncIterator[Any], caller: Caller) -> None:
    task = asyncio.current_task()
    caller.when_gone = task.cancel if task is not None else None
    try:
        if caller.gone:  # before its turn came: nobody says so again
            return
        async for record in records:
            await reply.send(record)
    except asyncio.CancelledError:
        if not caller.gone:
            raise
    finally:
        caller.when_gone = None
        close = getattr(records, "aclose", None)
        if close is not None:
            await close()


def _send_from_thread(
    reply: StreamReply, records: Iterator[Any], caller: Caller, loop: asyncio.AbstractEventLoop
) -> None:
    try:
        for record in records:
            if caller.gone:
                return
            asyncio.run_coroutine_threadsafe(reply.send(record), loop).result()
    finally:
        close = getattr(records, "close", None)
        if close is not None:
            close()
