"""Attempts: after each failure of a call, whether there is another attempt and when. Decides; never sends or waits.

The sync and the async client drive the same object, so that there is one set of rules.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from ..errors import ConnectError, TransportError
from .endpoint import PluginEndpoint
from .method_path import is_handshake

if TYPE_CHECKING:
    from .instances import Instance


class Attempts:
    """The attempts of one call. All times are ``time.monotonic()`` values that the caller passes in.

    One is made for each call: its arguments are positional, as keywords would double the time that takes.

    A client drives it like this; an async client does the same with ``await``::

        attempts = Attempts(endpoint, method, seconds, False, monotonic())
        try:
            while True:
                try:
                    result = send(attempts.deadline)
                except TransportError as failure:
                    wait = attempts.wait_after(failure, monotonic())
                    if wait is None or is_closed_after(wait) or not attempts.may_continue(monotonic()):
                        attempts.give_up(failure, monotonic())
                        raise
                else:
                    attempts.succeed()
                    return result
        except BaseException:
            attempts.abandon()
            raise

    A handshake bypasses the circuit breaker, also when it fails, and does not wait for a restart: it is how a restart
    is noticed.

    Args:
        endpoint: the plugin.
        method: ``VolumeDriver.Mount``; a leading slash is allowed.
        seconds: the timeout of the whole call.
        idempotent: whether the call may be executed twice.
        now: the time.

    Raises:
        PluginUnavailable: the circuit breaker is open.
    """

    __slots__ = (
        "_began", "_endpoint", "_failed", "_idempotent", "_is_probe", "_method", "_responses", "_seconds", "_started",
        "deadline",
    )  # fmt: skip

    instance: Instance | None = None
    """The plugin has one instance; see `Failover`."""

    def __init__(self, endpoint: PluginEndpoint, method: str, seconds: float, idempotent: bool, now: float) -> None:
        self.deadline = now + seconds
        self._endpoint = endpoint
        self._method = method
        self._seconds = seconds
        self._idempotent = idempotent
        self._started = self._began = now
        self._failed: list[type[TransportError]] = []
        circuit = endpoint.circuit
        self._responses = circuit.responses
        self._is_probe = circuit.is_open and not is_handshake(method) and circuit.admit(now)

    def wait_after(self, failure: TransportError, now: float, *, moved: bool = False) -> float | None:
        """Return the seconds to wait before the next attempt, or None if there is none.

        Args:
            failure: how the attempt ended.
            now: the time.
            moved: whether the endpoint was retargeted during the attempt.
        """
        if moved and isinstance(failure, ConnectError):
            return 0.0  # the connections to the old address were closed just before one was used
        self._report_refusal(failure)
        self._failed.append(type(failure))
        wait = self._endpoint.retry.wait_after(
            failure,
            self._failed.count(type(failure)),
            now - self._started,
            idempotent=self._idempotent,
            was_active=self._was_active,
        )
        return wait if wait is not None and now + wait < self.deadline else None

    def may_continue(self, now: float) -> bool:
        """Return whether there is time for the next attempt, which begins now."""
        self._began = now
        return now < self.deadline  # a busy machine may prolong a wait

    def give_up(self, failure: TransportError, now: float) -> None:
        """Record that the call failed, and add to ``failure`` what it was about."""
        if len(self._failed) > 1:
            failure.message += f"; {len(self._failed)} attempts in {now - self._started:.1f} s"
        self._endpoint.describe(failure, self._method, self._seconds)
        if not is_handshake(self._method):  # a host that waits for a plugin makes many of these
            self._endpoint.circuit.record_failure(
                failure, self._started, now, is_probe=self._is_probe, responses=self._responses
            )

    def follow(self) -> None:
        """Record that the request of a stream that follows was sent, whose response may take days.

        The call is not a probe any more. It ends with `succeed`, once the response begins, or with `give_up`.
        """
        self.abandon()
        self._is_probe = False
        self._failed.clear()

    def succeed(self) -> None:
        """Record that the plugin responded. A stream does so whenever bytes arrive."""
        circuit = self._endpoint.circuit
        circuit.responses += 1  # two threads may count one together: only whether it changed matters
        if circuit.failures or self._is_probe:
            circuit.record_response()
            self.abandon()

    def is_elsewhere(self, status: int) -> bool:
        """Return False: the plugin has one instance; see `Failover.is_elsewhere`."""
        return False

    def abandon(self) -> None:
        """Let the circuit breaker admit the next probe, if this call was one."""
        if self._is_probe:
            self._endpoint.circuit.end_probe()

    @property
    def method(self) -> str:
        """The method that is called."""
        return self._method

    @property
    def _was_active(self) -> bool:
        listener = self._endpoint.listener
        return listener is not None and listener.was_active and not is_handshake(self._method)

    def _report_refusal(self, failure: TransportError) -> None:
        listener = self._endpoint.listener
        if listener is not None and isinstance(failure.__cause__, ConnectionRefusedError | FileNotFoundError):
            listener.connection_refused(self._began)
