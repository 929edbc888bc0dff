"""InstanceHandshake: the handshake with one of several instances of a plugin. Decides; never sends or waits."""

from __future__ import annotations

from ..errors import CallTimeout, ConnectionLost, ExtframeError, RemoteError
from ..protocol import ACTIVATE, Manifest
from .endpoint import PluginEndpoint
from .http1 import Response
from .instances import HANDSHAKE_TIMEOUT, Instance, Instances
from .method_path import path_of
from .observation import observe
from .replies import body_of, whole

GRACE = 0.5
"""Seconds for which a plugin's handshake waits for its other instances once one has responded."""


class InstanceHandshake:
    """A handshake, which is also how it is found out whether an instance that was left out is back.

    All times are ``time.monotonic()`` values.

    Args:
        endpoint: the plugin.
        instances: its instances.
        instance: one of them.
        now: the time.
    """

    path = path_of(ACTIVATE)

    def __init__(self, endpoint: PluginEndpoint, instances: Instances, instance: Instance, now: float) -> None:
        self.deadline = now + HANDSHAKE_TIMEOUT
        self._endpoint = endpoint
        self._instances = instances
        self._instance = instance
        self._has_failed = False
        self.observed = observe(endpoint, ACTIVATE)
        """Records it, if it is observed; the options of its requests."""

    def is_retried(self, failure: ExtframeError, now: float) -> bool:
        """Return whether to send it again: once, after a kept connection was lost. Record the failure otherwise."""
        if isinstance(failure, ConnectionLost) and not self._has_failed and now < self.deadline:
            self._has_failed = True
            return True
        self._endpoint.describe(failure, ACTIVATE, HANDSHAKE_TIMEOUT, self._instance)
        self._instances.record_failed_handshake(self._instance, failure, now)
        self._end(failure)
        return False

    def succeed(self, response: Response, now: float) -> None:
        """Record the response. A plugin without a handshake, which responds with status 4xx, can be called.

        Raises:
            ExtframeError: the response is an error, or not a manifest; for `is_retried`.
        """
        manifest: Manifest | None = None
        try:
            manifest = Manifest.parse(body_of(whole(response)))
        except RemoteError as failure:
            if not 400 <= failure.status < 500:
                raise
        self._instances.record_handshake(self._instance, manifest, now)
        self._end(None)

    def abandon(self) -> None:
        """Record that it was not made to its end."""
        self._instances.abandon_handshake(self._instance)
        self._end(ConnectionLost("the handshake was abandoned"))

    def _end(self, failure: ExtframeError | None) -> None:
        if self.observed is not None:
            self.observed.end(failure)


def joint_manifest(instances: Instances) -> Manifest:
    """Return what the instances of a plugin implement together.

    Raises:
        ExtframeError: none of them can be called.
    """
    if instances.is_any_ready:
        return instances.manifest or Manifest()
    raise instances.failure or CallTimeout("timed out waiting for the response", phase="status line")
