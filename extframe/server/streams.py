"""Stream records as they are produced. Knows ASGI's ``send`` and the codec of the records; no methods."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Iterator
from typing import Any

from ..interface.markers import StreamCodec
from .asgi import Send
from .disconnect import DisconnectWatcher
from .executor import Executor

START_AFTER = 1.0  # seconds; a stream without a record starts then, after which an error cannot be reported


class StreamReply:
    """A response whose body is a stream. It starts with the first record; until then it can still be an error."""

    def __init__(self, send: Send, codec: StreamCodec) -> None:
        self.started = False
        self._starting: asyncio.Task[None] | None = None
        self._send = send
        self._codec = codec
        self.reports_errors = codec.pack_error is not None

    async def start(self) -> None:
        """Send the head, once."""
        if not self.started:
            self.started = True
            await self._send(
                {
                    "type": "http.response.start",
                    "status": 200,
                    "headers": [(b"content-type", self._codec.content_type.encode())],
                }
            )

    def start_soon(self) -> None:
        """Send the head from outside a task."""
        self._starting = asyncio.get_running_loop().create_task(self.start())

    def cancel_start(self) -> None:
        """Send no head from outside a task any more: the response may be an error by then, or another request's."""
        if self._starting is not None and not self.started:
            self._starting.cancel()

    async def send(self, record: Any) -> None:
        """Send a record, waiting while the client is slow to read."""
        data = self._codec.pack(record)
        await self.start()
        await self._send({"type": "http.response.body", "body": data, "more_body": True})

    async def fail(self, message: str) -> None:
        """Send an error and the end of the stream."""
        if self._codec.pack_error is not None:
            data = self._codec.pack_error(message)
            await self._send({"type": "http.response.body", "body": data, "more_body": True})
        await self.end()

    async def end(self) -> None:
        """Send the end of the stream."""
        await self.start()
        await self._send({"type": "http.response.body", "body": b""})


async def send_records(reply: StreamReply, records: Any, watcher: DisconnectWatcher, executor: Executor) -> None:
    """Send all ``records``, a sync or async iterator. It is closed at its end, or when the caller disconnects.

    Raises:
        TypeError: ``records`` is not iterable.
    """
    loop = asyncio.get_running_loop()
    timer = loop.call_later(START_AFTER, reply.start_soon)
    try:
        if hasattr(records, "__aiter__"):
            await _send_on_loop(reply, aiter(records), watcher)
        else:
            iterator = iter(records)
            await executor.run(lambda: _send_from_thread(reply, iterator, watcher, loop))
        if not watcher.gone:
            await reply.end()
    except asyncio.CancelledError:
        watcher.gone = True  # stops the thread at its next record
        raise
    finally:
        timer.cancel()
        reply.cancel_start()


async def _send_on_loop(reply: StreamReply, records: AsyncIterator[Any], watcher: DisconnectWatcher) -> None:
    task = asyncio.current_task()
    watcher.on_gone = task.cancel if task is not None else None
    try:
        if watcher.gone:  # before it started; this is not reported twice
            return
        async for record in records:
            await reply.send(record)
    except asyncio.CancelledError:
        if not watcher.gone:
            raise
    finally:
        watcher.on_gone = None
        close = getattr(records, "aclose", None)
        if close is not None:
            await close()


def _send_from_thread(
    reply: StreamReply, records: Iterator[Any], watcher: DisconnectWatcher, loop: asyncio.AbstractEventLoop
) -> None:
    try:
        for record in records:
            if watcher.gone:
                return
            asyncio.run_coroutine_threadsafe(reply.send(record), loop).result()
    finally:
        close = getattr(records, "close", None)
        if close is not None:
            close()
