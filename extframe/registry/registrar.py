"""What announces a plugin to hosts: a spec file, etcd, or something else that they search. Announces nothing itself."""

from __future__ import annotations

from typing import Protocol

from ..protocol import Endpoint


class Registrar(Protocol):
    """Announces one instance of a plugin while it is served; the other half of a `Registry`.

    ``serve(register=...)`` calls the methods in this order. None may wait for longer than a few seconds: what cannot be
    announced at once is announced later, in the background.
    """

    def announce(self, name: str, endpoint: Endpoint) -> object:
        """Let hosts find the instance, until `withdraw`.

        Args:
            name: the plugin's name.
            endpoint: where hosts connect to, and in which zone that is.

        Raises:
            ExtframeError: it can never be announced, because a setting is invalid.
        """

    def drain(self) -> object:
        """Let hosts know that the instance is about to stop. It still responds."""

    def withdraw(self) -> object:
        """Let hosts no longer find the instance. May be called twice, and without `announce`."""
