"""AsyncPlugin: one plugin of an async host, and its handshake made by tasks. Calls no handler."""

from __future__ import annotations

import asyncio
import math
from collections.abc import Awaitable, Callable, Coroutine
from functools import partial
from time import monotonic
from typing import TYPE_CHECKING, Any, Protocol, TypeVar, overload

from ..client.async_client import AsyncClient
from ..concurrency.async_threads import call_in_thread
from ..concurrency.deadlines import check_timeout
from ..concurrency.locks import signal_safe_lock
from ..concurrency.tasks import done_by, set_done
from ..errors import ExtframeError
from ..protocol import Manifest, PluginSpec
from .async_configurator import AsyncConfigurator
from .lifecycle import State, Turn
from .plugin_base import PluginBase, driver_of, handshake_time, where
from .plugin_contracts import Approval, PluginListener
from .plugin_errors import cause_of, closed_error, is_own_error
from .settings import ManagerSettings, Prepared

if TYPE_CHECKING:
    from ..interface.async_interface import AsyncInterface
else:
    from ..concurrency.late_types import late

    AsyncInterface = late("extframe.interface.async_interface", "AsyncInterface")

T = TypeVar("T", bound="AsyncInterface")
R = TypeVar("R")


class Approves(Protocol):
    """Decides whether plugins may be used."""

    @property
    def is_asked(self) -> bool:
        """Whether there is something to decide."""

    async def ask(self, plugin: AsyncPlugin, manifest: Manifest, deadline: float) -> Approval:
        """Return as what a plugin may be used.

        Raises:
            ActivationVetoed: it may not.
        """
        raise NotImplementedError


