"""AsyncClientBase: the attempts of awaited calls, the event loop and the shutdown of a client. Knows no JSON."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from contextvars import Context
from time import monotonic
from types import TracebackType
from typing import TYPE_CHECKING, Concatenate, ParamSpec, TypeVar

from ..concurrency.tasks import done_by_all
from ..errors import ExtframeError, TransportError
from .async_transport import AsyncTransport
from .base import BaseClient
from .client import Client
from .loop_binding import LoopBinding

if TYPE_CHECKING:
    from typing_extensions import Self

    from ..protocol import Manifest
    from .attempts import Attempts
    from .failover import Failover
    from .instances import Instance, Instances
    from .stream_rules import StreamRules
else:
    from ..concurrency.late_types import Self

R = TypeVar("R")
P = ParamSpec("P")


class AsyncClientBase(BaseClient):
    """What makes the attempts of calls and is closed in the end: `AsyncClient` without the calls."""

    _sync: Client | None = None

    def _open(self) -> None:
        self._is_closed = False
        self._pauses: set[asyncio.Future[None]] = set()  # of calls that wait for a retry
        self._binding = LoopBinding(repr(self), self._bind)
        self._transports: dict[Instance, AsyncTransport] = {}
        self._handshakes: set[asyncio.Task[None]] = set()  # that are under way
        self._transport = self._new_transport(AsyncTransport)

    def _bind(self, loop: asyncio.AbstractEventLoop) -> None:
        self._pauses = set()
        self._handshakes = set()
        for transport in (self._transport, *self._transports.values()):
            transport.reset()

    async def _attempt(  # noqa: C901 - one loop, in which `attempts` decides
        self,
        attempts: Attempts | Failover,
        rules: StreamRules | None,
        send: Callable[Concatenate[AsyncTransport, float, P], Awaitable[R]],
        *args: P.args,
        **kwargs: P.kwargs,
    ) -> R:
        """Return what a method of the transport returns, which takes a deadline, after as many attempts as allowed.

        ``rules`` are those of a stream, which the method opens. The arguments are not in a closure, whose cells would
        be an eighth of the objects of each call.
        """
        try:
            self._binding.check()
            while True:
                instance = attempts.instance
                transport = self._transport if instance is None else self._transport_to(instance)
                try:
                    if (guard := self.endpoint.async_guard) is not None:
                        await guard(attempts.method, attempts.deadline)
                        transport = self._transport if instance is None else self._transport_to(instance)
                    result = await send(transport, attempts.deadline, *args, **kwargs)
                except TransportError as failure:
                    wait = attempts.wait_after(failure, monotonic(), moved=self._transport is not transport)
                    if wait is None or await self._is_closed_after(wait) or not attempts.may_continue(monotonic()):
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
        except BaseException:  # also where the task was cancelled: that says nothing about the plugin
            attempts.abandon()
            raise

    async def _is_closed_after(self, seconds: float) -> bool:
        """Wait for some seconds, or until the client is closed; return whether it is."""
        if not self._is_closed:
            loop = asyncio.get_running_loop()
            pause: asyncio.Future[None] = loop.create_future()
            timer = loop.call_later(seconds, _end, pause, context=Context())
            self._pauses.add(pause)
            try:
                await pause
            finally:
                self._pauses.discard(pause)
                timer.cancel()
        return self._is_closed

    # Several instances.

    def _transport_to(self, instance: Instance) -> AsyncTransport:
        transport = self._transports.get(instance)
        if transport is None:
            transport = self._transports[instance] = self._new_transport(AsyncTransport, instance)
            if self._is_closed:
                transport.close()
            elif self._is_outdated(instance, transport):  # since a retarget meanwhile: for this call only
                self._transports.pop(instance, None)
        return transport

    def _begin_handshake(self, instance: Instance) -> None:
        # In an empty context: it belongs to no call.
        task = Context().run(self._binding.check().create_task, self._shake_hands(instance))
        self._handshakes.add(task)
        task.add_done_callback(self._handshakes.discard)

    async def _shake_hands(self, instance: Instance) -> None:
        """Make the handshake with one instance, and record how it ended."""
        handshake = self._new_handshake(instance)
        try:
            while True:
                try:
                    response = await self._transport_to(instance).exchange(
                        handshake.deadline, handshake.path, b"", True, handshake.observed
                    )
                    return handshake.succeed(response, monotonic())
                except ExtframeError as failure:  # noqa: PERF203 - it is rare, and the loop short
                    if not handshake.is_retried(failure, monotonic()):
                        return None
        except BaseException:
            handshake.abandon()
            raise

    async def _shake_all_hands(self, instances: Instances, deadline: float) -> Manifest:
        """Make the handshakes that are due, and return what the instances that responded implement together.

        Raises:
            ExtframeError: none responded.
        """
        from .instance_handshake import GRACE, joint_manifest

        self._begin_due(instances, everyone=True)
        under_way = list(self._handshakes)
        for until in (min(deadline, monotonic() + GRACE), deadline):
            await done_by_all(under_way, until)
            if instances.is_any_ready:
                break
        return joint_manifest(instances)

    @property
    def sync(self) -> Client:
        """A `Client` for the same plugin, with the same circuit breaker, for code that runs in a thread.

        It is created at the first use, has connections of its own, and is closed with this client.
        """
        client = self._sync
        if client is None:
            made = Client.on(self.endpoint, pool=self._pool)
            client = vars(self).setdefault("_sync", made)
            if client is not made:  # another thread was first
                self.endpoint.unfollow(made._reconnect)
            if self._is_closed:
                client.close()
        return client

    # Shutdown.

    def _reconnect(self) -> None:
        before, transport = self._transport, self._new_transport(AsyncTransport)
        self._transport = transport
        before.close()
        self._close_outdated(self._transports)
        if self._is_closed:
            transport.close()

    async def aclose(self) -> None:
        """Close the connections, and the streams that follow, and end the waits for a retry.

        Other calls under way go on to their end. Later ones raise ConnectError.
        """
        self._close()

    def _close(self) -> None:
        self._is_closed = True
        self._close_streams()
        for transport in (self._transport, *self._transports.values()):
            transport.close()
        for handshake in list(self._handshakes):
            handshake.cancel()
        for pause in self._pauses:
            _end(pause)
        if self._sync is not None:
            self._sync.close()

    def __del__(self) -> None:
        # The event loop knows the connections, and would keep them as long as it runs.
        if hasattr(self, "_transport"):
            for transport in (self._transport, *self._transports.values()):
                transport.close()

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._close()


def _end(pause: asyncio.Future[None]) -> None:
    if not pause.done():
        pause.set_result(None)
