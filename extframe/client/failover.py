"""Failover: the attempts of one call to a plugin with several instances. Decides; never sends or waits.

The sync and the async client drive it as they drive `Attempts`, so that there is one set of rules.
"""

from __future__ import annotations

import errno
from typing import TYPE_CHECKING, Protocol

from ..errors import CallTimeout, ConnectError, ConnectionLost, PluginUnavailable, TransportError
from .connection import CONNECT, LOOKUP
from .method_path import is_handshake

if TYPE_CHECKING:
    from ..errors import ExtframeError
    from .instances import Instance, Instances
    from .retry import Retry

_LOCAL = (errno.EMFILE, errno.ENFILE, errno.ENOMEM, errno.ENOBUFS, errno.EADDRNOTAVAIL)
"""Why this host cannot connect to any instance."""
_CONNECTING = (LOOKUP, CONNECT, "TLS handshake")


class Listener(Protocol):
    """What `Failover` needs of a `ClientListener`."""

    @property
    def was_active(self) -> bool:
        """Whether the plugin has been active."""

    def connection_refused(self, began: float) -> object:
        """Handle that no instance is left."""


class Plugin(Protocol):
    """What `Failover` needs of a `PluginEndpoint`."""

    @property
    def instances(self) -> Instances | None:
        """The instances."""

    @property
    def retry(self) -> Retry:
        """What is retried if no instance is left."""

    @property
    def listener(self) -> Listener | None:
        """Is notified if no instance is left."""

    def describe(self, failure: ExtframeError, method: str, seconds: float, instance: Instance | None) -> None:
        """Add to an error what it was about."""


