"""Which handlers are due for an active plugin, and what their outcomes mean. Decides; never waits.

Calls no handler, so that a host of threads and a host of tasks share it.
"""

from __future__ import annotations

import keyword
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Generic, TypeVar

import pluggy

from ..errors import CallTimeout, ExtframeError, HandlerError
from ..handlers.failures import Failure
from ..handlers.hook_claims import HookRecord
from ..handlers.hook_context import HookContext
from ..handlers.hooks import LIFECYCLE, spec_fault
from ..logs import get_logger
from ..protocol import hook_name

if TYPE_CHECKING:
    from pluggy import HookImpl

    from .plugin_base import PluginBase

    AnyPlugin = PluginBase[Any]

H = TypeVar("H", bound=HookRecord)
P = TypeVar("P", bound="PluginBase[Any]")

logger = get_logger(__name__)


@dataclass(frozen=True)
class Due(Generic[H]):
    """Calls of handlers that are due; ``again`` says whether those that failed are among them."""

    calls: H
    point: str
    again: bool


class DispatchRules(Generic[H]):
    """Decides which handlers are called for a plugin, each once, and records how that ended.

    Args:
        context: the manager's hooks. Entries without a usable hook are noted as failures, too.
        new_calls: creates the record of the calls of one hook for one plugin.
    """

    def __init__(self, context: HookContext, new_calls: Callable[[pluggy.HookCaller], H]) -> None:
        self._relay = context.relay
        self._failures = context.failures
        self._monitors = context.monitors
        self._origin = context.origin
        self._deferred = context.deferred
        self._order = context.order
        self._new_calls = new_calls

    def is_due(self, plugin: AnyPlugin) -> bool:
        """Return whether a handler has not been called, has failed, or has not returned."""
        if self._unloaded(plugin):
            return True
        return bool(self._due(plugin, None)) or any(calls.running() for calls in self._recorded(plugin))

    def late(self, plugin: AnyPlugin) -> CallTimeout:
        """Return the error that names the handlers that have not returned."""
        names = sorted({name for calls in self._recorded(plugin) for name in calls.running_names()})
        who = f"handler {', '.join(map(repr, names))} has not returned" if names else "it was not ready in time"
        unloaded = self._unloaded(plugin)
        if unloaded:
            who = f"the handlers of {', '.join(unloaded)} are still being imported"
        return CallTimeout(who, plugin=plugin.name, address=plugin.address, phase="handlers")

    def require(self, plugin: AnyPlugin, point: str) -> None:
        """Do nothing if no handler of the extension point failed.

        Raises:
            HandlerError: of the first that did; the cause is chained.
        """
        calls = plugin.hook_calls.get(hook_name(point))
        for impl, cause in calls.failed().items() if calls else ():
            raise self._handler_error(plugin, point, impl, cause) from cause

    def forget(self, plugins: Sequence[AnyPlugin], handler: object) -> None:
        """Drop every reference to a handler that was unregistered."""
        for plugin in plugins:
            for calls in self._recorded(plugin):
                calls.forget(handler)

    # What is due.

    def _unloaded(self, plugin: AnyPlugin) -> list[str]:
        """Return the hooks that a manifest names and whose handlers were not imported yet."""
        if not self._deferred:
            return []
        hooks = dict.fromkeys(hook_name(point) for point in plugin.manifest.implements)
        return [hook for hook in hooks if self._deferred.has(hook) and _name_fault(hook) is None]

    def _recorded(self, plugin: AnyPlugin) -> list[H]:
        recorded: dict[str, Any] = plugin.hook_calls
        return list(recorded.values())

    def _due(self, plugin: AnyPlugin, again: str | None, only: object = None) -> list[Due[H]]:
        hook = None if again is None else hook_name(again)  # entries with the same hook share its calls
        each = [Due(calls, point, hook in (None, hook_name(point))) for point, calls in self._hook_calls(plugin)]
        return [due for due in each if due.calls.pending(again=due.again, only=only)]

    def _due_for(self, handler: object, plugins: Sequence[P]) -> list[tuple[P, list[Due[H]]]]:
        due = [(plugin, self._due(plugin, "", handler)) for plugin in plugins]
        return [(plugin, dues) for plugin, dues in due if dues]

    def _hook_calls(self, plugin: AnyPlugin) -> Iterator[tuple[str, H]]:
        recorded: dict[str, Any] = plugin.hook_calls
        for hook, (point, caller) in dict(self._callers(plugin)).items():
            yield point, recorded.get(hook) or recorded.setdefault(hook, self._new_record(caller))

    def _new_record(self, caller: pluggy.HookCaller) -> H:
        calls = self._new_calls(caller)
        calls.order = self._order
        return calls

    def _callers(self, plugin: AnyPlugin) -> Iterator[tuple[str, tuple[str, pluggy.HookCaller]]]:
        """Yield the hooks that a manifest names. It is untrusted: entries without a usable hook are noted, once."""
        for point in plugin.manifest.implements:
            hook = hook_name(point)
            caller = getattr(self._relay, hook, None) if _name_fault(hook) is None else None
            fault = _name_fault(hook) or (caller and caller.spec and spec_fault(caller.spec))
            if fault:
                self._note_entry(plugin, point, fault)
            elif caller is not None:
                yield hook, (point, caller)

    def _note_entry(self, plugin: AnyPlugin, point: str, fault: str) -> None:
        subject = ("entry", plugin.name, point)
        if subject not in self._failures:
            error = ExtframeError(f"{point!r} in the manifest has no usable hook: {fault}", plugin=plugin.name)
            self._failures.note(subject, Failure(f"manifest of plugin {plugin.name!r}", error))
            logger.warning("plugin %r: %s", plugin.name, error)

    # How it ended.

    def _note_outcome(self, plugin: AnyPlugin, due: Due[H]) -> None:
        failed = due.calls.failed()
        for impl in due.calls.called():
            cause = failed.get(impl)
            subject = _subject(impl, plugin, due.point)
            if cause is None:
                self._failures.clear(subject)
            elif self._failures.exception(subject) is not cause:
                self._note(subject, impl, plugin, due.point, cause)

    def _note_late(self, handler: object, due: Sequence[tuple[AnyPlugin, Sequence[Due[H]]]]) -> None:
        for plugin, dues in due:
            for each in dues:
                for impl in each.calls.running():
                    if impl.plugin is handler:
                        error = CallTimeout("it has not returned", plugin=plugin.name, phase="handlers")
                        self._note(_subject(impl, plugin, each.point), impl, plugin, each.point, error)

    def _note(self, subject: object, impl: HookImpl, plugin: AnyPlugin, point: str, cause: BaseException) -> None:
        failure = self._failure(impl, plugin, point, cause)
        self._failures.note(subject, failure)
        logger.warning("%s", failure, exc_info=cause)

    def _failure(self, impl: HookImpl, plugin: AnyPlugin, point: str, cause: BaseException) -> Failure:
        what = f"handler {impl.plugin_name!r} on plugin {plugin.name!r} ({point})"
        return Failure(what, cause, *self._origin(impl.plugin))

    def _handler_error(self, plugin: AnyPlugin, point: str, impl: HookImpl, cause: BaseException) -> HandlerError:
        failure = self._failure(impl, plugin, point, cause)
        return HandlerError(
            f"{failure}; the next get calls it again, and blocking {impl.plugin_name!r} leaves it out",
            plugin=plugin.name,
            address=plugin.address,
            handler=impl.plugin_name,
            distribution=failure.distribution,
            version=failure.version,
        )


def _subject(impl: HookImpl, plugin: AnyPlugin, point: str) -> tuple[str, str, str, str]:
    return "handler", impl.plugin_name, plugin.name, point


def _name_fault(hook: str) -> str | None:
    if hook in LIFECYCLE:
        return f"{hook!r} is a lifecycle hook, not an extension point"
    if not hook.isidentifier() or keyword.iskeyword(hook) or hook.startswith("_"):
        return f"{hook!r} cannot be the name of a hook"
    return None
