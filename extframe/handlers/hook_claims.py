"""Which handlers of a hook were called for one plugin: who calls the next, what it returned, what failed.

Decides; never waits. Knows no threads, tasks or plugins, so that a host of threads and a host of tasks share it.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, nullcontext
from contextvars import ContextVar
from functools import partial
from types import AsyncGeneratorType, CoroutineType, GeneratorType
from typing import Any

import pluggy
from pluggy import HookImpl

NOT_RUN = (CoroutineType, GeneratorType, AsyncGeneratorType)  # what a function returns whose body has not run yet

Monitor = tuple[Callable[..., None], Callable[..., None]]
"""The arguments of ``add_hookcall_monitoring``: ``before`` and ``after``."""

Returned = Sequence[tuple[HookImpl, object]]
Order = Callable[[pluggy.HookCaller, Returned], Returned]
"""Orders what the handlers of a hook returned."""

_current_run: ContextVar[HookRun | None] = ContextVar("extframe_hook_run", default=None)


def inside_handler() -> bool:
    """Return whether this code was called, however indirectly, by a handler of an extension point that is running.

    A task or thread that a handler has started inherits its context, and may outlive it: it is outside then.
    """
    run = _current_run.get()
    return run is not None and not run.is_over


class HookRecord:
    """What the handlers of one hook were called with for one plugin, and what they returned. Each is called once.

    Args:
        caller: the hook.
        guard: held for bookkeeping, never while a handler runs; a lock where threads share the record.
        is_dispatch: whether this is the hook of an extension point, so that code that the handlers call must not
            wait for handlers.
    """

    def __init__(
        self,
        caller: pluggy.HookCaller,
        guard: AbstractContextManager[object] | None = None,
        *,
        is_dispatch: bool = True,
    ) -> None:
        self.caller = caller
        self.is_dispatch = is_dispatch
        self.order: Order | None = None
        self._guard = nullcontext() if guard is None else guard
        self._done: set[HookImpl] = set()
        self._failed: dict[HookImpl, BaseException] = {}
        self._results: list[tuple[HookImpl, object]] = []
        self._claimed: set[HookImpl] = set()
        self._current: dict[int, HookImpl] = {}  # by run: the handler that is being called
        self._unregistered = 0  # counts handlers, so that a run notices one
        self._waiters: dict[Callable[[], object], None] = {}

    @property
    def is_idle(self) -> bool:
        """Whether no handler is being called."""
        return not self._claimed

    def results(self) -> list[object]:
        """Return what the handlers returned, without None, in the order in which pluggy calls them."""
        with self._guard:
            return [result for _, result in self._results]

    def returned(self) -> list[tuple[HookImpl, object]]:
        """Return what `results` returns, each result with its handler."""
        with self._guard:
            return list(self._results)

    def drivers(self) -> list[object]:
        """Return what the handlers returned, without None: preferred handlers first, then in pluggy's order."""
        returned = self.returned() if self.order is None else self.order(self.caller, self.returned())
        return [driver for _, driver in returned]

    def failed(self) -> dict[HookImpl, BaseException]:
        """Return the handlers that raised, each with its exception."""
        with self._guard:
            return dict(self._failed)

    def called(self) -> list[HookImpl]:
        """Return the handlers that were called, including those that failed."""
        with self._guard:
            return [*self._done, *self._failed]

    def running(self) -> list[HookImpl]:
        """Return the handlers that were called and have not returned."""
        with self._guard:
            return [*self._current.values()]

    def running_names(self) -> list[str]:
        """Return the names of the handlers that were called and have not returned."""
        return [impl.plugin_name for impl in self.running()]

    def pending(self, *, again: bool = False, only: object = None) -> bool:
        """Return whether a registered handler is due; the arguments are those of `HookRun.claim`."""
        with self._guard:
            return bool(self._due(again, only))

    def wake(self, waiter: Callable[[], object]) -> bool:
        """Have ``waiter`` called once, when a caller has finished; return False if no handler is being called."""
        with self._guard:
            if self._claimed:
                self._waiters[waiter] = None
            return bool(self._claimed)

    def cancel(self, waiter: Callable[[], object]) -> None:
        """Forget a waiter."""
        self._waiters.pop(waiter, None)

    def forget(self, handler: object) -> None:
        """Drop every reference to a handler that was unregistered."""
        with self._guard:
            self._unregistered += 1
            self._done = {impl for impl in self._done if impl.plugin is not handler}
            self._failed = {impl: error for impl, error in self._failed.items() if impl.plugin is not handler}
            self._results = [(impl, result) for impl, result in self._results if impl.plugin is not handler]

    def _due(self, again: bool, only: object) -> list[HookImpl]:
        called = self._done | self._claimed
        if not again:
            called |= self._failed.keys()
        due = [impl for impl in self.caller.get_hookimpls() if impl not in called]
        return due if only is None else [impl for impl in due if impl.plugin is only]

    def _settle(
        self, done: Sequence[tuple[HookImpl, object]] = (), failed: Sequence[tuple[HookImpl, BaseException]] = ()
    ) -> None:
        with self._guard:
            impls = self.caller.get_hookimpls()
            registered = set(impls)  # a handler that was unregistered meanwhile leaves no trace
            self._failed.update((impl, error) for impl, error in failed if impl in registered)
            returned = [pair for pair in done if pair[0] in registered]
            self._done.update([impl for impl, _ in returned])
            if self._failed:
                self._failed = {impl: error for impl, error in self._failed.items() if impl not in self._done}
            fresh = [pair for pair in returned if pair[1] is not None]
            if fresh:
                self._results = _in_call_order([*self._results, *fresh], impls) if self._results else fresh

    def _replace_results(self, impl: HookImpl, returned: Sequence[object]) -> None:
        with self._guard:
            makers = {id(result): maker for maker, result in self._results}
            self._results = [(makers.get(id(result), impl), result) for result in returned if result is not None]


