"""Send settings to a plugin: after the handshake, and after a restart. Decides nothing."""

from __future__ import annotations

from typing import TYPE_CHECKING

from ..protocol import CONFIGURE, Manifest
from .settings import PluginSettings

if TYPE_CHECKING:
    from ..client.client import Client
    from .settings import Request


class Configurator(PluginSettings):
    """Sends the settings of one plugin. Its client has it, so that drivers go on working when the plugin restarts.

    What the plugin answers is raised without the values of settings, which it may repeat.
    """

    def send(self, client: Client, request: Request | None, seconds: float | None = None) -> None:
        """Send settings, if there are any to send.

        Raises:
            ExtframeError: of the call; RemoteError if the plugin refused them.
        """
        if request is not None:
            client.call_each(CONFIGURE, request.arguments, timeout=seconds)

    def send_again(self, client: Client) -> None:
        """Send the settings to a plugin that waits for them, as one does that restarted.

        Raises:
            SpecError: they are invalid.
            ExtframeError: as `send`.
        """
        self.send(client, self.request(self.prepare(), client.manifest or Manifest(), always=True))
