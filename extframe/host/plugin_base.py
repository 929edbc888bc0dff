"""What a host knows of one plugin: spec, state, manifest, and why it failed. Waits for nothing, makes no handshake."""

from __future__ import annotations

import copy
import math
from collections.abc import Hashable, Mapping
from contextlib import AbstractContextManager
from time import monotonic
from typing import TYPE_CHECKING, Any, Generic, NoReturn, TypeVar, cast

from ..concurrency.deadlines import Remaining, left
from ..errors import (
    ActivationError,
    ActivationVetoed,
    CallTimeout,
    ExtframeError,
    HandlerError,
    RemoteError,
)
from ..interface.declarations import Declaration, Interface, declaration
from ..interface.versions import highest_common, no_common_version
from ..logs import get_logger
from ..protocol import ACTIVATE, Manifest, PluginSpec, hook_name
from .lifecycle import Lifecycle, State, Turn
from .plugin_contracts import AnyClient, PluginListener
from .plugin_errors import (
    activation_error,
    cause_of,
    closed_error,
    does_not_implement,
    is_own_error,
    left_out_error,
)
from .settings import PluginSettings

if TYPE_CHECKING:
    from ..handlers.hook_claims import HookRecord
    from ..interface.async_interface import AsyncInterface
    from .manifest_cache import ManifestCache
else:
    from ..concurrency.late_types import late

    AsyncInterface = late("extframe.interface.async_interface", "AsyncInterface")
    ManifestCache = late("extframe.host.manifest_cache", "ManifestCache")

logger = get_logger(f"{__package__}.plugin")  # one logger for the states of plugins, in both kinds of host


C = TypeVar("C", bound=AnyClient)


def point_of(point: str | type[Interface] | type[AsyncInterface]) -> str:
    """Return the name of an extension point in manifests."""
    return point if isinstance(point, str) else declaration(point).implements


