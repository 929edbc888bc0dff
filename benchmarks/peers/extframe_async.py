"""extframe: ``AsyncClient.call`` on uvloop, whose reply is a dict."""

from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager

from uvloop import new_event_loop as new_event_loop

from extframe import AsyncClient

from . import ARGUMENTS, METHOD


@asynccontextmanager
async def connect(address: str) -> AsyncIterator[Callable[[], Awaitable[object]]]:
    """Call with all safeguards that are on by default; the call is not idempotent."""
    async with AsyncClient(address) as client:
        yield lambda: client.call(METHOD, ARGUMENTS)
