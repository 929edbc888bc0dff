"""Dispatch the extension points of an active plugin to the handlers. Activates nothing, registers nothing."""

from __future__ import annotations

import keyword
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import pluggy

from ..concurrency.threads import Worker
from ..errors import CallTimeout, ExtframeError, HandlerError
from ..handlers.failures import Failure, Failures
from ..handlers.hook_calls import HookCalls, Monitor, inside_handler
from ..handlers.hooks import LIFECYCLE, spec_fault
from ..logs import get_logger
from ..protocol import hook_name
from .plugin import Plugin

if TYPE_CHECKING:
    from pluggy import HookImpl

logger = get_logger(__name__)


@dataclass(frozen=True)
class Due:
    """Calls with handlers that are due; ``again`` says whether those that failed are among them."""

    calls: HookCalls
    point: str
    again: bool


class Dispatcher:
    """Calls, for each entry of a plugin's manifest, the handlers of the hook of that name, each once.

    Args:
        relay: the manager's hooks.
        failures: where handlers that raise, and entries without a usable hook, are noted.
        monitors: returns the monitors of hook calls.
        origin: returns the name and version of the distribution of a handler.
    """

    def __init__(
        self,
        relay: pluggy.HookRelay,
        *,
        failures: Failures,
        monitors: Callable[[], Sequence[Monitor]],
        origin: Callable[[object], tuple[str | None, str | None]],
    ) -> None:
        self._relay = relay
        self._failures = failures
        self._monitors = monitors
        self._origin = origin

    def dispatch(self, plugin: Plugin, deadline: float, *, again: str | None = None) -> None:
        """Call the handlers that are due, and wait until all have returned.

        Handlers run in a thread of their own: one that hangs costs its callers their deadlines, not more.
        Code that runs inside a handler does not wait for the handlers of other threads, which may be waiting for it.

        Args:
            plugin: must be active.
            deadline: a ``time.monotonic()`` value.
            again: the extension point whose failed handlers are called again; None for all.

        Raises:
            CallTimeout: a handler is still running at the deadline.
        """
        due = self._due(plugin, again)
        if due:
            try:
                Worker(lambda: self._run(plugin, due), f"extframe handlers of {plugin.name}").result(deadline)
            except TimeoutError:
                raise self.late(plugin) from None
        self.wait(plugin, deadline)

    def dispatch_here(self, plugin: Plugin, *, again: str = "") -> None:
        """Call the handlers that are due in this thread, however long they take; do not wait for other threads."""
        self._run(plugin, self._due(plugin, again))

    def dispatch_to(self, handler: object, plugins: Sequence[Plugin], deadline: float) -> None:
        """Call one handler, where it is due, for active plugins, in a thread of its own.

        If it has not returned at the deadline it keeps running, and that is noted as its failure.
        """
        due = [(plugin, self._due(plugin, "", handler)) for plugin in plugins]
        due = [(plugin, dues) for plugin, dues in due if dues]
        if not due:
            return

        def run() -> None:
            for plugin, dues in due:
                self._run(plugin, dues, handler)

        try:
            Worker(run, "extframe late handler").result(deadline)
        except TimeoutError:
            self._note_late(handler, due)
        except ExtframeError as error:  # the system has no thread: the next `get` calls the handler
            logger.warning("%s; the handlers of active plugins are called at their next use", error)

    def wait(self, plugin: Plugin, deadline: float) -> None:
        """Wait for the handlers that other threads are running, unless this code runs inside a handler.

        Raises:
            CallTimeout: one is still running at the deadline.
        """
        if inside_handler():
            return
        try:
            for calls in list(plugin.hook_calls.values()):
                calls.wait(deadline)
        except TimeoutError:
            raise self.late(plugin) from None

    def is_due(self, plugin: Plugin) -> bool:
        """Return whether a handler has not been called, has failed, or has not returned."""
        return bool(self._due(plugin, None)) or any(each.running() for each in list(plugin.hook_calls.values()))

    def late(self, plugin: Plugin) -> CallTimeout:
        """Return the error that names the handlers that have not returned."""
        names = sorted({name for calls in list(plugin.hook_calls.values()) for name in calls.running()})
        who = f"handler {', '.join(map(repr, names))} has not returned" if names else "it was not ready in time"
        return CallTimeout(who, plugin=plugin.name, address=plugin.address, phase="handlers")

    def require(self, plugin: Plugin, point: str) -> None:
        """Do nothing if no handler of the extension point failed.

        Raises:
            HandlerError: of the first that did; the cause is chained.
        """
        calls = plugin.hook_calls.get(hook_name(point))
        for impl, cause in calls.failed().items() if calls else ():
            raise self._handler_error(plugin, point, impl, cause) from cause

    def forget(self, plugins: Sequence[Plugin], handler: object) -> None:
        """Drop every reference to a handler that was unregistered."""
        for plugin in plugins:
            for calls in list(plugin.hook_calls.values()):
                calls.forget(handler)

    # What is due.

    def _due(self, plugin: Plugin, again: str | None, only: object = None) -> list[Due]:
        hook = None if again is None else hook_name(again)  # entries with the same hook share its calls
        each = [Due(calls, point, hook in (None, hook_name(point))) for point, calls in self._hook_calls(plugin)]
        return [due for due in each if due.calls.pending(again=due.again, only=only)]

    def _hook_calls(self, plugin: Plugin) -> Iterator[tuple[str, HookCalls]]:
        for hook, (point, caller) in dict(self._callers(plugin)).items():
            calls = plugin.hook_calls.get(hook) or plugin.hook_calls.setdefault(hook, HookCalls(caller))
            yield point, calls

    def _callers(self, plugin: Plugin) -> Iterator[tuple[str, tuple[str, pluggy.HookCaller]]]:
        """Yield the hooks that a manifest names. It is untrusted: entries without a usable hook are noted, once."""
        for point in plugin.manifest.implements:
            hook = hook_name(point)
            caller = getattr(self._relay, hook, None) if _name_fault(hook) is None else None
            fault = _name_fault(hook) or (caller and caller.spec and spec_fault(caller.spec))
            if fault:
                self._note_entry(plugin, point, fault)
            elif caller is not None:
                yield hook, (point, caller)

    def _note_entry(self, plugin: Plugin, point: str, fault: str) -> None:
        subject = ("entry", plugin.name, point)
        if subject not in self._failures:
            error = ExtframeError(f"{point!r} in the manifest has no usable hook: {fault}", plugin=plugin.name)
            self._failures.note(subject, Failure(f"manifest of plugin {plugin.name!r}", error))
            logger.warning("plugin %r: %s", plugin.name, error)

    # Calling.

    def _run(self, plugin: Plugin, dues: Sequence[Due], only: object = None) -> None:
        arguments = {"name": plugin.name, "client": plugin.client}
        for due in dues:
            due.calls.run(arguments, again=due.again, only=only, monitors=self._monitors())
            self._note_outcome(plugin, due)

    def _note_outcome(self, plugin: Plugin, due: Due) -> None:
        failed = due.calls.failed()
        for impl in due.calls.called():
            cause = failed.get(impl)
            subject = _subject(impl, plugin, due.point)
            if cause is None:
                self._failures.clear(subject)
            elif self._failures.exception(subject) is not cause:
                self._note(subject, impl, plugin, due.point, cause)

    def _note_late(self, handler: object, due: Sequence[tuple[Plugin, Sequence[Due]]]) -> None:
        for plugin, dues in due:
            for each in dues:
                for impl in each.calls.running_impls():
                    if impl.plugin is handler:
                        error = CallTimeout("it has not returned", plugin=plugin.name, phase="handlers")
                        self._note(_subject(impl, plugin, each.point), impl, plugin, each.point, error)

    def _note(self, subject: object, impl: HookImpl, plugin: Plugin, point: str, cause: BaseException) -> None:
        failure = self._failure(impl, plugin, point, cause)
        self._failures.note(subject, failure)
        logger.warning("%s", failure, exc_info=cause)

    def _failure(self, impl: HookImpl, plugin: Plugin, point: str, cause: BaseException) -> Failure:
        what = f"handler {impl.plugin_name!r} on plugin {plugin.name!r} ({point})"
        return Failure(what, cause, *self._origin(impl.plugin))

    def _handler_error(self, plugin: Plugin, point: str, impl: HookImpl, cause: BaseException) -> HandlerError:
        failure = self._failure(impl, plugin, point, cause)
        return HandlerError(
            f"{failure}; the next get calls it again, and blocking {impl.plugin_name!r} leaves it out",
            plugin=plugin.name,
            address=plugin.address,
            handler=impl.plugin_name,
            distribution=failure.distribution,
            version=failure.version,
        )


def _subject(impl: HookImpl, plugin: Plugin, point: str) -> tuple[str, str, str, str]:
    return "handler", impl.plugin_name, plugin.name, point


def _name_fault(hook: str) -> str | None:
    if hook in LIFECYCLE:
        return f"{hook!r} is a lifecycle hook, not an extension point"
    if not hook.isidentifier() or keyword.iskeyword(hook) or hook.startswith("_"):
        return f"{hook!r} cannot be the name of a hook"
    return None
