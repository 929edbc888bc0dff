"""httpx's AsyncClient on uvloop."""

from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager

import httpx
from uvloop import new_event_loop as new_event_loop

from . import ARGUMENTS, METHOD, path_of


@asynccontextmanager
async def connect(address: str) -> AsyncIterator[Callable[[], Awaitable[object]]]:
    """Provide a POST of JSON as a coroutine function."""
    transport = httpx.AsyncHTTPTransport(uds=path_of(address))
    async with httpx.AsyncClient(transport=transport, base_url="http://plugin") as client:

        async def call() -> object:
            response = await client.post(f"/{METHOD}", json=ARGUMENTS)
            response.raise_for_status()
            return response.json()

        yield call
