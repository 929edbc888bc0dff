"""What a plugin needs of its client and of its owner, and what it is approved as. Decides nothing."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Protocol

from ..protocol import Endpoint, Manifest, PluginSpec, TLSConfig
from .lifecycle import State

if TYPE_CHECKING:
    from ..client.endpoint import PluginEndpoint
else:
    from ..concurrency.late_types import late

    PluginEndpoint = late("extframe.client.endpoint", "PluginEndpoint")


class AnyClient(Protocol):
    """What a plugin needs of its client, be it for threads or for tasks."""

    def retarget(
        self,
        address: str,
        *,
        tls: TLSConfig | None = None,
        peer_uids: Collection[int] | None = None,
        endpoints: Sequence[Endpoint] = (),
    ) -> None:
        """Call the plugin at another address, or other instances of it, from now on."""

    endpoint: PluginEndpoint
    """What is shared by the clients of the plugin."""

    manifest: Manifest | None
    """The response to the last handshake, for drivers."""

    paths: Sequence[tuple[str, str]]
    """Where directories of the plugin are on the host, for drivers."""

    @property
    def last_error(self) -> Exception | None:
        """Why the circuit breaker is open; None if it is closed."""

    @property
    def next_try(self) -> float | None:
        """When the circuit breaker lets a call through, a ``time.monotonic()`` value; None if it is closed."""


class PluginListener(Protocol):
    """What a plugin reports to, and asks, its owner."""

    def state_changed(self, plugin: Any, state: State, reason: str) -> object:
        """Handle a new state. Called under the plugin's lock, so that changes arrive in order; returns at once."""

    def has_changed(self, spec: PluginSpec) -> bool:
        """Return whether the source is another than ``spec`` was made from, where the registry says so at once."""

    @property
    def explains(self) -> bool:
        """Whether the registry explains failures."""

    def why(self, spec: PluginSpec, failure: Exception) -> str | None:
        """Return the registry's reason for a failure, as the predicate of a sentence; may take a moment."""

    def planned_try(self, name: str) -> float | None:
        """Return when a watch activates a failed plugin again, a ``time.monotonic()`` value, or None."""


@dataclass(frozen=True)
class Approval:
    """As what a plugin may be used.

    Args:
        manifest: its manifest, without the extension points that handlers left out.
        left_out: those, each with the handler that left it out.
    """

    manifest: Manifest
    left_out: Mapping[str, str] = field(default_factory=dict)
