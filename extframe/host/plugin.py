"""Plugin: one plugin of a host, and its handshake made by threads. Calls no handler."""

from __future__ import annotations

import threading
from collections.abc import Callable, Mapping
from time import monotonic
from typing import TYPE_CHECKING, Any, Protocol, TypeVar, overload

from ..client.client import Client
from ..client.connection import late
from ..concurrency.deadlines import check_timeout, left
from ..concurrency.locks import signal_safe_condition, signal_safe_lock
from ..errors import ExtframeError
from ..interface.declarations import Interface
from ..protocol import ACTIVATE, Manifest, PluginSpec
from .configurator import Configurator
from .lifecycle import State, Turn
from .plugin_base import PluginBase, driver_of, handshake_time, where
from .plugin_contracts import Approval, PluginListener
from .plugin_errors import cause_of
from .settings import ManagerSettings, Prepared

if TYPE_CHECKING:
    from ..client.pending_call import PendingCall

T = TypeVar("T", bound=Interface)
R = TypeVar("R")


class Approves(Protocol):
    """Decides whether plugins may be used."""

    @property
    def is_asked(self) -> bool:
        """Whether there is something to decide."""

    def ask(self, plugin: Plugin, manifest: Manifest, deadline: float) -> Approval:
        """Return as what a plugin may be used.

        Raises:
            ActivationVetoed: it may not.
        """
        raise NotImplementedError