class HookRun:
    """The handlers that one caller has claimed, and calls one after the other.

    ::

        run = HookRun(record)
        try:
            if run.claim():
                for impl in run.handlers():
                    run.call(impl, arguments)  # or otherwise, and then run.returned(impl, result), or run.raised
                run.settle()
                run.finish_wrappers()
        finally:
            run.settle()
            run.release()

    Nothing may come between `claim` and the `try`, such as the first step of a task, which may never be taken.

    Args:
        record: of the hook.
        in_loop: whether an event loop calls the handlers, and awaits the async ones. Ctrl-C does not reach the threads
            of the others then: a KeyboardInterrupt is the handler's own.
    """

    def __init__(self, record: HookRecord, *, in_loop: bool = False) -> None:
        self.claimed: list[HookImpl] = []
        self.is_over = False
        self._record = record
        self._in_loop = in_loop
        self._interruptions = () if in_loop else (KeyboardInterrupt,)
        self._done: list[tuple[HookImpl, object]] = []
        self._failed: list[tuple[HookImpl, BaseException]] = []
        self._wrappers: list[tuple[HookImpl, Any]] = []

    def enter(self) -> None:
        """Have `inside_handler` return True in this context, until the run is over."""
        _current_run.set(self if self._record.is_dispatch else None)

    def claim(self, *, again: bool = False, only: object = None) -> bool:
        """Claim the handlers that are due, so that no other run calls them; return whether there are any.

        Args:
            again: include those that failed.
            only: the one handler to claim, instead of all.
        """
        record = self._record
        with record._guard:
            self.claimed += record._due(again, only)
            record._claimed.update(self.claimed)
        return bool(self.claimed)

    def handlers(self) -> Iterator[HookImpl]:
        """Yield the handlers to call, in pluggy's order. One that is unregistered meanwhile is skipped."""
        record, me = self._record, id(self)
        current, unregistered = record._current, record._unregistered
        for impl in reversed(self.claimed):
            if unregistered == record._unregistered or impl in record.caller.get_hookimpls():
                current[me] = impl
                yield impl

    def call(self, impl: HookImpl, arguments: Mapping[str, object]) -> CoroutineType[Any, Any, object] | None:
        """Call a handler in this thread, and note what it returned or raised: one that raises does not stop others.

        Returns:
            The coroutine that an event loop is to await, with `awaited` or `raised` to follow; None if it is done.
        """
        try:
            result = call_handler(impl, arguments)
            if isinstance(result, NOT_RUN):
                if self._in_loop and isinstance(result, CoroutineType):
                    return result
                require_run(impl, result)
            self.returned(impl, result)
        except self._interruptions:
            raise
        except BaseException as error:  # noqa: BLE001 - each handler is isolated
            self.raised(impl, error)
        return None

    def awaited(self, impl: HookImpl, result: object) -> None:
        """Note what the coroutine of an async handler returned."""
        try:
            require_run(impl, result)
        except TypeError as error:
            self.raised(impl, error)
        else:
            self.returned(impl, result)

    def returned(self, impl: HookImpl, result: Any) -> None:
        """Note what a handler returned. A wrapper runs up to its ``yield``, and goes on in `finish_wrappers`."""
        if not impl.wrapper:
            self._done.append((impl, result))
            return
        try:
            _start(result)
        except self._interruptions:
            raise
        except BaseException as error:  # noqa: BLE001 - a wrapper that raises does not stop the others
            self.raised(impl, error)
        else:
            self._wrappers.append((impl, result))

    def raised(self, impl: HookImpl, error: BaseException) -> None:
        """Note that a handler failed."""
        self._failed.append((impl, error))

    @property
    def has_wrappers(self) -> bool:
        """Whether `finish_wrappers` has something to do."""
        return bool(self._wrappers)

    def settle(self) -> None:
        """Record what was noted, also where a later handler was interrupted."""
        if self._done or self._failed:
            self._record._settle(self._done, self._failed)
            self._done, self._failed = [], []

    def finish_wrappers(self) -> None:
        """Send each wrapper the results, and keep what it returns instead of them."""
        while self._wrappers:
            impl, generator = self._wrappers.pop()
            self._record._current[id(self)] = impl
            try:
                generator.send(self._record.results())
            except StopIteration as stop:
                self._keep(impl, stop.value)
            except self._interruptions:
                raise
            except BaseException as error:  # noqa: BLE001 - as above
                self.raised(impl, error)
            else:
                generator.close()
                self.raised(impl, RuntimeError("the wrapper yielded twice"))
        self.settle()

    def release(self) -> None:
        """Let other runs claim what was not called, and wake those who wait. The run is over then."""
        record = self._record
        self.is_over = True
        if self.claimed or record._waiters:
            with record._guard:
                if self.claimed:
                    record._current.pop(id(self), None)
                    record._claimed.difference_update(self.claimed)
                    self.claimed.clear()  # from now on another run may have claimed them
                for waiter in list(record._waiters):
                    waiter()
                    record.cancel(waiter)

    def _keep(self, impl: HookImpl, returned: object) -> None:
        if isinstance(returned, list | tuple):
            self._record._replace_results(impl, returned)
            self._done.append((impl, None))
        else:
            self.raised(
                impl, TypeError("the wrapper did not return a list; it returns the results, as in: return (yield)")
            )


