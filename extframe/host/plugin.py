"""One plugin: its handshake, its client, its drivers. Knows no registry and calls no handler."""

from __future__ import annotations

import math
import threading
from time import monotonic
from typing import TYPE_CHECKING, Any, Protocol, TypeVar, overload

import msgspec

from ..client.client import Client, PendingCall
from ..client.connection import late
from ..concurrency.deadlines import left
from ..errors import ActivationError, CallTimeout, ConnectError, DoesNotImplement, ExtframeError, HandlerError
from ..interface.declarations import Interface, declaration
from ..logs import get_logger
from ..protocol import ACTIVATE, Manifest, PluginSpec, hook_name
from .lifecycle import Lifecycle, State, Turn

if TYPE_CHECKING:
    from ..handlers.hook_calls import Delivery

T = TypeVar("T", bound=Interface)

logger = get_logger(__name__)


def point_of(point: str | type[Interface]) -> str:
    """Return an extension point's name as manifests have it."""
    return point if isinstance(point, str) else declaration(point).implements


class PluginListener(Protocol):
    """What a plugin reports to, and asks, its owner."""

    def state_changed(self, plugin: Plugin, state: State, reason: str) -> object:
        """Handle a new state. Called under the plugin's lock, so that changes arrive in order; returns at once."""

    def planned_try(self, name: str) -> float | None:
        """Return when a plugin that failed is activated again by itself, a ``time.monotonic()`` value."""


