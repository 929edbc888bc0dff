"""aiohttp with one session on uvloop, with as many connections as there are calls in flight."""

from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager

import aiohttp
from uvloop import new_event_loop as new_event_loop

from . import ARGUMENTS, METHOD, path_of


@asynccontextmanager
async def connect(address: str) -> AsyncIterator[Callable[[], Awaitable[object]]]:
    """Provide a POST of JSON as a coroutine function."""
    connector = aiohttp.UnixConnector(path=path_of(address), limit=0)
    async with aiohttp.ClientSession(connector=connector) as session:

        async def call() -> object:
            async with session.post(f"http://plugin/{METHOD}", json=ARGUMENTS) as response:
                response.raise_for_status()
                return await response.json(content_type=None)

        yield call
