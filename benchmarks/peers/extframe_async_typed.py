"""extframe: a typed async driver on uvloop, whose reply is a Volume."""

from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager

from uvloop import new_event_loop as new_event_loop

from extframe import AsyncClient, AsyncVolumeDriver


@asynccontextmanager
async def connect(address: str) -> AsyncIterator[Callable[[], Awaitable[object]]]:
    """Call as a host does with a driver from its AsyncPluginManager; ``get`` is idempotent."""
    async with AsyncClient(address) as client:
        driver = AsyncVolumeDriver.remote(client)
        yield lambda: driver.get("photos")