class Plugin:
    """A program outside the host that speaks the protocol. ``PluginManager.get`` returns it active.

    ``client`` stays the same for as long as the manager knows the plugin: drivers made on it keep working when the
    plugin restarts, or moves to another address.

    Args:
        spec: what the registry found.
        client: calls the plugin; one of its own where None.
        listener: is told about new states.
    """

    def __init__(
        self, spec: PluginSpec, client: Client | None = None, *, listener: PluginListener | None = None
    ) -> None:
        self._spec = spec
        self.client = client or Client(spec.address, tls=spec.tls, plugin=spec.name)
        self.client.refused = self.mark_lost
        self.deliveries: dict[str, Delivery] = {}  # by hook; the dispatcher fills it
        self._listener = listener
        self._lifecycle = Lifecycle(spec.name, self._report)
        self._pending_spec: PluginSpec | None = None  # applied when the handshake under way has ended
        # Reentrant and explicit: a signal handler may use the plugin, and Ctrl-C inside Condition.__enter__ would leave
        # a lock of its own locked.
        self._lock = threading.RLock()
        self._ended = threading.Condition(self._lock)

    @property
    def name(self) -> str:
        """The name, which is that of its file."""
        return self._spec.name

    @property
    def address(self) -> str:
        """Where it listens: ``unix:///run/docker/plugins/rclone.sock``."""
        return self._spec.address

    @property
    def source(self) -> str:
        """The file that describes it."""
        return self._spec.source

    @property
    def spec(self) -> PluginSpec:
        """What the registry found."""
        return self._spec

    @property
    def manifest(self) -> Manifest:
        """What the plugin said in its last handshake; empty before the first."""
        return self._lifecycle.manifest

    @property
    def state(self) -> State:
        """The state of the plugin."""
        return self._lifecycle.state

    @property
    def is_made(self) -> bool:
        """Whether the handshake was made. An empty manifest does not count."""
        return self._lifecycle.is_made

    @property
    def last_error(self) -> Exception | None:
        """Why the last handshake failed, or why the circuit breaker is open; None where neither is the case."""
        return self._lifecycle.last_error or self.client.last_error

    @property
    def next_try(self) -> float | None:
        """The seconds until a failed plugin is tried again; None where only its next use tries it.

        After a failed handshake ``PluginManager.watch`` tries again by itself. While the circuit breaker is open, it is
        the time until a call is let through.
        """
        planned = self._listener.planned_try(self.name) if self._listener else None
        when = self.client.next_try if planned is None else planned
        return None if when is None else left(when)

    def __repr__(self) -> str:
        return f"<Plugin {self.name!r} at {self.address}, {self.state.value}: {list(self.manifest.implements)}>"

    # Extension points and drivers.

    def implements(self, point: str | type[Interface]) -> bool:
        """Return whether the manifest has exactly this extension point."""
        return point_of(point) in self.manifest.implements

    @overload
    def driver(self, interface: type[T]) -> T: ...
    @overload
    def driver(self, interface: str) -> Any: ...
    def driver(self, interface: str | type[Interface]) -> Any:
        """Return an object through which the plugin is used as one extension point.

        Args:
            interface: a class gives the first handler result that is an instance, else ``interface.remote(client)``;
                a name gives the first handler result.

        Raises:
            DoesNotImplement: the manifest lacks it.
            HandlerError: it was asked for by name, and no handler returned a driver.
        """
        self.require(interface)
        point = point_of(interface)
        delivery = self.deliveries.get(hook_name(point))
        results = delivery.results() if delivery else []
        if not isinstance(interface, str):
            typed = [result for result in results if isinstance(result, interface)]
            return typed[0] if typed else interface.remote(self.client)
        if not results:
            raise HandlerError(
                f"no handler returned a driver for {point!r}: install a handler package whose hook is "
                f"{hook_name(point)!r}, or ask for it by its Interface",
                plugin=self.name,
            )
        return results[0]

    def require(self, point: str | type[Interface]) -> None:
        """Return if the plugin implements the extension point.

        Raises:
            DoesNotImplement: it does not; says what it does implement.
        """
        if not self.implements(point):
            has = ", ".join(self.manifest.implements) or "nothing"
            raise DoesNotImplement(
                f"plugin {self.name!r} does not implement {point_of(point)!r}; it implements {has}",
                plugin=self.name,
                address=self.address,
            )

    # Activation.

    def activate(self, deadline: float) -> None:
        """Make the handshake, unless it was made: one at a time, other threads wait for it.

        Threads that waited share its outcome, but not the deadline or the interruption of the thread that made it: the
        next of them makes another then.

        Args:
            deadline: a ``time.monotonic()`` value.

        Raises:
            ActivationError: the handshake failed; the cause is chained.
        """
        # Ctrl-C may arrive between any two steps: `finally` hands the lead on, whichever step it interrupted.
        try:
            if self._wait_for_turn(deadline) is Turn.LEAD:
                self._succeed(self._shake_hands(deadline))
        except ActivationError as failure:
            self._end(failure.__cause__)
            raise
        finally:
            self._end()

    def begin(self) -> PendingCall | None:
        """Begin the handshake without waiting, for `advance` to continue; None if that is not possible.

        It is not while another thread makes the handshake, or if connecting has to wait: call `activate` then. The
        thread that begins a handshake is the one that ends it.

        Raises:
            ActivationError: it failed at once.
        """
        with self._lock:
            if self.state is State.ACTIVATING or self._lifecycle.ask(threading.get_ident()) is not Turn.LEAD:
                return None
        call = None
        try:
            call = self.client.begin(ACTIVATE)
        except ExtframeError as failure:
            raise self._fail(failure) from failure
        finally:
            if call is None:
                self._end()
        return call

    def advance(self, call: PendingCall) -> bool:
        """Return whether the handshake has ended.

        Raises:
            ActivationError: it failed.
        """
        try:
            answer = call.advance()
            if answer is None:
                return False
            self._succeed(Manifest.parse(answer))
        except ExtframeError as failure:
            raise self._fail(failure) from failure
        except BaseException:
            self._end()
            raise
        return True

    def expire(self, call: PendingCall) -> ActivationError:
        """End a handshake whose deadline has passed, and return the error for it."""
        call.abandon()
        failure = late(call.phase)
        error = self._fail(failure)
        error.__cause__ = failure
        return error

    def late(self) -> ActivationError:
        """Return the error for a handshake made by another thread that did not end in time."""
        failure = CallTimeout("another thread's handshake did not end in time", phase="handshake")
        error = activation_error(self, failure)
        error.__cause__ = failure
        return error

    def abandon(self) -> None:
        """End the handshake that this thread began, if it has not ended."""
        self._end()

    def _wait_for_turn(self, deadline: float) -> Turn:
        """Return LEAD if this thread is to make the handshake, DONE if it was made."""
        if self.is_made:
            return Turn.DONE
        seen = None
        with self._lock:
            while (turn := self._lifecycle.ask(threading.get_ident(), seen)) is Turn.WAIT:
                seen = self._lifecycle.handshakes if seen is None else seen
                if not self._ended.wait(left(deadline)):
                    raise self.late()
            if turn is Turn.CLOSED:
                raise ExtframeError(
                    f"plugin {self.name!r} is closed because its PluginManager is closed", plugin=self.name
                )
            if turn is Turn.SHARE and (failure := self._lifecycle.shared_failure) is not None:
                raise activation_error(self, failure) from failure
        return turn

    def _shake_hands(self, deadline: float) -> Manifest:
        seconds = left(deadline)
        try:
            if not seconds:
                raise CallTimeout("no time was left for the handshake", phase="handshake")
            answer = self.client.call(ACTIVATE, reply=msgspec.Raw, timeout=seconds, idempotent=True)
            return Manifest.parse(bytes(answer))
        except ExtframeError as failure:
            raise activation_error(self, failure) from failure

    def _succeed(self, manifest: Manifest) -> None:
        if self.deliveries and manifest.implements:  # an empty manifest, which is asked for again, removes nothing
            for gone in self.deliveries.keys() - {hook_name(point) for point in manifest.implements}:
                self.deliveries.pop(gone, None)
        self.client.was_active = True
        with self._lock:
            self._ended.notify_all()  # first, as Ctrl-C may come between; the lock keeps them until the end
            self._lifecycle.succeeded(threading.get_ident(), manifest, monotonic())
            self._apply_pending_spec()
        points = ", ".join(manifest.implements) or "nothing"
        logger.info("plugin %r at %s is active: %s", self.name, self.address, points)

    def _fail(self, failure: ExtframeError) -> ActivationError:
        self._end(failure)
        return activation_error(self, failure)

    def _end(self, failure: BaseException | None = None) -> None:
        """End the handshake that this thread leads, if it leads one."""
        if self._lifecycle.leads(threading.get_ident()):
            with self._lock:
                self._ended.notify_all()
                self._lifecycle.failed(threading.get_ident(), failure if isinstance(failure, Exception) else None)
                self._apply_pending_spec()

    def _apply_pending_spec(self) -> None:
        spec, self._pending_spec = self._pending_spec, None
        if spec is not None and self.state is not State.CLOSED:
            self._apply_spec(spec)

    # Changes of its source, and the end.

    def renew(self, spec: PluginSpec) -> None:
        """Use what the registry found after the source changed. A handshake under way ends first."""
        with self._lock:
            if self.state is State.ACTIVATING:
                self._pending_spec = spec
            elif self.state is not State.CLOSED:
                self._apply_spec(spec)

    def mark_lost(self, began: float = math.inf) -> None:
        """Record that the plugin refused a connection: the next use makes a new handshake.

        Args:
            began: when the attempt began, a ``time.monotonic()`` value. Before the last handshake it says nothing.
        """
        with self._lock:
            self._lose("it refused a connection", began)

    def mark_missing(self, reason: str) -> None:
        """Record that its source is gone or cannot be used. The plugin keeps its drivers for when it is back."""
        with self._lock:
            self._lose(reason)
            if self.state is not State.CLOSED:
                self.client.retarget(self.address, tls=self._spec.tls)  # closes its idle connections

    def close(self) -> None:
        """Close the client, and wake the threads that wait for a handshake."""
        with self._lock:
            self._lifecycle.close()
            self._ended.notify_all()
        self.client.close()

    def _apply_spec(self, spec: PluginSpec) -> None:
        if spec == self._spec and spec.stamp == self._spec.stamp:
            return  # another thread noticed the change too, and was first
        # Also to the same address: the process behind a socket that was replaced may live on.
        self.client.retarget(spec.address, tls=spec.tls)
        self._spec = spec
        self._lifecycle.forget_failure()
        self._lose("its source changed")

    def _lose(self, reason: str, began: float = math.inf) -> None:
        if self._lifecycle.mark_lost(reason, began):
            logger.info("plugin %r at %s is lost: %s", self.name, self.address, reason)

    def _report(self, state: State, reason: str) -> None:
        if self._listener is not None:
            self._listener.state_changed(self, state, reason)


def activation_error(plugin: Plugin, cause: Exception) -> ActivationError:
    """Return the error for a handshake that failed because of ``cause``."""
    if isinstance(cause, ExtframeError):
        cause.plugin, cause.method, cause.address = plugin.name, ACTIVATE, plugin.address
    why = cause.message if isinstance(cause, ExtframeError) else str(cause)
    remedy = ""
    if isinstance(cause, ConnectError) and isinstance(cause.__cause__, ConnectionRefusedError):
        remedy = f" If not, start it, or remove {plugin.source}"
    return ActivationError(
        f"plugin {plugin.name!r} at {plugin.address} was not activated: {why}{remedy}",
        plugin=plugin.name,
        method=ACTIVATE,
        address=plugin.address,
    )