class Failover:
    """The attempts of one call. All times are ``time.monotonic()`` values that the caller passes in.

    It has the methods of `Attempts`; each attempt goes to ``instance``, which changes after a failure. A call is sent
    to another instance if nothing of it was sent to the first, or if it is idempotent. Only if no instance is left,
    the rules of the plugin's `Retry` apply, with its wait for a restart.

    Args:
        endpoint: the plugin; has instances.
        method: ``VolumeDriver.Mount``; a leading slash is allowed.
        seconds: the timeout of the whole call.
        idempotent: whether the call may be executed twice.
        now: the time.
        only: the one instance that is called, where a method is called on each of them.
        is_file: whether the request is a file, which can be read only once.

    Raises:
        PluginUnavailable: the circuit breaker of every instance is open.
    """

    __slots__ = (
        "_began", "_count", "_endpoint", "_failed", "_idempotent", "_instances", "_is_counted", "_is_file", "_is_probe",
        "_method", "_only", "_responses", "_seconds", "_started", "_tried", "deadline", "instance",
    )  # fmt: skip

    instance: Instance
    """The instance to which the next attempt goes."""

    def __init__(
        self,
        endpoint: Plugin,
        method: str,
        seconds: float,
        idempotent: bool,
        now: float,
        *,
        only: Instance | None = None,
        is_file: bool = False,
    ) -> None:
        if endpoint.instances is None:
            raise ValueError("the plugin has one instance")
        self.deadline = now + seconds
        self._endpoint = endpoint
        self._instances = endpoint.instances
        self._method = method.lstrip("/").partition("?")[0]
        self._seconds = seconds
        self._idempotent = idempotent
        self._only = only
        self._is_file = is_file
        self._started = now
        self._failed: list[type[TransportError]] = []  # when no instance was left
        self._count = 0  # of failed attempts
        self._tried: set[Instance] = set()
        self._is_counted = False
        self._is_probe = False
        self._begin(only or self._next(now), now)

    def wait_after(self, failure: TransportError, now: float, *, moved: bool = False) -> float | None:
        """Return the seconds to wait before the next attempt, or None if there is none; see `Attempts.wait_after`."""
        self._count += 1
        is_gone = self._record_failure(failure, now)
        self.abandon()
        if not is_gone or now >= self.deadline or self._only is not None:
            return None
        is_unsent = not isinstance(failure, ConnectionLost)
        if not is_unsent and not self._idempotent:
            return None
        other = self._instances.choose(self._method, self._tried)
        if other is not None:
            self._begin(other, now)
            return 0.0
        return self._restart_wait(failure, now)

    def may_continue(self, now: float) -> bool:
        """Return whether there is time for the next attempt, which begins now."""
        if not self._is_counted:
            self._begin(self._next(now), now)
        self._began = now
        return now < self.deadline

    def give_up(self, failure: TransportError, now: float) -> None:
        """Record that the call failed, and add to ``failure`` what it was about."""
        if not self._count:  # a stream that follows: its request was sent
            self._record_failure(failure, now)
        if self._count > 1:
            failure.message += (
                f"; {self._count} attempts at {len(self._instances)} instances in {now - self._started:.1f} s"
            )
        self._endpoint.describe(failure, self._method, self._seconds, self.instance)

    def follow(self) -> None:
        """Record that the request of a stream that follows was sent; see `Attempts.follow`."""
        self.abandon()
        self._count = 0

    def succeed(self) -> None:
        """Record that the instance responded. A stream does so whenever bytes arrive."""
        circuit = self.instance.circuit
        circuit.responses += 1
        if circuit.failures or self._is_probe:
            circuit.record_response()
        if self._is_counted:
            self.abandon()

    def is_elsewhere(self, status: int) -> bool:
        """Return whether the call goes to another instance, as this one responded that it lacks the method.

        That is the case while an upgrade is rolled out and the manifests of the instances differ.
        """
        if status != 404 or self._only is not None or is_handshake(self._method):
            return False
        other = self._instances.elsewhere(self.instance, self._method, self._tried)
        if other is None or self._is_file:
            return False
        self.succeed()
        self._begin(other, self._began)
        return True

    def abandon(self) -> None:
        """Record that the attempt, or the call, has ended."""
        if self._is_counted:
            self._is_counted = False
            if self.instance.calls:  # not in a child that was forked during the call
                self.instance.calls.pop()
        if self._is_probe:
            self._is_probe = False
            self.instance.circuit.end_probe()

    @property
    def method(self) -> str:
        """The method that is called."""
        return self._method

    def _next(self, now: float) -> Instance:
        """Return the instance for the first attempt, or the first after a wait."""
        chosen = self._instances.choose(self._method, self._tried)
        return chosen or self._instances.last_resort(now, self._tried)

    def _begin(self, instance: Instance, now: float) -> None:
        circuit = instance.circuit
        self.instance = instance
        try:
            self._is_probe = circuit.is_open and not is_handshake(self._method) and circuit.admit(now)
        except PluginUnavailable:  # its circuit was opened just now, and it is about to be left out
            self._tried.add(instance)
            other = self._instances.choose(self._method, self._tried) if self._only is None else None
            if other is None:
                raise
            self._begin(other, now)
            return
        self._responses = circuit.responses
        self._began = now
        self._tried.add(instance)
        instance.calls.append(None)
        self._is_counted = True

    def _record_failure(self, failure: TransportError, now: float) -> bool:
        """Record a failure of the instance; return whether another one may be called."""
        circuit = self.instance.circuit
        if not is_handshake(self._method):
            began = self._began
            circuit.record_failure(failure, began, now, is_probe=self._is_probe, responses=self._responses)
        is_gone = _is_gone(failure) and not (now >= self.deadline and isinstance(failure, CallTimeout))
        if is_gone or circuit.is_open:
            self._instances.leave_out(self.instance, now)
        return is_gone

    def _restart_wait(self, failure: TransportError, now: float) -> float | None:
        """Return the wait for a restart, as no instance is left."""
        self._report_refusal(failure)
        self._tried.clear()
        if isinstance(failure, CallTimeout):
            return 0.0  # it took its time, and another host may accept the connection
        self._failed.append(type(failure))
        listener = self._endpoint.listener
        wait = self._endpoint.retry.wait_after(
            failure,
            self._failed.count(type(failure)),
            now - self._started,
            idempotent=self._idempotent,
            was_active=listener is not None and listener.was_active and not is_handshake(self._method),
        )
        return wait if wait is not None and now + wait < self.deadline else None

    def _report_refusal(self, failure: TransportError) -> None:
        listener = self._endpoint.listener
        if listener is not None and isinstance(failure.__cause__, ConnectionRefusedError | FileNotFoundError):
            listener.connection_refused(self._began)


def _is_gone(failure: TransportError) -> bool:
    """Return whether a failure says that the instance cannot be reached, so that another one may."""
    if isinstance(failure, CallTimeout):
        return failure.phase in _CONNECTING
    if isinstance(failure, ConnectError):
        return getattr(failure.__cause__, "errno", None) not in _LOCAL
    return isinstance(failure, ConnectionLost)
