"""Whether a plugin may be used, and as what: what the handlers of ``plugin_activating`` decided. Decides; never waits.

Calls no handler, so that a host of threads and a host of tasks share it.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from typing import TYPE_CHECKING, Any, Generic, NoReturn, TypeVar

import pluggy

from ..client.method_path import is_handshake
from ..errors import (
    ActivationError,
    ActivationVetoed,
    CallTimeout,
    ConnectError,
    ExtframeError,
    PluginNotFound,
)
from ..handlers.hook_claims import HookRecord
from ..handlers.hook_context import HookContext
from ..handlers.hooks import is_lifecycle_hook
from ..protocol import Manifest, PluginSpec
from ..text import cut, printable, text_of
from .lifecycle import State
from .plugin_contracts import Approval
from .plugin_errors import left_out_error

if TYPE_CHECKING:
    from pluggy import HookImpl

    from .plugin_base import PluginBase

    AnyPlugin = PluginBase[Any]

HOOK = "plugin_activating"
TEXT_LIMIT = 2_000  # characters of a handler's exception in a message

H = TypeVar("H", bound=HookRecord)


class ApprovalRules(Generic[H]):
    """Decides whether plugins may be used.

    Args:
        context: the manager's hooks.
        new_calls: creates the record of the calls of one hook for one plugin.
    """

    def __init__(self, context: HookContext, new_calls: Callable[[pluggy.HookCaller], H]) -> None:
        self._relay = context.relay
        self._monitors = context.monitors
        self._origin = context.origin
        self._new_calls = new_calls

    @property
    def is_asked(self) -> bool:
        """Whether a handler has the hook."""
        return bool(self._impls())

    def _caller(self) -> pluggy.HookCaller | None:
        caller: pluggy.HookCaller | None = getattr(self._relay, HOOK, None)
        return caller if is_lifecycle_hook(caller) else None

    def _impls(self) -> list[HookImpl]:
        caller = self._caller()
        return caller.get_hookimpls() if caller is not None else []

    def _question(self) -> H:
        """Return the record of the calls for one handshake."""
        caller = self._caller()
        if caller is None:
            raise RuntimeError(f"no handler has the hook {HOOK}")
        return self._new_calls(caller)

    # What is decided.

    def verdict(self, calls: HookRecord, spec: PluginSpec, manifest: Manifest) -> Approval:
        """Return as what a plugin may be used, once all handlers were called.

        Raises:
            ActivationVetoed: a handler raised, returned something that is neither None nor a list of names, or left
                nothing of the manifest.
        """
        for impl, error in calls.failed().items():
            raise self._veto(impl, spec, error) from error
        left_out: dict[str, str] = {}
        for impl, kept in calls.returned():
            if not isinstance(kept, list | tuple | set | frozenset) or not all(isinstance(each, str) for each in kept):
                wrong = TypeError(f"it returned {kept!r}; expected None, or a list of extension points")
                raise self._veto(impl, spec, wrong) from wrong
            left_out.update(
                (point, self._who(impl)) for point in manifest.implements if point not in {*kept, *left_out}
            )
            if manifest.implements and set(manifest.implements) <= left_out.keys():
                nothing = ValueError(f"it left nothing of {', '.join(manifest.implements)}")
                raise self._veto(impl, spec, nothing) from nothing
        return Approval(_without(manifest, left_out), left_out)

    def raise_late(self, calls: HookRecord, spec: PluginSpec) -> NoReturn:
        """Raise ActivationVetoed for handlers that have not decided in time."""
        for impl in calls.running():
            late = CallTimeout("it did not decide in time", phase="handlers")
            raise self._veto(impl, spec, late) from late
        raise ActivationVetoed(f"plugin {spec.name!r}: {HOOK} was not decided in time", plugin=spec.name)

    def broken(self, spec: PluginSpec, error: BaseException) -> ActivationVetoed:
        """Return the error for a hook that could not be called, as when a monitor raises."""
        text = f"plugin {spec.name!r}: {HOOK} could not be called: {type(error).__name__}: {text_of(error)}"
        return ActivationVetoed(text, plugin=spec.name, address=spec.address)

    def _veto(self, impl: HookImpl, spec: PluginSpec, error: BaseException) -> ActivationVetoed:
        distribution, version = self._origin(impl.plugin)
        reason = printable(cut(text_of(error), TEXT_LIMIT)) or type(error).__name__
        return ActivationVetoed(
            f"plugin {spec.name!r} may not be used: {self._who(impl)} vetoed it: {reason}",
            plugin=spec.name,
            address=spec.address,
            handler=impl.plugin_name,
            distribution=distribution,
            version=version,
        )

    def _who(self, impl: HookImpl) -> str:
        distribution, version = self._origin(impl.plugin)
        return f"handler {impl.plugin_name!r}" + (f" of {distribution} {version}" if distribution else "")

    # Handlers that come and go.

    def handler_added(self, handler: object, plugins: Sequence[AnyPlugin]) -> None:
        """Have the handler asked about plugins that are active already, before their next use."""
        if any(impl.plugin is handler for impl in self._impls()):
            for plugin in plugins:
                self.protect(plugin)
                plugin.require_approval(f"a handler of {HOOK} was registered")

    def handler_removed(self, plugins: Sequence[AnyPlugin]) -> None:
        """Have plugins activated again that were narrowed, perhaps by a handler that was unregistered."""
        for plugin in plugins:
            self.protect(plugin)
            with plugin.lock:  # the handshake under way may be about to leave something out
                was_asked = plugin.question is not None and plugin.state is State.ACTIVATING
                if plugin.left_out or was_asked:
                    plugin.require_approval(f"a handler of {HOOK} was unregistered")

    def protect(self, plugin: AnyPlugin) -> None:
        """Have each call of a plugin checked as long as there is a handler that decides."""
        with plugin.lock:  # else this could end the checks for a handler that another thread registers meanwhile
            self._check_calls(plugin, self.is_asked)

    def _check_calls(self, plugin: Any, is_on: bool) -> None:
        """Begin or end to check each call of a plugin."""
        raise NotImplementedError


def _without(manifest: Manifest, left_out: Mapping[str, str]) -> Manifest:
    kept = tuple(point for point in manifest.implements if point not in left_out)
    return replace(manifest, implements=kept, versions=tuple(each for each in manifest.versions if each[0] in kept))


# --- calls ------------------------------------------------------------------------------------------------


def is_checked(method: str) -> bool:
    """Return whether a call needs an approved plugin: the handshake does not."""
    return not is_handshake(method)


def require_call(plugin: AnyPlugin, method: str) -> None:
    """Do nothing if a method belongs to an extension point that the plugin may be used as.

    Raises:
        DoesNotImplement: a handler left it out.
    """
    if plugin.left_out:
        prefix = method.lstrip("/").partition(".")[0]
        point = plugin.client.endpoint.points.get(prefix, prefix)
        if point in plugin.left_out:
            raise left_out_error(plugin, point)


def call_failure(failure: ExtframeError) -> ExtframeError:
    """Return the error of a call whose plugin could not be activated: it was not sent, so that it may be retried."""
    if isinstance(failure, ActivationVetoed) or not isinstance(failure, ActivationError | PluginNotFound):
        return failure
    cause = failure.__cause__
    if isinstance(cause, CallTimeout):
        return CallTimeout(failure.message, plugin=failure.plugin, phase=cause.phase)
    unsent = ConnectError(failure.message, plugin=failure.plugin)
    if isinstance(failure, PluginNotFound):
        unsent.__cause__ = FileNotFoundError(failure.message)
    else:
        unsent.__cause__ = cause.__cause__ if isinstance(cause, ConnectError) else failure
    return unsent
