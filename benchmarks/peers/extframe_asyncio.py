"""extframe: ``AsyncClient.call`` in asyncio's own event loop."""

from .extframe_async import connect as connect
