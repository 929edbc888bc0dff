"""Send settings to a plugin from tasks. Decides nothing."""

from __future__ import annotations

from typing import TYPE_CHECKING

from ..concurrency.async_threads import call_in_thread
from ..protocol import CONFIGURE, Manifest
from .configurator import Configurator

if TYPE_CHECKING:
    from ..client.async_client import AsyncClient
    from .settings import Prepared, Request


class AsyncConfigurator(Configurator):
    """A `Configurator` whose calls may also be awaited; code in threads uses those that block."""

    async def prepare_async(self) -> Prepared | None:
        """Return what `prepare` returns, from a thread where files may have to be read."""
        return await call_in_thread(self.prepare, "extframe settings") if self.is_given else self.prepare()

    async def send_async(self, client: AsyncClient, request: Request | None, seconds: float | None = None) -> None:
        """Send settings, as `send` does."""
        if request is not None:
            await client.call_each(CONFIGURE, request.arguments, timeout=seconds)

    async def send_again_async(self, client: AsyncClient) -> None:
        """Send the settings to a plugin that waits for them, as `send_again` does."""
        prepared = await self.prepare_async()
        await self.send_async(client, self.request(prepared, client.manifest or Manifest(), always=True))
