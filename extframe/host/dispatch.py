"""Give an active plugin's extension points to the handlers. Activates nothing, registers nothing."""

from __future__ import annotations

import keyword
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import pluggy

from ..concurrency.threads import Worker
from ..errors import CallTimeout, ExtframeError, HandlerError
from ..handlers.failures import Failure, Failures
from ..handlers.hook_calls import Delivery, Monitor, inside_handler
from ..handlers.hooks import LIFECYCLE, spec_fault
from ..logs import get_logger
from ..protocol import hook_name
from .plugin import Plugin

if TYPE_CHECKING:
    from pluggy import HookImpl

logger = get_logger(__name__)


@dataclass(frozen=True)
class Due:
    """A delivery with handlers to call; ``again`` says whether those that failed are among them."""

    delivery: Delivery
    point: str
    again: bool


class Dispatcher:
    """Calls, for each entry of a plugin's manifest, the handlers of the hook of that name, each once.

    Args:
        relay: the manager's hooks.
        failures: where handlers that raise, and entries that reach no hook, are noted.
        monitors: returns what sees hook calls.
        origin: returns the distribution and the version that brought a handler.
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
        Inside a handler nothing that others run is waited for: they may be waiting for this very handler.

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

    def dispatch_here(self, plugin: Plugin, *, again: str = "", only: object = None) -> None:
        """Call the handlers that are due in this thread, for as long as they take; wait for no others.

        ``only`` is the one handler to be called, where it is not all: others that take long are not its maker's affair.
        """
        self._run(plugin, self._due(plugin, again), only)

    def wait(self, plugin: Plugin, deadline: float) -> None:
        """Wait for the handlers that other threads are running; inside a handler, for none.

        Raises:
            CallTimeout: one is still running at the deadline.
        """
        if inside_handler():
            return
        try:
            for delivery in list(plugin.deliveries.values()):
                delivery.wait(deadline)
        except TimeoutError:
            raise self.late(plugin) from None

    def is_due(self, plugin: Plugin) -> bool:
        """Return whether a handler has not been called, has failed, or has not returned."""
        return bool(self._due(plugin, None)) or any(each.running() for each in list(plugin.deliveries.values()))

    def late(self, plugin: Plugin) -> CallTimeout:
        """Return the error that names the handlers that have not returned."""
        names = sorted({name for delivery in list(plugin.deliveries.values()) for name in delivery.running()})
        who = f"handler {', '.join(map(repr, names))} has not returned" if names else "it was not ready in time"
        return CallTimeout(who, plugin=plugin.name, address=plugin.address, phase="handlers")

    def require(self, plugin: Plugin, point: str) -> None:
        """Do nothing if no handler of the extension point failed.

        Raises:
            HandlerError: of the first that did; the cause is chained.
        """
        delivery = plugin.deliveries.get(hook_name(point))
        for impl, cause in delivery.failed().items() if delivery else ():
            raise self._handler_error(plugin, point, impl, cause) from cause

    def forget(self, plugins: Sequence[Plugin], handler: object) -> None:
        """Drop whatever refers to a handler that was unregistered."""
        for plugin in plugins:
            for delivery in list(plugin.deliveries.values()):
                delivery.forget(handler)

    # What is due.

    def _due(self, plugin: Plugin, again: str | None) -> list[Due]:
        hook = None if again is None else hook_name(again)  # entries of one hook have one delivery
        each = [Due(found, point, hook in (None, hook_name(point))) for point, found in self._deliveries(plugin)]
        return [due for due in each if due.delivery.pending(again=due.again)]

    def _deliveries(self, plugin: Plugin) -> Iterator[tuple[str, Delivery]]:
        for hook, (point, caller) in dict(self._callers(plugin)).items():
            delivery = plugin.deliveries.get(hook) or plugin.deliveries.setdefault(hook, Delivery(caller))
            yield point, delivery

    def _callers(self, plugin: Plugin) -> Iterator[tuple[str, tuple[str, pluggy.HookCaller]]]:
        """Yield the hooks that the manifest reaches. It is not to be trusted: what reaches none is noted, once."""
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
            error = ExtframeError(f"{point!r} in the manifest reaches no hook: {fault}", plugin=plugin.name)
            self._failures.note(subject, Failure(f"manifest of plugin {plugin.name!r}", error))
            logger.warning("plugin %r: %s", plugin.name, error)

    # Calling.

    def _run(self, plugin: Plugin, dues: Sequence[Due], only: object = None) -> None:
        arguments = {"name": plugin.name, "client": plugin.client}
        for due in dues:
            due.delivery.run(arguments, again=due.again, only=only, monitors=self._monitors())
            self._note_outcome(plugin, due)

    def _note_outcome(self, plugin: Plugin, due: Due) -> None:
        failed = due.delivery.failed()
        for impl in due.delivery.called():
            subject = ("handler", impl.plugin_name, plugin.name, due.point)
            cause = failed.get(impl)
            if cause is None:
                self._failures.clear(subject)
            elif self._failures.exception(subject) is not cause:
                failure = Failure(_on(impl, plugin, due.point), cause, *self._origin(impl.plugin))
                self._failures.note(subject, failure)
                logger.warning("%s", failure, exc_info=cause)

    def _handler_error(self, plugin: Plugin, point: str, impl: HookImpl, cause: Exception) -> HandlerError:
        distribution, version = self._origin(impl.plugin)
        failure = Failure(_on(impl, plugin, point), cause, distribution, version)
        return HandlerError(
            f"{failure}; the next get calls it again, and blocking {impl.plugin_name!r} leaves it out",
            plugin=plugin.name,
            address=plugin.address,
            handler=impl.plugin_name,
            distribution=distribution,
            version=version,
        )


def _on(impl: HookImpl, plugin: Plugin, point: str) -> str:
    return f"handler {impl.plugin_name!r} on plugin {plugin.name!r} ({point})"


def _name_fault(hook: str) -> str | None:
    if hook in LIFECYCLE:
        return f"{hook!r} tells of plugins and is no extension point"
    if not hook.isidentifier() or keyword.iskeyword(hook) or hook.startswith("_"):
        return f"{hook!r} is no name of a hook"
    return None