def call_handler(impl: HookImpl, arguments: Mapping[str, object]) -> Any:
    """Call a handler, as pluggy does, and return its result.

    Raises:
        TypeError: it cannot be the handler of an extension point.
    """
    if impl.hookwrapper:
        raise TypeError("an old-style hookwrapper cannot wrap an extension point; use hookimpl(wrapper=True)")
    try:
        positional = [arguments[name] for name in impl.argnames]
    except KeyError as missing:
        raise TypeError(f"it takes {missing}; a hook of an extension point takes {', '.join(arguments)}") from None
    if impl.kwargnames:
        # Parameters with defaults: pluggy passes them from 1.7 on, and leaves them out before.
        named = {name: arguments[name] for name in impl.kwargnames if name in arguments}
        return impl.function(*positional, **named)
    return impl.function(*positional)


def require_run(impl: HookImpl, result: object) -> None:
    """Do nothing if a handler ran, which an async or generator function has not done when it returns.

    Raises:
        TypeError: it did not run.
    """
    if not isinstance(result, NOT_RUN):
        return
    if isinstance(result, CoroutineType):
        result.close()  # avoids the warning that it was never awaited
        raise TypeError(
            "it is an async function, which a PluginManager does not await; declare the handler with def, or use "
            "AsyncPluginManager"
        )
    if isinstance(result, AsyncGeneratorType):
        raise TypeError("it is an async generator, so its body did not run; a wrapper is a generator: def, and yield")
    if not impl.wrapper:
        raise TypeError("it yields, so its body did not run; a handler returns its driver, a wrapper has wrapper=True")


class MonitoredCall:
    """Has the monitors see one hook call. They are nested as by pluggy: the one that was added last is outermost.

    Args:
        hook: the name of the hook.
        impls: the handlers that are called.
        arguments: what they are called with.
        monitors: those that were added, the first first.
    """

    def __init__(
        self, hook: str, impls: Sequence[HookImpl], arguments: Mapping[str, object], monitors: Sequence[Monitor]
    ) -> None:
        self._call = hook, impls, arguments
        self._monitors = monitors
        self._entered: list[Callable[..., None]] = []

    def before(self) -> pluggy.Result[Any] | None:
        """Notify the monitors that the call begins; return the outcome if one of them raised."""
        for before, after in reversed(self._monitors):
            outcome: pluggy.Result[Any] = pluggy.Result.from_call(partial(before, *self._call))
            if outcome.exception is not None:
                return outcome
            self._entered.append(after)
        return None

    def after(self, outcome: pluggy.Result[Any]) -> Any:
        """Notify the monitors of the outcome, which they may replace, and return the result, or raise."""
        while self._entered:
            outcome = pluggy.Result.from_call(partial(self._notify, self._entered.pop(), outcome))
        return outcome.get_result()

    def _notify(self, after: Callable[..., None], outcome: pluggy.Result[Any]) -> Any:
        after(outcome, *self._call)
        return outcome.get_result()


def _start(generator: Any) -> None:
    try:
        next(generator)
    except StopIteration:
        raise RuntimeError("the wrapper did not yield") from None


def _in_call_order(
    results: Sequence[tuple[HookImpl, object]], impls: Sequence[HookImpl]
) -> list[tuple[HookImpl, object]]:
    # pluggy calls from the end of its list. Wrappers are there, so what one of them added comes first.
    rank = {impl: -position for position, impl in enumerate(impls)}
    return sorted(results, key=lambda pair: rank.get(pair[0], 0))