class PluginBase(Generic[C]):
    """What is known of one plugin. Makes no handshake, so that a host of threads and a host of tasks share it.

    Args:
        spec: what the registry found.
        client: calls the plugin.
        lock: held while the state changes.
        listener: receives new states.
        settings: those of the plugin.
    """

    def __init__(
        self,
        spec: PluginSpec,
        client: C,
        lock: AbstractContextManager[object],
        *,
        listener: PluginListener | None = None,
        settings: PluginSettings,
    ) -> None:
        self.client = client
        client.endpoint.configurator = settings
        self.left_out: Mapping[str, str] = {}
        """The extension points that handlers of ``plugin_activating`` left out, each with the handler."""
        self.question: object = None  # the record of the last calls of that hook
        self._cache: ManifestCache | None = None
        self._is_remembered = False  # whether the manifest is that of an earlier run: the plugin was not contacted yet
        self._offered: Manifest | None = None  # what the last handshake returned, before handlers left something out
        self._must_be_approved = False  # by a handler that was registered during the handshake under way
        self.hook_calls: dict[str, HookRecord] = {}  # by hook; the dispatcher fills it
        self._spec = spec
        self._explained: tuple[Exception, str] | None = None  # the last failed handshake, and the registry's reason
        self._pending_spec: PluginSpec | None = None  # applied when the handshake under way has ended
        self.lock = lock
        """Held while the state changes, and until that is published."""
        self._listener = listener
        self._lifecycle = Lifecycle(spec.name, self._report)

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
        """The path of the file in which the address was found."""
        return self._spec.source

    @property
    def spec(self) -> PluginSpec:
        """What the registry found."""
        return self._spec

    @property
    def latest_spec(self) -> PluginSpec:
        """What the registry found last, which is used from the end of the handshake under way on."""
        return self._pending_spec or self._spec

    @property
    def manifest(self) -> Manifest:
        """The response to the last handshake; empty before the first."""
        return self._lifecycle.manifest

    @property
    def state(self) -> State:
        """The current state."""
        return self._lifecycle.state

    @property
    def is_made(self) -> bool:
        """Whether the handshake succeeded. An empty manifest does not count."""
        return self._lifecycle.is_made

    @property
    def is_reported_active(self) -> bool:
        """Whether the last event of its state says that it is active; see `Lifecycle.is_reported_active`."""
        return self._lifecycle.is_reported_active

    @property
    def was_active(self) -> bool:
        """Whether a handshake has ever succeeded, and the plugin been contacted."""
        return self._lifecycle.was_active and not self._is_uncontacted

    @property
    def last_error(self) -> Exception | None:
        """Why the last handshake failed, or why the circuit breaker is open; None if neither is the case."""
        return self._lifecycle.last_error or self.client.last_error

    @property
    def next_try(self) -> float | None:
        """The seconds until a failed plugin is tried again without being asked; None if its next use tries it.

        After a failed handshake, ``PluginManager.watch`` tries it again. While the circuit breaker is open, this is
        the time until a probe call is let through.
        """
        planned = None if self._listener is None else self._listener.planned_try(self.name)
        when = self.client.next_try if planned is None else planned
        return None if when is None else left(when)

    def __reduce__(self) -> NoReturn:
        raise TypeError(
            f"{self!r} cannot be pickled or copied, as its connections belong to this process: send its name, "
            f"{self.name!r}, and get it from a plugin manager there"
        )

    def __repr__(self) -> str:
        return f"<Plugin {self.name!r} at {self.address}, {self.state.value}: {list(self.manifest.implements)}>"

    def implements(self, point: str | type[Interface] | type[AsyncInterface]) -> bool:
        """Return whether the manifest contains the extension point, exactly as written, and a class accepts it."""
        if point_of(point) not in self.manifest.implements:
            return False
        return isinstance(point, str) or self._version(declaration(point)) is not None

    def _version(self, declared: Declaration) -> int | None:
        return highest_common(declared.accepts, self.manifest.versions_of(declared.implements))

    def require(self, point: str | type[Interface] | type[AsyncInterface]) -> None:
        """Do nothing if the plugin implements the extension point.

        Raises:
            DoesNotImplement: it does not, or in versions that the class does not accept; the message lists what it does
                implement.
        """
        self._require_no_veto()
        if point_of(point) not in self.manifest.implements:
            if point_of(point) in self.left_out:
                raise left_out_error(self, point_of(point))
            raise does_not_implement(self, point_of(point))
        if not isinstance(point, str) and self._version(declaration(point)) is None:
            declared = declaration(point)
            raise no_common_version(declared, self.manifest.versions_of(declared.implements), self.name, self.address)

    def require_made(self) -> None:
        """Do nothing if the handshake was made.

        Raises:
            ActivationVetoed: a handler refused the plugin.
            ActivationError: it has to be activated first.
        """
        self._require_no_veto()
        if not self.is_made:
            raise ActivationError(f"plugin {self.name!r} has to be activated again; get it first", plugin=self.name)

    def _require_no_veto(self) -> None:
        veto = self._lifecycle.last_error
        if isinstance(veto, ActivationVetoed):
            raise self._activation_error(veto) from veto.__cause__

    # Who makes the handshake. The lock is held.

    def _ask(self, caller: Hashable, seen: int | None = None) -> Turn:
        """Return LEAD if this caller is to make the handshake, DONE if it was made, or WAIT; see `Lifecycle.ask`.

        Raises:
            ActivationError: the handshake that this caller waited for failed.
            ExtframeError: the plugin is closed.
        """
        turn = self._lifecycle.ask(caller, seen)
        if turn is Turn.CLOSED:
            raise closed_error(self.name)
        if turn is Turn.SHARE and (failure := self._lifecycle.shared_failure) is not None:
            raise self._activation_error(failure) from cause_of(failure)
        return turn

    def late(self) -> ExtframeError:
        """Return the error for a handshake of another caller that did not end in time."""
        failure = CallTimeout("another caller's handshake did not end in time", phase="handshake")
        error = self._activation_error(failure)
        error.__cause__ = failure
        return error

    # Why it failed.

    @property
    def explains(self) -> bool:
        """Whether the registry explains failures, for which it may need a moment."""
        return self._listener is not None and self._listener.explains

    def why(self, failure: Exception) -> str | None:
        """Return the registry's reason for a failure: the process that it started has exited, say."""
        if self._is_uncontacted and self._cache is not None:  # the first call of a plugin that was remembered
            self._cache.record_failure(self._spec)
        return None if self._listener is None else self._listener.why(self._spec, failure)

    def _explain(self, failure: ExtframeError) -> None:
        """Ask for the reason of a failed handshake, once for all callers that wait for it. Not under the lock."""
        if is_own_error(failure):
            return
        reason = self.why(failure)
        self._explained = (failure, reason) if reason else None

    def _activation_error(self, failure: Exception) -> ExtframeError:
        if is_own_error(failure):
            return cast("ExtframeError", copy.copy(failure))
        explained = self._explained
        reason = explained[1] if explained is not None and explained[0] is failure else None
        return activation_error(self.spec, failure, reason)

    # What happens to it.

    def renew(self, spec: PluginSpec, seen: PluginSpec | None) -> None:
        """Use what the registry found after the source changed. A handshake under way ends first.

        Args:
            spec: what it found.
            seen: the `latest_spec` before the search. Nothing changes if another search has found something else since,
                which may be newer.
        """
        with self.lock:
            if seen is None or not _is_same(seen, self.latest_spec):
                return
            if self.state is State.ACTIVATING:
                self._pending_spec = spec
            elif self.state is not State.CLOSED:
                self._apply_spec(spec)

    def connection_refused(self, began: float) -> None:
        """Handle a refused connection, which the client reports: see `mark_lost`."""
        self.mark_lost(began)

    def mark_lost(self, began: float = math.inf, reason: str = "it refused a connection") -> None:
        """Record that the plugin refused a connection, or does not answer: the next use makes a new handshake.

        Args:
            began: when the attempt began, a ``time.monotonic()`` value. Before the last handshake it says nothing.
            reason: for the log and the lifecycle hooks.
        """
        with self.lock:
            self._lifecycle.mark_lost(reason, began)

    def _is_answer(self, failure: ExtframeError, timeout: float) -> bool:
        """Return whether what a ping raised shows that the plugin responds; if not, add to it what it was about."""
        if isinstance(failure, RemoteError) and self._spec.manifest is not None:
            return True
        self.client.endpoint.describe(failure, ACTIVATE, timeout)
        return False

    # What is remembered for the next run.

    def remember_in(self, cache: ManifestCache | None) -> None:
        """Use the manifest of an earlier run for the first activation, and remember what handshakes return."""
        self._cache = cache

    @property
    def is_suspect(self) -> bool:
        """Whether it was not tried yet, and was dead or hung in the last run."""
        return self._cache is not None and not self._lifecycle.handshakes and self._cache.is_suspect(self._spec)

    @property
    def responses(self) -> int:
        """A number that changes when the plugin responds to anything."""
        endpoint = self.client.endpoint
        return endpoint.circuit.responses + sum(each.circuit.responses for each in endpoint.instances or ())

    def _remembered(self) -> Manifest | None:
        """Return the manifest of an earlier run, where it may be used instead of a handshake; None if not."""
        if self._cache is None or self._lifecycle.handshakes:
            return None
        return self._cache.manifest(self._spec)

    def _known_manifest(self) -> Manifest | None:
        """Return the manifest, where no handshake is to be made; None if one is."""
        if self._spec.manifest is not None:  # this plugin has no handshake
            return self._spec.manifest
        self._offered = remembered = self._remembered()
        self._is_remembered = remembered is not None
        return remembered

    def _note_manifest(self, manifest: Manifest) -> Manifest:
        """Remember what a handshake returned, and return it."""
        self._is_remembered = False
        self._offered = manifest
        if self._cache is not None:
            self._cache.record_success(self._spec, manifest)
        return manifest

    @property
    def _is_uncontacted(self) -> bool:
        return self._is_remembered and not self.responses

    def require_approval(self, reason: str) -> None:
        """Record that the plugin has to be activated again, as the handlers that decide whether it is used changed."""
        with self.lock:
            self._must_be_approved = self.state is State.ACTIVATING
            self._lifecycle.mark_lost(reason)

    def manifest_changed(self) -> None:
        """Handle that its instances together implement something else: the next use makes a new handshake.

        During a handshake nothing happens, as its end compares them again.
        """
        with self.lock:
            self._compare_instances()

    def _compare_instances(self) -> None:
        """Lose the plugin if its instances together implement something else than its last handshake returned."""
        instances = self.client.endpoint.instances
        if instances is not None and self._spec.manifest is None and instances.manifest not in (None, self._offered):
            self._lifecycle.mark_lost("its instances implement something else now")

    def mark_missing(self, seen: PluginSpec, error: ExtframeError, reason: str) -> None:
        """Record that its source is gone or cannot be used. The plugin keeps its drivers for when it is back.

        A handshake under way fails, as the plugin that responds is not there any more.

        Args:
            seen: the spec whose source is gone. Ignored if the registry has found another since.
            error: raised by the caller that makes the handshake under way.
            reason: for the log and the lifecycle hooks.
        """
        with self.lock:
            if seen is self._spec and self._pending_spec is None and self.state is not State.CLOSED:
                self._lifecycle.mark_lost(reason)
                self._lifecycle.discard(error, reason)
                self._retarget(self._spec)  # closes its idle connections

    def _is_outdated(self) -> bool:
        """Return whether the source changed during the handshake, so that an earlier process may have answered it.

        Any instance may answer for several.
        """
        if len(self._spec.endpoints) > 1:
            return False
        pending = self._pending_spec
        if pending is not None and pending.stamp != self._spec.stamp:
            return True
        return self._listener is not None and self._listener.has_changed(self._spec)

    def _apply_spec(self, spec: PluginSpec) -> None:
        if _is_same(spec, self._spec):
            return  # another thread noticed the change too, and was first
        # Also to the same address: the process behind a socket that was replaced may live on.
        self._retarget(spec)
        has_remained = _has_remained(self._spec, spec)
        self._spec = spec
        self._lifecycle.forget_failure()
        if not has_remained:
            self._lifecycle.mark_lost("its source changed")

    def _retarget(self, spec: PluginSpec) -> None:
        self.client.retarget(spec.address, **where(spec))

    def _record_success(self, leader: Hashable, manifest: Manifest, left_out: Mapping[str, str] = {}) -> None:
        """Enter ACTIVE, where the handshake of this leader counts.

        Raises:
            PluginNotFound, SpecError: the source disappeared, or became unusable, during the handshake.
        """
        with self.lock:
            discarded = self._lifecycle.discarded if self._lifecycle.leads(leader) else None
            counts = self._lifecycle.succeeded(leader, manifest, monotonic())
            if counts:
                self.client.manifest, self.client.paths = manifest, self._spec.paths
                self.left_out = left_out
            if counts and manifest.implements:  # an empty manifest, which is requested again, removes nothing
                for gone in self.hook_calls.keys() - {hook_name(point) for point in manifest.implements}:
                    self.hook_calls.pop(gone, None)
            self._apply_pending_spec()
            self._compare_instances()
        if discarded is not None:
            raise copy.copy(discarded)
        if counts:
            points = ", ".join(manifest.implements) or "nothing"
            logger.info("plugin %r at %s is active: %s", self.name, self.address, points)

    def _record_failure(self, leader: Hashable, failure: ExtframeError | None) -> None:
        """Enter FAILED, if this leader makes a handshake; ``failure`` is None if it was abandoned."""
        if self._lifecycle.leads(leader):
            with self.lock:
                self._lifecycle.failed(leader, failure)
                if self._cache is not None and failure is not None and not is_own_error(failure):
                    self._cache.record_failure(self._spec)
                if isinstance(failure, ActivationVetoed):
                    self._retarget(self._spec)  # closes its idle connections
                self._apply_pending_spec()

    def _apply_pending_spec(self) -> None:
        if self._must_be_approved:
            self._must_be_approved = False
            self._lifecycle.mark_lost("a handler of plugin_activating was registered")
        spec, self._pending_spec = self._pending_spec, None
        if spec is not None and self.state is not State.CLOSED:
            self._apply_spec(spec)

    def _report(self, state: State, reason: str) -> None:
        if self._listener is not None:
            self._listener.state_changed(self, state, reason)
        if state is State.LOST:
            logger.info("plugin %r at %s is lost: %s", self.name, self.address, reason)


