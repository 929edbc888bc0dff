"""Pass lifecycle events of plugins on to the handlers, in order. Decides nothing; knows no states of plugins."""

from __future__ import annotations

from collections import deque
from contextlib import suppress
from typing import Any

import pluggy

from ..concurrency import deadlines
from ..concurrency.locks import signal_safe_lock
from ..concurrency.threads import Worker
from ..errors import CallTimeout
from ..logs import get_logger
from .failures import Failure
from .hook_calls import HookCalls
from .hook_claims import HookRecord
from .hook_context import HookContext
from .hooks import is_lifecycle_hook

TIMEOUT = 10.0  # seconds for the handlers of one event

logger = get_logger(__name__)


class LifecycleRecords:
    """Records how the handlers of lifecycle events ended. Calls none, and never waits.

    Args:
        context: the manager's hooks.
    """

    def __init__(self, context: HookContext) -> None:
        self._relay = context.relay
        self._failures = context.failures
        self._monitors = context.monitors
        self._origin = context.origin
        self._deferred = context.deferred

    def _caller(self, hook: str) -> pluggy.HookCaller | None:
        """Return a lifecycle hook that has handlers, imported or not, or None."""
        caller: pluggy.HookCaller | None = getattr(self._relay, hook, None)
        if caller is None or not is_lifecycle_hook(caller):
            return None
        return caller if caller.get_hookimpls() or self._deferred.has(hook) else None

    def _note_late(self, calls: HookRecord, plugin: str) -> None:
        late = CallTimeout(f"it has not returned after {TIMEOUT:g} s", phase="handlers")
        for handler in calls.running_names():
            self._note(handler, None, calls.caller.name, plugin, late)

    def _note_outcome(self, calls: HookRecord, plugin: str) -> None:
        failed = calls.failed()
        for impl in calls.called():
            self._note(impl.plugin_name, impl.plugin, calls.caller.name, plugin, failed.get(impl))

    def _note(self, handler: str, made_by: object, hook: str, plugin: str, error: BaseException | None) -> None:
        subject = ("handler", handler, plugin, hook)
        if error is None:
            self._failures.clear(subject)
            return
        failure = Failure(f"handler {handler!r} of {hook} on plugin {plugin!r}", error, *self._origin(made_by))
        self._failures.note(subject, failure)
        logger.warning("%s", failure, exc_info=error)

    def _note_undelivered(self, hook: str, plugin: str, error: BaseException) -> None:
        """Log what a monitor raised, a handler's Ctrl-C, or a system without threads."""
        logger.warning("%s of plugin %r could not be delivered: %s", hook, plugin, error)


class LifecycleEvents(LifecycleRecords):
    """The events that have happened and have not reached the handlers yet, which a thread calls.

    Args:
        context: the manager's hooks.
    """

    def __init__(self, context: HookContext) -> None:
        super().__init__(context)
        self._queue: deque[tuple[pluggy.HookCaller, dict[str, Any]]] = deque()
        self._lock = signal_safe_lock()  # held for bookkeeping only
        self._worker: Worker[None] | None = None

    def publish(self, hook: str, **arguments: object) -> None:
        """Have the handlers of a hook called, after those of earlier events. Returns at once."""
        caller = self._caller(hook)
        if caller is None:
            return
        is_running = True
        with self._lock:
            self._queue.append((caller, arguments))
            if self._worker is None:
                self._worker = Worker(self._deliver_all, "extframe lifecycle events")
                is_running = self._worker.started
                if not is_running:
                    self._worker = None
        if not is_running:
            logger.warning(
                "the system has no thread for %s of plugin %r; it is delivered with the next event",
                hook,
                arguments["name"],
            )

    def _deliver_all(self) -> None:
        while True:
            with self._lock:
                if not self._queue:
                    self._worker = None
                    return
                caller, arguments = self._queue.popleft()
            with suppress(Exception):  # a log handler of the host's raised: later events are delivered all the same
                self._deliver(caller, arguments)

    def _deliver(self, caller: pluggy.HookCaller, arguments: dict[str, Any]) -> None:
        calls = HookCalls(caller, is_dispatch=False)

        def run() -> None:
            self._deferred.load(caller.name)
            calls.run(arguments, monitors=self._monitors())

        work = Worker(run, f"extframe {caller.name} {arguments['name']}")
        try:
            work.result(deadlines.after(TIMEOUT))
        except TimeoutError:
            self._note_late(calls, arguments["name"])
        except BaseException as error:  # noqa: BLE001 - only logged
            self._note_undelivered(caller.name, arguments["name"], error)
        self._note_outcome(calls, arguments["name"])
