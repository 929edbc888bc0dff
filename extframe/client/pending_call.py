"""A call that does not block: it is sent, and advanced when its connection is readable. For many handshakes at once."""

from __future__ import annotations

import math
from time import monotonic
from typing import TYPE_CHECKING

from ..errors import ConnectError, ConnectionLost, ExtframeError, TransportError
from .attempts import Attempts
from .endpoint import PluginEndpoint
from .http1 import BODY
from .method_path import path_of
from .observation import observe
from .replies import body_of, whole

if TYPE_CHECKING:
    from .exchange import Exchange
    from .http1 import Response
    from .transport import Transport


class PendingCall:
    """A call without arguments, treated as idempotent. One thread at a time uses it.

    Args:
        endpoint: the plugin.
        transport: sends the call.
        method: its name, ``Plugin.Activate``.
    """

    _exchange: Exchange

    def __init__(self, endpoint: PluginEndpoint, transport: Transport, method: str) -> None:
        self._transport = transport
        self._path = path_of(method)
        self._observed = observe(endpoint, method)
        self._attempts = Attempts(endpoint, method, math.inf, True, monotonic())

    def fileno(self) -> int:
        """Return the file descriptor to wait for. It may change with `advance`."""
        return self._exchange.fileno()

    @property
    def phase(self) -> str:
        """What the call is waiting for, as in ``CallTimeout.phase``."""
        return self._exchange.phase

    def send(self) -> bool:
        """Return whether the call was sent; it is not if connecting would have to wait.

        Raises:
            ExtframeError: as `Client.begin`.
        """
        while True:
            try:
                exchange = self._transport.begin(self._path, b"", self._observed)
            except TransportError as failure:  # noqa: PERF203 - it is rare, and the loop short
                if not self._is_retried(failure):
                    self._end(failure)
                    raise
            else:
                if exchange is None:
                    self._end(ConnectError("the plugin takes no connection now: the call is made by a thread"))
                    return False
                self._exchange = exchange
                return True

    def advance(self) -> bytes | None:
        """Read what has arrived, and return the body of the reply once all of it has.

        Raises:
            ExtframeError: as `Client.begin`.
        """
        try:
            response = self._transport.advance(self._exchange)
            if response is None:
                return None
            whole(response)
        except TransportError as failure:
            if self._is_retried(failure) and self.send():
                return None
            self._end(failure)
            raise
        self._attempts.succeed()
        return self._ended(response)

    @property
    def patience(self) -> float | None:
        """The seconds of silence after which to `settle`; None before the body of the reply."""
        return self._exchange.patience if self._exchange.phase is BODY else None

    def settle(self) -> bytes | None:
        """Return the body of a reply whose end does not arrive, if its JSON has, as `Exchange.settle` says."""
        response = self._exchange.settle()
        if response is None:
            return None
        self._transport.abandon(self._exchange)
        self._attempts.succeed()
        return self._ended(response)

    def abandon(self, failure: ExtframeError | None = None) -> None:
        """Close the connection. ``failure`` is the reason, if there is one."""
        self._transport.abandon(self._exchange)
        self._end(failure or ConnectionLost("the call was abandoned"))

    def _ended(self, response: Response) -> bytes:
        try:
            body = body_of(response)
        except ExtframeError as failure:
            self._end(failure)
            raise
        self._end(None)
        return body

    def _end(self, failure: ExtframeError | None) -> None:
        if self._observed is not None:
            self._observed.end(failure)

    def _is_retried(self, failure: TransportError) -> bool:
        now = monotonic()
        if self._attempts.wait_after(failure, now) == 0:
            return True
        self._attempts.give_up(failure, now)
        return False
