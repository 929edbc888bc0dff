"""Let calls for one name go in turn, and those for others side by side. Knows nothing of calls."""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Hashable


class Turns:
    """One turn at a time for each key, given in the order in which they were asked for.

    For the tasks of one event loop. A key that nobody holds or waits for takes no memory.
    """

    def __init__(self) -> None:
        self._waiting: dict[Hashable, deque[asyncio.Future[None]]] = {}

    async def take(self, key: Hashable) -> None:
        """Wait for the turn of ``key``. Whoever has it gives it back with ``give``."""
        waiting = self._waiting.get(key)
        if waiting is None:
            self._waiting[key] = deque()
            return
        turn: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        waiting.append(turn)
        try:
            await turn
        except asyncio.CancelledError:
            if not turn.cancelled():  # it came at the same moment, and nobody is going to use it
                self.give(key)
            raise

    def give(self, key: Hashable) -> None:
        """Pass the turn on to whoever waited longest."""
        waiting = self._waiting[key]
        while waiting:
            turn = waiting.popleft()
            if not turn.done():
                turn.set_result(None)
                return
        del self._waiting[key]

    def __len__(self) -> int:
        return len(self._waiting)
