"""One plugin's life: its states, its handshake, its client. Knows no registry and calls no handler."""

from __future__ import annotations

import enum
import math
import threading
from collections.abc import Callable, Mapping
from time import monotonic
from typing import TYPE_CHECKING, Any, TypeVar, overload

import msgspec

from ..client.client import Client, PendingCall
from ..client.connection import late
from ..concurrency.deadlines import left
from ..errors import ActivationError, CallTimeout, ConnectError, DoesNotImplement, ExtframeError, HandlerError
from ..interface.declarations import Interface, declaration
from ..logs import get_logger
from ..protocol import ACTIVATE, Manifest, PluginSpec, hook_name

if TYPE_CHECKING:
    from ..handlers.hook_calls import Delivery

T = TypeVar("T", bound=Interface)

logger = get_logger(__name__)


def point_of(point: str | type[Interface]) -> str:
    """Return an extension point's name, as it stands in manifests."""
    return point if isinstance(point, str) else declaration(point).implements


class State(enum.Enum):
    """Where a plugin stands."""

    NEW = "new"
    ACTIVATING = "activating"
    ACTIVE = "active"
    FAILED = "failed"
    LOST = "lost"
    CLOSED = "closed"


NEXT: Mapping[State, frozenset[State]] = {
    State.NEW: frozenset({State.ACTIVATING, State.CLOSED}),
    State.ACTIVATING: frozenset({State.ACTIVE, State.FAILED, State.CLOSED}),
    # Straight to ACTIVATING: a plugin whose manifest was empty is asked again.
    State.ACTIVE: frozenset({State.LOST, State.ACTIVATING, State.CLOSED}),
    State.FAILED: frozenset({State.ACTIVATING, State.CLOSED}),
    State.LOST: frozenset({State.ACTIVATING, State.CLOSED}),
    State.CLOSED: frozenset(),
}
"""What may follow each state. LOST: its source changed or went, or it refused a connection; it is asked anew."""


