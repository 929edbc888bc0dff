"""Call the handlers of one hook for one plugin, each once, from threads. Knows pluggy; knows no plugin."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from contextvars import copy_context

import pluggy

from ..concurrency.deadlines import left
from ..concurrency.event import Event
from ..concurrency.locks import signal_safe_lock
from ..errors import CallTimeout
from .hook_claims import HookRecord, HookRun, Monitor, MonitoredCall


class HookCalls(HookRecord):
    """The calls of one hook's handlers for one plugin, made by threads.

    Args:
        caller: the hook.
        is_dispatch: as for `HookRecord`.
    """

    def __init__(self, caller: pluggy.HookCaller, *, is_dispatch: bool = True) -> None:
        super().__init__(caller, signal_safe_lock(), is_dispatch=is_dispatch)

    def wait(self, deadline: float) -> None:
        """Wait for the handlers that other threads are running.

        Raises:
            CallTimeout: one of them is still running at the deadline (a ``time.monotonic()`` value).
        """
        while not self.is_idle:
            ended = Event()
            if self.wake(ended.set) and not ended.wait(left(deadline)):
                self.cancel(ended.set)
                names = ", ".join(map(repr, self.running_names()))
                raise CallTimeout(f"handler {names} has not returned", phase="handlers")

    def run(
        self,
        arguments: Mapping[str, object],
        *,
        again: bool = False,
        only: object = None,
        monitors: Sequence[Monitor] = (),
    ) -> None:
        """Call every handler that is due, each isolated: one that raises does not stop the others.

        Wrappers run once around the whole. Failures are kept in ``failed()``.

        Args:
            arguments: ``name`` and ``client``.
            again: call those that failed before, too.
            only: the one handler to call, instead of all.
            monitors: see the dispatch as they see any hook call.
        """
        run = HookRun(self)
        # The second release is for Ctrl-C in the first: a handler that stays claimed would never be called.
        try:
            if run.claim(again=again, only=only):
                copy_context().run(self._call_inside, run, arguments, monitors)
            run.release()
        finally:
            run.release()

    def _call_inside(self, run: HookRun, arguments: Mapping[str, object], monitors: Sequence[Monitor]) -> None:
        run.enter()
        if not monitors:
            self._call_all(run, arguments)
            return
        monitored = MonitoredCall(self.caller.name, [*run.claimed], arguments, monitors)
        monitored.after(monitored.before() or pluggy.Result.from_call(lambda: self._call_all(run, arguments)))

    def _call_all(self, run: HookRun, arguments: Mapping[str, object]) -> list[object]:
        try:
            for impl in run.handlers():
                run.call(impl, arguments)
        finally:
            run.settle()
        run.finish_wrappers()
        return self.results()
