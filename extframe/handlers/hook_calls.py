"""Call the handlers of one hook for one plugin, each once, from threads. Knows pluggy; knows no plugin."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from contextvars import ContextVar, copy_context

import pluggy
from pluggy import HookImpl

from ..concurrency.deadlines import left
from ..concurrency.event import Event
from ..concurrency.locks import signal_safe_lock
from ..errors import CallTimeout
from .hook_claims import NOT_RUN, HookRecord, HookRun, call_handler, require_run

Monitor = tuple[Callable[..., None], Callable[..., None]]
"""The arguments of ``add_hookcall_monitoring``: ``before`` and ``after``."""

_dispatching: ContextVar[bool] = ContextVar("extframe_dispatching", default=False)


def inside_handler() -> bool:
    """Return whether this code was called, however indirectly, by a handler of an extension point."""
    return _dispatching.get()


class HookCalls:
    """The calls of one hook's handlers for one plugin.

    Args:
        caller: the hook.
        is_dispatch: whether this is the hook of an extension point, so that code that the handlers call must not
            wait for handlers.
    """

    def __init__(self, caller: pluggy.HookCaller, *, is_dispatch: bool = True) -> None:
        self._record = HookRecord(caller, signal_safe_lock())
        self._is_dispatch = is_dispatch

    def results(self) -> list[object]:
        """Return what the handlers returned, without None, in the order in which pluggy calls them."""
        return self._record.results()

    def failed(self) -> dict[HookImpl, BaseException]:
        """Return the handlers that raised, each with its exception."""
        return self._record.failed()

    def called(self) -> list[HookImpl]:
        """Return the handlers that were called, including those that failed."""
        return self._record.called()

    def pending(self, *, again: bool = False, only: object = None) -> bool:
        """Return whether a registered handler is due; the arguments are those of `run`."""
        return self._record.pending(again=again, only=only)

    def forget(self, handler: object) -> None:
        """Drop every reference to a handler that was unregistered."""
        self._record.forget(handler)

    def running_impls(self) -> list[HookImpl]:
        """Return the handlers that were called and have not returned."""
        return self._record.running()

    def running(self) -> list[str]:
        """Return the names of the handlers that were called and have not returned."""
        return [impl.plugin_name for impl in self._record.running()]

    def wait(self, deadline: float) -> None:
        """Wait for the handlers that other threads are running.

        Raises:
            CallTimeout: one of them is still running at the deadline (a ``time.monotonic()`` value).
        """
        while not self._record.is_idle:
            ended = Event()
            if self._record.wake(ended.set) and not ended.wait(left(deadline)):
                self._record.cancel(ended.set)
                names = ", ".join(map(repr, self.running()))
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
        run = HookRun(self._record)
        # The second release is for Ctrl-C in the first: a handler that stays claimed would never be called.
        try:
            if run.claim(again=again, only=only):
                copy_context().run(self._call_inside, run, arguments, monitors)
            run.release()
        finally:
            run.release()

    def _call_inside(self, run: HookRun, arguments: Mapping[str, object], monitors: Sequence[Monitor]) -> None:
        _dispatching.set(self._is_dispatch)
        caller = self._record.caller
        _monitored(lambda: self._call_all(run, arguments), caller.name, [*run.claimed], arguments, monitors)

    def _call_all(self, run: HookRun, arguments: Mapping[str, object]) -> list[object]:
        returned = run.returned
        try:
            for impl in run.handlers():
                try:
                    result = call_handler(impl, arguments)
                    if isinstance(result, NOT_RUN):
                        require_run(impl, result)
                    returned(impl, result)
                except KeyboardInterrupt:  # noqa: PERF203 - each handler is isolated
                    raise
                except BaseException as error:  # noqa: BLE001 - one that raises does not stop the others
                    run.raised(impl, error)
        finally:
            run.settle()
        run.finish_wrappers()
        return self.results()


def _monitored(
    call: Callable[[], list[object]],
    hook: str,
    impls: Sequence[HookImpl],
    arguments: Mapping[str, object],
    monitors: Sequence[Monitor],
) -> list[object]:
    """Call through the monitors, the one that was added last outermost, as pluggy nests them."""
    if not monitors:
        return call()
    before, after = monitors[-1]
    before(hook, impls, arguments)
    outcome = pluggy.Result.from_call(lambda: _monitored(call, hook, impls, arguments, monitors[:-1]))
    after(outcome, hook, impls, arguments)
    return outcome.get_result()