class Plugin:
    """A program outside the host that speaks the protocol. ``PluginManager.get`` gives it out, active.

    ``client`` stays the same for as long as the manager knows the plugin: drivers made on it go on working
    when the plugin is restarted, or listens somewhere else.
    """

    def __init__(self, spec: PluginSpec, client: Client | None = None) -> None:
        self._spec = spec
        self.client = client or Client(spec.address, tls=spec.tls, plugin=spec.name)
        self.client.refused = self.lose
        self.changed: Callable[[Plugin, State, str], object] | None = None  # hears of ACTIVE and LOST, and why
        self.deliveries: dict[str, Delivery] = {}  # by hook; the manager fills it
        self._manifest = Manifest()
        self._state = State.NEW
        self._was_empty = False  # the manifest, when it was asked for again
        self._failure: Exception | None = None  # of the last handshake, for those who waited for it
        self._last_error: Exception | None = None
        self.planned_try: float | None = None  # a ``time.monotonic()`` value; whoever plans it keeps it
        self._renewal: PluginSpec | None = None  # to be taken over when the handshake under way has ended
        self._handshakes = 0  # that have ended
        self._made_at = 0.0  # the last that was made, a ``time.monotonic()`` value
        self._leader: int | None = None  # the thread that makes one
        self._lock = threading.RLock()  # in itself, as Ctrl-C in Condition.__enter__ would leave it locked
        self._changed = threading.Condition(self._lock)

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
        """The file that said so."""
        return self._spec.source

    @property
    def spec(self) -> PluginSpec:
        """What the registry found."""
        return self._spec

    @property
    def manifest(self) -> Manifest:
        """What it said in its last handshake; empty before the first."""
        return self._manifest

    @property
    def state(self) -> State:
        """Where it stands now."""
        return self._state

    @property
    def last_error(self) -> Exception | None:
        """Why its last handshake failed, or why calls fail at once for now; None where neither is so."""
        return self._last_error or self.client.last_error

    @property
    def next_try(self) -> float | None:
        """The seconds until a failed plugin is tried again by itself; None where its next use tries it.

        By itself: by ``PluginManager.watch`` after a handshake that failed. Where calls fail at once, it is the
        time until one is let through.
        """
        when = self.client.next_try if self.planned_try is None else self.planned_try
        return None if when is None else left(when)

    def __repr__(self) -> str:
        return f"<Plugin {self.name!r} at {self.address}, {self._state.value}: {list(self._manifest.implements)}>"

    # What it can do.

    def implements(self, point: str | type[Interface]) -> bool:
        """Return whether the extension point stands in the manifest, to the letter."""
        return point_of(point) in self._manifest.implements

    @overload
    def driver(self, interface: type[T]) -> T: ...
    @overload
    def driver(self, interface: str) -> Any: ...
    def driver(self, interface: str | type[Interface]) -> Any:
        """Return an object through which the plugin is used as one extension point.

        Args:
            interface: a class gives the first handler result that is one, else ``interface.remote(client)``;
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
        """Do nothing if the plugin implements the extension point.

        Raises:
            DoesNotImplement: it does not; says what it does implement.
        """
        if not self.implements(point):
            has = ", ".join(self._manifest.implements) or "nothing"
            raise DoesNotImplement(
                f"plugin {self.name!r} does not implement {point_of(point)!r}; it implements {has}",
                plugin=self.name,
                address=self.address,
            )

    # How it lives.

    def activate(self, deadline: float) -> None:
        """Make the handshake, unless it was made: one at a time, other threads wait for it.

        An empty manifest does not count as one (the engine keeps it for good: moby ``pkg/plugins/plugins.go``).
        Threads that waited share what came of it, except that a leader who ran out of time leaves the
        next attempt to them.

        Args:
            deadline: a ``time.monotonic()`` value.

        Raises:
            ActivationError: the handshake failed; the cause is chained.
        """
        # Ctrl-C may come between any two steps, and must not leave a handshake under way that nobody makes.
        try:
            if self._lead(deadline):
                self._succeed(self._shake_hands(deadline))
        except ActivationError as failure:
            self._end(State.FAILED, failure.__cause__)
            raise
        finally:
            self._end(State.FAILED)

    def begin(self) -> PendingCall | None:
        """Begin the handshake, to `advance` it when something comes; None where it had to be waited for.

        The other thread's handshake, or the connection, is then to be waited for by `activate`. The thread that
        begins a handshake is the one that ends it.

        Raises:
            ActivationError: it failed at once.
        """
        with self._lock:
            if self._state in (State.ACTIVATING, State.CLOSED) or self.is_made:
                return None
            self._leader = threading.get_ident()
            self._enter(State.ACTIVATING)
        call = None
        try:
            call = self.client.begin(ACTIVATE)
        except ExtframeError as failure:
            raise self._fail(failure) from failure
        finally:
            if call is None:
                self._end(State.FAILED)
        return call

    def advance(self, call: PendingCall) -> bool:
        """Return whether the handshake has come to its end.

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
            self._end(State.FAILED)
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
        """Return the error for a handshake that another thread makes, and that did not end in time."""
        failure = CallTimeout("another thread's handshake did not end in time", phase="handshake")
        error = self._activation_error(failure)
        error.__cause__ = failure
        return error

    def drop(self) -> None:
        """End the handshake that this thread began, if it has not ended."""
        self._end(State.FAILED)

    def renew(self, spec: PluginSpec) -> None:
        """Take over what the registry found when the source had changed. A handshake under way ends first."""
        with self._lock:
            if self._state is State.ACTIVATING:
                self._renewal = spec
            elif self._state is not State.CLOSED:
                self._take_over(spec)

    def _take_over(self, spec: PluginSpec) -> None:
        if spec == self._spec and spec.stamp == self._spec.stamp:
            return  # another thread saw the change too, and was here before
        # Also to the same address: behind a socket that was replaced the process of the old one may live on.
        self.client.retarget(spec.address, tls=spec.tls)
        self._spec = spec
        self._failure = None  # it says nothing of what the plugin is now
        self._lose("its source changed")

    def lose(self, began: float = math.inf) -> None:
        """Note that the plugin refused a connection: the next use makes a new handshake.

        Where the attempt began, a ``time.monotonic()`` value, before the last handshake was made, it says nothing.
        """
        with self._lock:
            if began >= self._made_at:
                self._lose("it refused a connection")

    def miss(self, why: str) -> None:
        """Note that its source has gone or cannot be used. It stays what it is, for the day when it is back."""
        with self._lock:
            self._lose(why)
            if self._state is not State.CLOSED:
                self.client.retarget(self.address, tls=self._spec.tls)  # closes the connections that it kept

    def close(self) -> None:
        """End its life here: the client is closed, threads that wait for a handshake are told."""
        with self._lock:
            self._enter(State.CLOSED)
            self._changed.notify_all()
        self.client.close()

    def _lose(self, why: str) -> None:
        if self._state is State.ACTIVE:
            self._enter(State.LOST, why)
            logger.info("plugin %r at %s is lost: %s", self.name, self.address, why)

    def _enter(self, state: State, why: str = "") -> None:
        if state is self._state:
            return
        if state not in NEXT[self._state]:
            raise RuntimeError(f"plugin {self.name!r} cannot go from {self._state.value} to {state.value}")
        before, self._state = self._state, state
        if state is State.ACTIVATING:
            self._was_empty = before is State.ACTIVE
        elif self.changed is not None and not (self._was_empty and self._is_empty()):
            self.changed(self, state, why)

    def _is_empty(self) -> bool:
        return self._state is State.ACTIVE and not self._manifest.implements

    def _lead(self, deadline: float) -> bool:
        """Return True if this thread is to make the handshake, False if it was made meanwhile."""
        if self.is_made:
            return False
        with self._lock:
            waited_from = self._handshakes
            while self._state is State.ACTIVATING and self._leader != threading.get_ident():
                if not self._changed.wait(left(deadline)):
                    raise self.late()
            if self._state is State.CLOSED:
                raise ExtframeError(f"plugin {self.name!r} is closed, as its manager is", plugin=self.name)
            if self._handshakes != waited_from and self._state is State.ACTIVE:
                return False
            if self._handshakes != waited_from and self._failure is not None:
                raise self._activation_error(self._failure) from self._failure
            if self.is_made:
                return False
            self._leader = threading.get_ident()
            self._enter(State.ACTIVATING)
            return True

    @property
    def is_made(self) -> bool:
        """Whether the handshake was made. An empty manifest does not count as one."""
        return self._state is State.ACTIVE and not self._is_empty()

    def _succeed(self, manifest: Manifest) -> None:
        self._manifest = manifest
        if self.deliveries and manifest.implements:  # an empty one, which is asked for again, takes nothing away
            for gone in self.deliveries.keys() - {hook_name(point) for point in manifest.implements}:
                self.deliveries.pop(gone, None)
        self.client.was_active = True
        self._made_at = monotonic()
        self._end(State.ACTIVE)
        logger.info(
            "plugin %r at %s is active: %s", self.name, self.address, ", ".join(manifest.implements) or "nothing"
        )

    def _fail(self, failure: ExtframeError) -> ActivationError:
        self._end(State.FAILED, failure)
        return self._activation_error(failure)

    def _end(self, state: State, failure: BaseException | None = None) -> None:
        """End the handshake that this thread leads, if it leads one."""
        if self._leader != threading.get_ident():
            return
        with self._lock:
            self._handshakes += 1
            # A leader's own deadline, or its Ctrl-C, says nothing to the others.
            self._last_error = failure if isinstance(failure, Exception) else None
            self._failure = failure if isinstance(failure, Exception) and not isinstance(failure, CallTimeout) else None
            if self._state is State.ACTIVATING:
                self._enter(state)
            self._leader = None
            self._changed.notify_all()
            renewal, self._renewal = self._renewal, None
            if renewal is not None and self._state is not State.CLOSED:
                self._take_over(renewal)

    def _shake_hands(self, deadline: float) -> Manifest:
        seconds = left(deadline)
        try:
            if not seconds:
                raise CallTimeout("no time was left for the handshake", phase="handshake")
            answer = self.client.call(ACTIVATE, reply=msgspec.Raw, timeout=seconds, idempotent=True)
            return Manifest.parse(bytes(answer))
        except ExtframeError as failure:
            raise self._activation_error(failure) from failure

    def _activation_error(self, cause: Exception) -> ActivationError:
        if isinstance(cause, ExtframeError):
            cause.plugin, cause.method, cause.address = self.name, ACTIVATE, self.address
        why = cause.message if isinstance(cause, ExtframeError) else str(cause)
        remedy = ""
        if isinstance(cause, ConnectError) and isinstance(cause.__cause__, ConnectionRefusedError):
            remedy = f" If not, start it, or remove {self.source}"
        return ActivationError(
            f"plugin {self.name!r} at {self.address} was not activated: {why}{remedy}",
            plugin=self.name,
            method=ACTIVATE,
            address=self.address,
        )
