"""LoopBinding: the one event loop in which an object is used. Runs nothing."""

from __future__ import annotations

import asyncio
import os
from collections.abc import Callable


class LoopBinding:
    """Binds its owner to the event loop of its first await, and refuses every other loop.

    A forked child starts with a loop of its own.

    Args:
        owner: what messages call it.
        bound: is called with the loop, at the first await and at the first one in a forked child.
    """

    def __init__(self, owner: str, bound: Callable[[asyncio.AbstractEventLoop], object]) -> None:
        self.loop: asyncio.AbstractEventLoop | None = None
        self._owner = owner
        self._bound = bound
        self._process = 0

    def check(self) -> asyncio.AbstractEventLoop:
        """Return the running loop.

        Raises:
            RuntimeError: it is not the one in which the owner was first used.
        """
        loop = asyncio.get_running_loop()
        if loop is not self.loop:
            self._bind(loop)
        return loop

    def _bind(self, loop: asyncio.AbstractEventLoop) -> None:
        process = os.getpid()
        if self.loop is not None and self._process == process:
            state = "which is closed" if self.loop.is_closed() else "and has its connections there"
            raise RuntimeError(
                f"{self._owner} was first used in another event loop, {state}: make one for each event loop, or call "
                "asyncio.run once"
            )
        self.loop, self._process = loop, process
        self._bound(loop)