class AsyncPlugin(PluginBase[AsyncClient]):
    """A program outside the host that speaks the plugin protocol. ``AsyncPluginManager.get`` returns it, active.

    ``client`` stays the same for as long as the manager knows the plugin: drivers that use it keep working after
    the plugin restarts or moves to another address.

    Args:
        spec: what the registry found.
        connect: creates the client; called as `AsyncClient` is.
        listener: receives new states.
        approver: decides after each handshake whether the plugin may be used; every plugin may where None.
    """

    def __init__(
        self,
        spec: PluginSpec,
        connect: Callable[..., AsyncClient],
        *,
        listener: PluginListener | None = None,
        approver: Approves | None = None,
        settings: ManagerSettings | None = None,
    ) -> None:
        client = connect(spec.address, plugin=spec.name, listener=self, **where(spec))
        # A lock, as a sync client in a thread may report a refused connection.
        self._configurator = AsyncConfigurator(settings or ManagerSettings(), lambda: self._spec)
        super().__init__(spec, client, signal_safe_lock(), listener=listener, settings=self._configurator)
        self._waiters: set[asyncio.Future[None]] = set()  # for the handshake under way
        self._approver = approver
        self._call: asyncio.Task[Any] | None = None  # of that handshake

    @overload
    def driver(self, interface: type[T]) -> T: ...
    @overload
    def driver(self, interface: str) -> Any: ...
    def driver(self, interface: str | type[AsyncInterface]) -> Any:
        """Return an object through which the plugin is used as one extension point.

        Args:
            interface: a class returns the first handler result that is an instance of it, otherwise
                ``interface.remote(client)``; a name returns the first handler result.

        Raises:
            DoesNotImplement: the manifest lacks the extension point.
            HandlerError: the driver was requested by name, and no handler returned one.
            TypeError: the interface is not async.
        """
        return driver_of(self, interface)

    async def activate(self, deadline: float, *, unless_outdated: bool = False) -> bool:
        """Make the handshake if it is due: one task makes it, others wait for the result.

        If the task that makes it is cancelled, or its deadline passes, another one takes over.

        Args:
            deadline: a ``time.monotonic()`` value.
            unless_outdated: end the handshake without a result if the source changed while it was made.

        Returns:
            Whether the plugin is active. If not, its source is another now, and has to be found again.

        Raises:
            ActivationError: the handshake failed, or the plugin refused its settings; the cause is chained.
            SpecError: its settings are invalid.
            PluginNotFound, SpecError: the source of the plugin disappeared, or became unusable, during the handshake.
        """
        if self.is_made:
            return True
        task = asyncio.current_task()
        try:
            if await self._wait_for_turn(task, deadline) is Turn.LEAD:
                settings = await self._attempt(task, self._configurator.prepare_async())
                manifest = await self._shake_hands(task, deadline)
                if unless_outdated and self._is_outdated():
                    return False
                approval = await self._approved(task, manifest, deadline)
                await self._attempt(task, self._configure(settings, approval.manifest, deadline))
                with self.lock:
                    self._wake()
                    self._record_success(task, approval.manifest, approval.left_out)
        finally:
            self._fail(task, None)
        return True

    async def ping(self, timeout: float = 5.0) -> float:
        """Make a handshake that changes nothing, to find out if the plugin responds; see ``Plugin.ping``.

        Args:
            timeout: seconds for the handshake.

        Returns:
            The seconds that it took.

        Raises:
            ExtframeError: as for ``Plugin.ping``.
        """
        began = monotonic()
        try:
            await self.client.handshake(check_timeout(timeout))
        except ExtframeError as failure:
            if not self._is_answer(failure, timeout):
                raise
        return monotonic() - began

    def is_led_by(self, task: asyncio.Task[Any] | None) -> bool:
        """Return whether a task makes the handshake."""
        return self._lifecycle.leads(task)

    def close(self) -> None:
        """Close the client. The handshake under way ends, and tasks that wait for it are woken and raise."""
        with self.lock:
            self._lifecycle.close()
            self._wake()
        if self._call is not None:
            self._call.cancel()
        self.client._close()

    async def _wait_for_turn(self, task: asyncio.Task[Any] | None, deadline: float) -> Turn:
        """Return LEAD if this task is to make the handshake, DONE if it was made."""
        seen = None
        while True:
            with self.lock:
                turn = self._ask(task, seen)
                if turn is not Turn.WAIT:
                    return turn
                seen = self._lifecycle.handshakes if seen is None else seen
                ended = asyncio.get_running_loop().create_future()
                self._waiters.add(ended)
            try:
                if not await done_by(ended, deadline):
                    raise self.late()
            finally:
                self._waiters.discard(ended)

    async def _shake_hands(self, task: asyncio.Task[Any] | None, deadline: float) -> Manifest:
        known = self._known_manifest()
        if known is not None:
            return known
        return self._note_manifest(await self._attempt(task, self._until_closed(self._handshake(deadline))))

    async def _handshake(self, deadline: float) -> Manifest:
        return await self.client.handshake(handshake_time(deadline))

    async def _attempt(self, task: asyncio.Task[Any] | None, step: Awaitable[R]) -> R:
        """Return the result of a step of the handshake; end the handshake if it fails."""
        try:
            return await step
        except ExtframeError as failure:
            if self.explains and not is_own_error(failure):
                await call_in_thread(partial(self._explain, failure), "extframe registry.why")
            error = self._activation_error(failure)  # now, as another spec may be applied when the handshake has ended
            self._fail(task, failure)
            raise error from cause_of(failure)

    async def _until_closed(self, calls: Coroutine[Any, Any, R]) -> R:
        """Return the result of calls, which `close` ends."""
        made: asyncio.Task[R] = asyncio.get_running_loop().create_task(calls)
        self._call = made
        try:
            # Not `await made`: if this task is cancelled, too, that must not be taken for the end of the plugin.
            await done_by(made, math.inf)
            if made.cancelled() and self.state is State.CLOSED:
                raise closed_error(self.name)
            return made.result()
        finally:
            self._call = None
            if made.cancel():
                await done_by(made, math.inf)
            if not made.cancelled():
                made.exception()  # else one that came as this task was cancelled would be logged

    async def _approved(self, task: asyncio.Task[Any] | None, manifest: Manifest, deadline: float) -> Approval:
        """Return as what the plugin may be used."""
        if self._approver is None or not self._approver.is_asked:
            return Approval(manifest)
        return await self._attempt(task, self._approver.ask(self, manifest, deadline))

    async def _configure(self, settings: Prepared | None, manifest: Manifest, deadline: float) -> None:
        """Send the settings, if the plugin takes any."""
        request = self._configurator.request(settings, manifest)
        if request is not None:
            send = self._configurator.send_async(self.client, request, handshake_time(deadline))
            await self._until_closed(send)

    def _fail(self, task: asyncio.Task[Any] | None, failure: ExtframeError | None) -> None:
        """End the handshake, if this task makes it, with a failure, or with none where it was abandoned."""
        if self._lifecycle.leads(task):
            with self.lock:
                self._wake()
                self._record_failure(task, failure)

    def _wake(self) -> None:
        for waiter in list(self._waiters):  # all, as the one that would be chosen may be about to be cancelled
            set_done(waiter)