def where(spec: PluginSpec) -> dict[str, Any]:
    """Return where a plugin listens, as keyword arguments of a client in addition to the address."""
    return {"tls": spec.tls, "peer_uids": spec.peer_uids, "endpoints": spec.endpoints}


def _is_same(one: PluginSpec, other: PluginSpec) -> bool:
    return one == other and one.stamp == other.stamp


def _has_remained(before: PluginSpec, after: PluginSpec) -> bool:
    """Return whether one of several instances is still there: its client goes on without a handshake of the plugin."""
    known = {(each.address, each.tls) for each in before.endpoints}
    return len(known) > 1 and any((each.address, each.tls) in known for each in after.endpoints)


def driver_of(plugin: PluginBase[Any], interface: Any) -> Any:
    """Return the first driver that fits an interface, or, given the name of an extension point, the first one.

    The first is that of the handler which the manager prefers, or else which pluggy calls first.

    Raises:
        DoesNotImplement: the manifest lacks the extension point.
        HandlerError: the driver was requested by name, and no handler returned one.
    """
    plugin.require(interface)
    point = point_of(interface)
    calls = plugin.hook_calls.get(hook_name(point))
    results = calls.drivers() if calls else []
    if not isinstance(interface, str):
        typed = [result for result in results if isinstance(result, interface)]
        return typed[0] if typed else interface.remote(plugin.client)
    if not results:
        raise HandlerError(
            f"no handler returned a driver for {point!r}: install a handler package whose hook is "
            f"{hook_name(point)!r}, or request the driver by its Interface",
            plugin=plugin.name,
        )
    return results[0]


def handshake_time(deadline: float) -> float:
    """Return the seconds for a handshake, as `Remaining`: a message has the timeout that the caller gave.

    Raises:
        CallTimeout: the deadline has passed.
    """
    seconds = Remaining(deadline)
    if not seconds:
        raise CallTimeout("no time was left for the handshake", phase="handshake")
    return seconds
