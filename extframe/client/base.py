"""BaseClient: the endpoint, transport and shutdown of a client, and the attempts of its calls. Knows no JSON."""

from __future__ import annotations

import os
from collections.abc import Callable, Collection
from time import monotonic
from types import TracebackType
from typing import TYPE_CHECKING, TypeVar

from ..concurrency.deadlines import check_timeout
from ..concurrency.event import Event
from ..errors import ConnectError, TransportError
from .attempts import Attempts
from .transport import Transport

if TYPE_CHECKING:
    from typing_extensions import Self

    from ..protocol import TLSConfig
    from .endpoint import Endpoint
    from .session import PluginSession
    from .transport import ConnectionPool

R = TypeVar("R")


class BaseClient:
    """What makes the attempts of calls and is closed in the end: `Client` without the calls.

    Args:
        endpoint: the plugin, which clients may share.
        pool: connections shared with other clients; its own where None.
    """

    def __init__(self, endpoint: Endpoint, *, pool: ConnectionPool | None = None) -> None:
        self.endpoint = endpoint
        self._pool = pool
        self._closed = Event()
        self._sessions: dict[int, PluginSession] = {}  # by process
        self._transport = self._new_transport()
        endpoint.follow(self._reconnect)

    def _new_transport(self) -> Transport:
        endpoint = self.endpoint
        return Transport(
            endpoint.address,
            endpoint.tls,
            limits=endpoint.limits,
            pool=self._pool,
            keep_alive=endpoint.keep_alive,
            peer_uids=endpoint.peer_uids,
        )

    @property
    def address(self) -> str:
        """The address of the plugin."""
        return self.endpoint.address.text

    @property
    def plugin(self) -> str | None:
        """The name of the plugin, which errors carry."""
        return self.endpoint.plugin

    @property
    def timeout(self) -> float:
        """The seconds for a whole call that does not give its own. Can be set.

        Raises:
            TypeError, ValueError: on setting something other than a positive number of seconds, or math.inf.
        """
        return self.endpoint.timeout

    @timeout.setter
    def timeout(self, seconds: float) -> None:
        self.endpoint.timeout = check_timeout(seconds)

    @property
    def last_error(self) -> Exception | None:
        """The failure that opened the circuit breaker; None while it is closed."""
        return self.endpoint.circuit.last_error

    @property
    def next_try(self) -> float | None:
        """When the open circuit breaker lets a call through, a ``time.monotonic()`` value; None while it is closed."""
        return self.endpoint.circuit.next_try

    def _attempt(self, method: str, send: Callable[[float], R], seconds: float, idempotent: bool = False) -> R:
        """Return what ``send`` returns, which takes a deadline, after as many attempts as `Attempts` allows."""
        attempts = Attempts(self.endpoint, method, seconds, idempotent, monotonic())
        try:
            while True:
                transport = self._transport
                try:
                    result = send(attempts.deadline)
                except TransportError as failure:
                    wait = attempts.wait_after(failure, monotonic(), moved=self._transport is not transport)
                    if wait is None or self._closed.wait(wait) or not attempts.may_continue(monotonic()):
                        attempts.give_up(failure, monotonic())
                        raise
                else:
                    attempts.succeed()
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
            )
            session = self._sessions.setdefault(process, session)
        return session

    # Address and shutdown.

    def retarget(self, address: str, *, tls: TLSConfig | None = None, peer_uids: Collection[int] | None = None) -> None:
        """Use another address from now on. Calls under way end where they began.

        Args:
            address, tls, peer_uids: as for `Client`.

        Raises:
            SpecError: the address is invalid.
        """
        self.endpoint.retarget(address, tls, peer_uids)

    def _reconnect(self) -> None:
        before, self._transport = self._transport, self._new_transport()
        before.close()
        self._close_session()
        if self._closed.is_set():
            self._transport.close()

    def close(self) -> None:
        """Close the connections and wake calls that wait for a retry. Later calls raise ConnectError."""
        self._closed.set()
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

    def __repr__(self) -> str:
        name = f"{self.plugin!r} at " if self.plugin else ""
        return f"<{type(self).__name__} {name}{self.address}>"
