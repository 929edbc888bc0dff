"""SyncClientBase: the attempts of calls that block, the session and the shutdown of a client. Knows no JSON."""

from __future__ import annotations

import os
from collections.abc import Callable
from time import monotonic
from types import TracebackType
from typing import TYPE_CHECKING, TypeVar

from ..concurrency.event import Event
from ..errors import ConnectError, TransportError
from .base import BaseClient
from .transport import Transport

if TYPE_CHECKING:
    from typing_extensions import Self

    from .attempts import Attempts
    from .session import PluginSession
    from .stream_rules import StreamRules

R = TypeVar("R")


class SyncClientBase(BaseClient):
    """What makes the attempts of calls and is closed in the end: `Client` without the calls."""

    def _open(self) -> None:
        self._closed = Event()
        self._sessions: dict[int, PluginSession] = {}  # by process
        self._transport = self._new_transport(Transport)

    def _attempt(self, attempts: Attempts, send: Callable[[float], R], rules: StreamRules | None = None) -> R:
        """Return what ``send`` returns, which takes a deadline, after as many attempts as are allowed.

        ``rules`` are those of a stream, which ``send`` opens.
        """
        try:
            while True:
                transport = self._transport
                try:
                    if (guard := self.endpoint.guard) is not None:
                        guard(attempts.method, attempts.deadline)
                        transport = self._transport
                    result = send(attempts.deadline)
                except TransportError as failure:
                    wait = attempts.wait_after(failure, monotonic(), moved=self._transport is not transport)
                    if wait is None or self._closed.wait(wait) or not attempts.may_continue(monotonic()):
                        attempts.give_up(failure, monotonic())
                        raise
                else:
                    if rules is None:
                        attempts.succeed()
                    else:
                        rules.record_sent()
                    return result
        except BaseException:
            attempts.abandon()
            raise

    # Other HTTP.

    @property
    def session(self) -> PluginSession:
        """A ``requests.Session`` bound to this plugin, for what `call` does not cover: GET, hooks, auth, adapters.

        ::

            client.session.post("VolumeDriver.List").json()  # {'Volumes': []}

        Its timeouts, per connect and per read, and its errors are those of requests. requests is imported at the
        first use.
        """
        if self._closed.is_set():
            raise ConnectError("the client is closed", plugin=self.plugin, address=self.address)
        process = os.getpid()
        session = self._sessions.get(process)
        if session is None:
            from .session import PluginSession

            transport = self._transport
            session = PluginSession(
                transport.address,
                tls=transport.tls_context(),
                timeout=self.timeout,
                peer_uids=self.endpoint.peer_uids,
                admit=self._admit,
            )
            session = self._sessions.setdefault(process, session)
        return session

    def _admit(self, method: str) -> None:
        """Do nothing if a request that is not a call may be sent."""
        if (guard := self.endpoint.guard) is not None:
            guard(method, monotonic() + self.timeout)

    # Shutdown.

    def _reconnect(self) -> None:
        before, self._transport = self._transport, self._new_transport(Transport)
        before.close()
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