class Plugin(PluginBase[Client]):
    """A program outside the host that speaks the plugin protocol. ``PluginManager.get`` returns it, active.

    ``client`` stays the same for as long as the manager knows the plugin: drivers that use it keep working after
    the plugin restarts or moves to another address.

    Args:
        spec: what the registry found.
        connect: creates the client; called as `Client` is.
        listener: receives new states.
        approver: decides after each handshake whether the plugin may be used; every plugin may where None.
    """

    def __init__(
        self,
        spec: PluginSpec,
        connect: Callable[..., Client] = Client,
        *,
        listener: PluginListener | None = None,
        approver: Approves | None = None,
        settings: ManagerSettings | None = None,
    ) -> None:
        lock = signal_safe_lock()
        client = connect(spec.address, plugin=spec.name, listener=self, **where(spec))
        self._configurator = Configurator(settings or ManagerSettings(), lambda: self._spec)
        super().__init__(spec, client, lock, listener=listener, settings=self._configurator)
        self._ended = signal_safe_condition(lock)
        self._approver = approver

    @overload
    def driver(self, interface: type[T]) -> T: ...
    @overload
    def driver(self, interface: str) -> Any: ...
    def driver(self, interface: str | type[Interface]) -> Any:
        """Return an object through which the plugin is used as one extension point.

        Args:
            interface: a class returns the first handler result that is an instance of it, otherwise
                ``interface.remote(client)``; a name returns the first handler result.

        Raises:
            DoesNotImplement: the manifest lacks the extension point.
            HandlerError: the driver was requested by name, and no handler returned one.
        """
        return driver_of(self, interface)

    def activate(self, deadline: float, *, unless_outdated: bool = False) -> bool:
        """Make the handshake if it is due: one thread makes it, others wait for the result.

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
        # Ctrl-C may arrive between any two steps: `finally` hands the lead on, whichever step it interrupted.
        try:
            if self._wait_for_turn(deadline) is Turn.LEAD:
                settings = self._attempt(self._configurator.prepare)
                manifest = self._shake_hands(deadline)
                if unless_outdated and self._is_outdated():
                    return False
                approval = self._approved(manifest, deadline)
                self._attempt(lambda: self._configure(settings, approval.manifest, deadline))
                self._succeed(approval.manifest, approval.left_out)
        finally:
            self.abandon()
        return True

    def begin(self) -> PendingHandshake | None:
        """Begin the handshake without waiting; return None if that is not possible, and call `activate` then.

        It is not possible while another thread makes the handshake, or if connecting has to wait.

        Raises:
            ActivationError: it failed at once.
        """
        with self.lock:
            if self.state is State.ACTIVATING or self._spec.manifest is not None or self._configurator.is_given:
                return None
            if self._remembered() is not None:
                return None
            if self._approver is not None and self._approver.is_asked:  # which may take a while
                return None
            if self._lifecycle.ask(threading.get_ident()) is not Turn.LEAD:
                return None
        call = None
        try:
            call = self.client.begin(ACTIVATE)
            return None if call is None else PendingHandshake(self, call)
        except ExtframeError as failure:
            raise self._fail(failure) from failure
        finally:
            if call is None:
                self.abandon()

    def abandon(self) -> None:
        """End the handshake that this thread makes, if it makes one."""
        if self._lifecycle.leads(threading.get_ident()):
            with self.lock:
                self._ended.notify_all()  # first, as Ctrl-C may come between; the lock keeps them until the end
                self._record_failure(threading.get_ident(), None)

    def close(self) -> None:
        """Close the client. Threads that wait for a handshake are woken, and raise."""
        with self.lock:
            self._lifecycle.close()
            self._ended.notify_all()
        self.client.close()

    def _wait_for_turn(self, deadline: float) -> Turn:
        """Return LEAD if this thread is to make the handshake, DONE if it was made."""
        seen = None
        with self.lock:
            while (turn := self._ask(threading.get_ident(), seen)) is Turn.WAIT:
                seen = self._lifecycle.handshakes if seen is None else seen
                if not self._ended.wait(left(deadline)):
                    raise self.late()
        return turn

    def _attempt(self, step: Callable[[], R]) -> R:
        """Return the result of a step of the handshake; end the handshake if it fails."""
        try:
            return step()
        except ExtframeError as failure:
            raise self._fail(failure) from cause_of(failure)

    def _shake_hands(self, deadline: float) -> Manifest:
        known = self._known_manifest()
        if known is not None:
            return known
        try:
            return self._note_manifest(self.client.handshake(handshake_time(deadline)))
        except ExtframeError as failure:
            raise self._fail(failure) from failure

    def ping(self, timeout: float = 5.0) -> float:
        """Make a handshake that changes nothing, to find out if the plugin responds.

        A plugin that refuses the connection is activated again at its next use, as after any other call.

        Args:
            timeout: seconds for the handshake.

        Returns:
            The seconds that it took.

        Raises:
            CallTimeout: the plugin hangs.
            ExtframeError: as for any call, or the response is not a manifest. Of a plugin that has no handshake
                (``PluginManager(implements=...)``) any response is enough.
        """
        began = monotonic()
        try:
            self.client.handshake(check_timeout(timeout))
        except ExtframeError as failure:
            if not self._is_answer(failure, timeout):
                raise
        return monotonic() - began

    def _approved(self, manifest: Manifest, deadline: float) -> Approval:
        """Return as what the plugin may be used."""
        approver = self._approver
        if approver is None or not approver.is_asked:
            return Approval(manifest)
        return self._attempt(lambda: approver.ask(self, manifest, deadline))

    def _configure(self, settings: Prepared | None, manifest: Manifest, deadline: float) -> None:
        """Send the settings, if the plugin takes any."""
        request = self._configurator.request(settings, manifest)
        if request is not None:
            self._configurator.send(self.client, request, handshake_time(deadline))

    def _succeed(self, manifest: Manifest, left_out: Mapping[str, str] = {}) -> None:
        with self.lock:
            self._ended.notify_all()
            self._record_success(threading.get_ident(), manifest, left_out)

    def _fail(self, failure: ExtframeError) -> ExtframeError:
        """End the handshake, and return the error to raise from ``failure``."""
        self._explain(failure)
        error = self._activation_error(failure)  # now, as another spec may be applied when the handshake has ended
        with self.lock:
            self._ended.notify_all()
            self._record_failure(threading.get_ident(), failure)
        return error


class PendingHandshake:
    """A handshake that was sent and has not ended. The thread that began it uses it, when ``fileno()`` is readable."""

    def __init__(self, plugin: Plugin, call: PendingCall) -> None:
        self.plugin = plugin
        self.spec = plugin.spec
        self._call = call

    def fileno(self) -> int:
        """Return the file descriptor to wait for. It may change with `advance`."""
        return self._call.fileno()

    def advance(self) -> bool:
        """Read what arrived, and return whether the handshake has ended.

        It ends without a result if the source changed while it was made.

        Raises:
            ActivationError: it failed.
            PluginNotFound, SpecError: as `Plugin.activate` does.
        """
        return self._take(self._call.advance)

    @property
    def patience(self) -> float | None:
        """The seconds of silence after which to `settle`; None before the body of the response."""
        return self._call.patience

    def settle(self) -> bool:
        """Take what arrived of a response whose end does not arrive, and return whether it was enough.

        Raises:
            ExtframeError: as `advance`.
        """
        return self._take(self._call.settle)

    def _take(self, step: Callable[[], bytes | None]) -> bool:
        try:
            response = step()
            manifest = None if response is None else Manifest.parse(response)
            if manifest is not None:
                self.plugin._configurator.request(None, manifest)  # raises if it requires settings
        except ExtframeError as failure:
            raise self.plugin._fail(failure) from cause_of(failure)
        if manifest is None:
            return False
        if self.plugin._is_outdated():
            self.plugin.abandon()
        else:
            self.plugin._succeed(self.plugin._note_manifest(manifest))
        return True

    def expire(self) -> ExtframeError:
        """End the handshake because its deadline has passed, and return the error."""
        failure = late(self._call.phase)
        self._call.abandon(failure)
        error = self.plugin._fail(failure)
        error.__cause__ = failure
        return error

    def abandon(self) -> None:
        """End the handshake without a result."""
        self._call.abandon()
        self.plugin.abandon()
