"""Dispatch the extension points of an active plugin to the handlers, in threads. Activates nothing."""

from __future__ import annotations

from collections.abc import Sequence

from ..concurrency.threads import Worker
from ..errors import ExtframeError
from ..handlers.hook_calls import HookCalls
from ..handlers.hook_claims import inside_handler
from ..handlers.hook_context import HookContext
from ..logs import get_logger
from .dispatch_rules import DispatchRules, Due
from .plugin import Plugin

logger = get_logger(__name__)


class Dispatcher(DispatchRules[HookCalls]):
    """Calls, for each entry of a plugin's manifest, the handlers of the hook of that name, each once.

    Args:
        context: the manager's hooks.
    """

    def __init__(self, context: HookContext) -> None:
        super().__init__(context, HookCalls)

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
        unloaded = self._unloaded(plugin)
        due = [] if unloaded else self._due(plugin, again)
        if due or unloaded:

            def run() -> None:
                self._load(unloaded)
                self._run(plugin, self._due(plugin, again) if unloaded else due)

            try:
                Worker(run, f"extframe handlers of {plugin.name}").result(deadline)
            except TimeoutError:
                raise self.late(plugin) from None
        self.wait(plugin, deadline)

    def dispatch_here(self, plugin: Plugin, *, again: str = "") -> None:
        """Call the handlers that are due in this thread, however long they take; do not wait for other threads."""
        self._load(self._unloaded(plugin))
        self._run(plugin, self._due(plugin, again))

    def dispatch_to(self, handler: object, plugins: Sequence[Plugin], deadline: float) -> None:
        """Call one handler, where it is due, for active plugins, in a thread of its own.

        If it has not returned at the deadline it keeps running, and that is noted as its failure.
        """
        due = self._due_for(handler, plugins)
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
            for calls in self._recorded(plugin):
                calls.wait(deadline)
        except TimeoutError:
            raise self.late(plugin) from None

    def _load(self, hooks: Sequence[str]) -> None:
        for hook in hooks:
            self._deferred.load(hook)

    def _run(self, plugin: Plugin, dues: Sequence[Due[HookCalls]], only: object = None) -> None:
        arguments = {"name": plugin.name, "client": plugin.client}
        for due in dues:
            due.calls.run(arguments, again=due.again, only=only, monitors=self._monitors())
            self._note_outcome(plugin, due)
