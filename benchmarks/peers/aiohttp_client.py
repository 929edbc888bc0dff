"""aiohttp with one session, one call after another."""

from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager

import aiohttp

from . import ARGUMENTS, METHOD, path_of


@asynccontextmanager
async def connect(address: str) -> AsyncIterator[Callable[[], Awaitable[object]]]:
    """Provide a POST of JSON as a coroutine function."""
    async with aiohttp.ClientSession(connector=aiohttp.UnixConnector(path=path_of(address))) as session:

        async def call() -> object:
            async with session.post(f"http://plugin/{METHOD}", json=ARGUMENTS) as response:
                response.raise_for_status()
                return await response.json(content_type=None)

        yield call
