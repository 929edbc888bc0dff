"""A lock per key, for the tasks of one event loop."""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Hashable


class KeyedLock:
    """One lock per key, granted in the order of requests. A key that is neither held nor waited for uses no memory."""

    def __init__(self) -> None:
        self._waiting: dict[Hashable, deque[asyncio.Future[None]]] = {}

    async def acquire(self, key: Hashable, timeout: float) -> None:
        """Wait until ``key`` is free and take it. The holder returns it with `release`.

        Raises:
            TimeoutError: it was not free within ``timeout`` seconds.
        """
        waiting = self._waiting.get(key)
        if waiting is None:
            self._waiting[key] = deque()
            return
        loop = asyncio.get_running_loop()
        granted: asyncio.Future[None] = loop.create_future()
        waiting.append(granted)
        timer = loop.call_later(timeout, _expire, granted)
        try:
            await granted
        except asyncio.CancelledError:
            if not granted.cancelled() and granted.exception() is None:  # granted at the same moment, not expired
                self.release(key)
            raise
        finally:
            timer.cancel()

    def release(self, key: Hashable) -> None:
        """Pass ``key`` on to the task that has waited longest."""
        waiting = self._waiting[key]
        while waiting:
            granted = waiting.popleft()
            if not granted.done():
                granted.set_result(None)
                return
        del self._waiting[key]

    def __len__(self) -> int:
        return len(self._waiting)


def _expire(granted: asyncio.Future[None]) -> None:
    if not granted.done():
        granted.set_exception(TimeoutError())
