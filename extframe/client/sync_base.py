"""SyncClientBase: the attempts of calls that block, the session and the shutdown of a client. Knows no JSON."""

from __future__ import annotations

import os
from collections.abc import Callable
from functools import partial
from time import monotonic
from types import TracebackType
from typing import TYPE_CHECKING, TypeVar

from ..concurrency.deadlines import left
from ..concurrency.event import Event
from ..concurrency.threads import Worker
from ..errors import ConnectError, ExtframeError, TransportError
from .base import BaseClient
from .connection import forks
from .transport import Transport

if TYPE_CHECKING:
    from typing_extensions import Self

    from ..protocol import Manifest
    from .attempts import Attempts
    from .failover import Failover
    from .instances import Instance, Instances
    from .session import PluginSession
    from .stream_rules import StreamRules
else:
    from ..concurrency.late_types import Self, late

    PluginSession = late("extframe.client.session", "PluginSession")

R = TypeVar("R")


class SyncClientBase(BaseClient):
    """What makes the attempts of calls and is closed in the end: `Client` without the calls."""

    def _open(self) -> None:
        self._closed = Event()
        self._sessions: dict[int, PluginSession] = {}  # by process
        self._transports: dict[Instance, Transport] = {}
        self._handshakes: set[_Handshake] = set()  # that are under way
        self._beginnings: set[_Handshake] = set()  # one for each thread that is about to begin handshakes
        self._transport = self._new_transport(Transport)

    def _attempt(  # noqa: C901 - one loop, in which `attempts` decides
        self,
        attempts: Attempts | Failover,
        send: Callable[[Transport, float], R],
        rules: StreamRules | None = None,
    ) -> R:
        """Return what ``send`` returns, which takes a transport and a deadline, after as many attempts as are allowed.

        ``rules`` are those of a stream, which ``send`` opens.
        """
        try:
            while True:
                instance = attempts.instance
                transport = self._transport if instance is None else self._transport_to(instance)
                try:
                    if (guard := self.endpoint.guard) is not None:
                        guard(attempts.method, attempts.deadline)
                        transport = self._transport if instance is None else self._transport_to(instance)
                    result = send(transport, attempts.deadline)
                except TransportError as failure:
                    wait = attempts.wait_after(failure, monotonic(), moved=self._transport is not transport)
                    if wait is None or self._closed.wait(wait) or not attempts.may_continue(monotonic()):
                        attempts.give_up(failure, monotonic())
                        raise
                else:
                    if rules is not None:
                        rules.record_sent()
                    elif instance is not None and attempts.is_elsewhere(getattr(result, "status", 200)):
                        continue
                    else:
                        attempts.succeed()
                    return result
        except BaseException:
            attempts.abandon()
            raise

    # Several instances.

    def _transport_to(self, instance: Instance) -> Transport:
        transport = self._transports.get(instance)
        if transport is None:
            transport = self._transports.setdefault(instance, self._new_transport(Transport, instance))
            if self._closed.is_set():
                transport.close()
            elif self._is_outdated(instance, transport):  # since a retarget meanwhile: for this call only
                self._transports.pop(instance, None)
        return transport

    def _begin_due(self, instances: Instances, *, everyone: bool = False) -> None:
        beginning = _Handshake()
        self._beginnings.add(beginning)  # first: to another thread the handshakes are not due any more
        try:
            super()._begin_due(instances, everyone=everyone)
        finally:
            self._beginnings.discard(beginning)
            beginning.ended.set()

    def _begin_handshake(self, instance: Instance) -> None:
        under_way = _Handshake()
        self._handshakes.add(under_way)  # before its thread starts, which removes it
        shake_hands, is_started = partial(self._shake_hands, instance, under_way), False
        try:
            is_started = Worker(shake_hands, f"extframe handshake with {instance.address}").started
        finally:
            if not is_started:  # the system has no thread, or Ctrl-C came before it started
                self._handshakes.discard(under_way)
                if self.endpoint.instances is not None:
                    self.endpoint.instances.abandon_handshake(instance)

    def _shake_hands(self, instance: Instance, under_way: _Handshake) -> None:
        """Make the handshake with one instance, and record how it ended."""
        handshake = self._new_handshake(instance)
        try:
            while True:
                try:
                    response = self._transport_to(instance).exchange(
                        handshake.path, b"", handshake.deadline, handshake.observed
                    )
                    return handshake.succeed(response, monotonic())
                except ExtframeError as failure:  # noqa: PERF203 - it is rare, and the loop short
                    if not handshake.is_retried(failure, monotonic()):
                        return None
        except BaseException as error:
            handshake.abandon()
            under_way.error = error
            raise
        finally:
            self._handshakes.discard(under_way)
            under_way.ended.set()

    def _shake_all_hands(self, instances: Instances, deadline: float) -> Manifest:
        """Make the handshakes that are due, and return what the instances that responded implement together.

        Raises:
            ExtframeError: none responded.
        """
        from .instance_handshake import GRACE, joint_manifest

        self._begin_due(instances, everyone=True)
        for beginning in list(self._beginnings):
            beginning.wait(deadline)
        under_way = list(self._handshakes)
        for until in (min(deadline, monotonic() + GRACE), deadline):
            for each in under_way:
                each.wait(until)
            if instances.is_any_ready:
                break
        return joint_manifest(instances)

    # Other HTTP.

    @property
    def session(self) -> PluginSession:
        """A ``requests.Session`` bound to this plugin, for what `call` does not cover: GET, hooks, auth, adapters.

        ::

            client.session.post("VolumeDriver.List").json()  # {'Volumes': []}

        Its timeouts, per connect and per read, and its errors are those of requests. requests is imported at the
        first use.
        """
        process = os.getpid()
        while True:
            if self._closed.is_set():
                raise ConnectError("the client is closed", plugin=self.plugin, address=self.address)
            session = self._sessions.get(process)
            if session is not None:
                return session
            transport = self._transport
            session = self._sessions.setdefault(process, self._new_session(transport))
            if transport is self._transport and not self._closed.is_set():
                return session
            if session is self._sessions.get(process):  # the client was retargeted, or closed, meanwhile
                self._close_session()

    def _new_session(self, transport: Transport) -> PluginSession:
        from .session import PluginSession

        return PluginSession(
            transport.address,
            tls=transport.tls_context(),
            timeout=self.timeout,
            peer_uids=transport.peer_uids,
            admit=self._admit,
        )

    def _admit(self, method: str) -> None:
        """Do nothing if a request that is not a call may be sent."""
        if (guard := self.endpoint.guard) is not None:
            guard(method, monotonic() + self.timeout)

    # Shutdown.

    def _reconnect(self) -> None:
        before, self._transport = self._transport, self._new_transport(Transport)
        before.close()
        self._close_outdated(self._transports)
        self._close_session()
        if self._closed.is_set():
            self._transport.close()

    def close(self) -> None:
        """Close the connections, and the streams that follow, and wake calls that wait for a retry.

        Other calls under way go on to their end. Later ones raise ConnectError.
        """
        self._closed.set()
        self._close_streams()
        self._transport.close()
        for transport in list(self._transports.values()):
            transport.close()
        self._close_session()

    def _close_session(self) -> None:
        session = self._sessions.pop(os.getpid(), None)
        if session is not None:
            session.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()


class _Handshake:
    """A handshake with an instance, or the beginning of some, which a thread of this process makes."""

    def __init__(self) -> None:
        self.ended = Event()
        self.error: BaseException | None = None
        self._forks = forks()

    def wait(self, until: float) -> None:
        """Wait for its end, until then at the latest; raise what the thread raised. A parent's is not waited for."""
        if self._forks == forks() and self.ended.wait(left(until)) and self.error is not None:
            raise self.error
