"""What the handlers of one hook were given for one plugin, each of them once. Knows pluggy; knows no plugin."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextvars import ContextVar, copy_context
from types import CoroutineType, GeneratorType
from typing import Any

import pluggy
from pluggy import HookImpl

from ..concurrency.deadlines import left
from ..errors import CallTimeout

Monitor = tuple[Callable[..., None], Callable[..., None]]
"""What ``add_hookcall_monitoring`` takes: ``before`` and ``after``."""

_dispatching: ContextVar[bool] = ContextVar("extframe_dispatching", default=False)


_NOT_RUN = (CoroutineType, GeneratorType)  # what a function returns of which nothing has run yet


def inside_handler() -> bool:
    """Return whether this code was called, however indirectly, by a handler."""
    return _dispatching.get()


class Delivery:
    """What the handlers of one hook were given for one plugin, and what they gave back.

    Counted per HookImpl. Its lock is held for bookkeeping only, never while a handler runs. ``gives`` is whether a
    plugin is given to them, so that what they call must not wait for handlers in its turn.
    """

    def __init__(self, caller: pluggy.HookCaller, *, gives: bool = True) -> None:
        self._caller = caller
        self._gives = gives
        self._lock = threading.RLock()  # in itself, as Ctrl-C in Condition.__enter__ would leave it locked
        self._changed = threading.Condition(self._lock)
        self._done: set[HookImpl] = set()
        self._failed: dict[HookImpl, Exception] = {}
        self._results: list[tuple[HookImpl, object]] = []
        self._claimed: set[HookImpl] = set()
        self._current: dict[int, HookImpl] = {}  # by run: the handler that is being called
        self._generation = 0  # counts what was unregistered

    # What it knows.

    def results(self) -> list[object]:
        """Return what the handlers returned, without None, in pluggy's order of calls."""
        with self._lock:
            return [result for _, result in self._results]

    def failed(self) -> dict[HookImpl, Exception]:
        """Return the handlers that raised, each with its exception."""
        with self._lock:
            return dict(self._failed)

    def called(self) -> list[HookImpl]:
        """Return the handlers that were called, those that failed among them."""
        with self._lock:
            return [*self._done, *self._failed]

    def running(self) -> list[str]:
        """Return the names of the handlers that have been called and have not returned."""
        with self._lock:
            return [impl.plugin_name for impl in self._current.values()]

    def pending(self, *, again: bool = False) -> bool:
        """Return whether a registered handler has not been called yet; ``again`` counts those that failed."""
        with self._lock:
            return bool(self._due(again))

    def wait(self, deadline: float) -> None:
        """Wait for the handlers that other threads are running.

        Raises:
            CallTimeout: one of them is still running at the deadline (a ``time.monotonic()`` value).
        """
        with self._lock:
            if not self._changed.wait_for(lambda: not self._claimed, left(deadline)):
                names = ", ".join(repr(impl.plugin_name) for impl in self._current.values())
                raise CallTimeout(f"handler {names} has not returned", phase="handlers")

    def forget(self, handler: object) -> None:
        """Drop everything that refers to a handler that was unregistered."""
        with self._lock:
            self._generation += 1
            self._done = {impl for impl in self._done if impl.plugin is not handler}
            self._failed = {impl: error for impl, error in self._failed.items() if impl.plugin is not handler}
            self._results = [(impl, result) for impl, result in self._results if impl.plugin is not handler]

    # What it does.

    def run(
        self,
        arguments: Mapping[str, object],
        *,
        again: bool = False,
        only: object = None,
        monitors: Sequence[Monitor] = (),
    ) -> None:
        """Call every handler that is due, each on its own: one that raises stops no other.

        Wrappers among them run once around the whole. Failures are kept in ``failed()``.

        Args:
            arguments: ``name`` and ``client``.
            again: call those that failed before, too.
            only: the one handler to be called, where it is not all.
            monitors: see the dispatch as they see any hook call.
        """
        claimed: list[HookImpl] = []
        # Ctrl-C may come between any two steps, and must not leave a handler claimed that nobody calls.
        try:
            self._claim(claimed, again, only)
            if claimed:
                copy_context().run(self._call_inside, claimed, arguments, monitors)
            self._release(claimed)
        finally:
            self._release(claimed)  # what is left, also where the other was interrupted

    def _due(self, again: bool) -> list[HookImpl]:
        called = self._done | self._claimed
        if not again:
            called |= self._failed.keys()
        return [impl for impl in self._caller.get_hookimpls() if impl not in called]

    def _claim(self, claimed: list[HookImpl], again: bool, only: object) -> None:
        with self._lock:
            claimed += [impl for impl in self._due(again) if only is None or impl.plugin is only]
            self._claimed.update(claimed)

    def _release(self, claimed: list[HookImpl]) -> None:
        if claimed:
            with self._lock:
                self._current.pop(id(claimed), None)
                self._claimed.difference_update(claimed)
                claimed.clear()  # by now another thread may claim them
                self._changed.notify_all()

    def _call_inside(
        self, claimed: Sequence[HookImpl], arguments: Mapping[str, object], monitors: Sequence[Monitor]
    ) -> None:
        _dispatching.set(self._gives)
        _monitored(lambda: self._call_all(claimed, arguments), self._caller.name, [*claimed], arguments, monitors)

    def _call_all(self, claimed: Sequence[HookImpl], arguments: Mapping[str, object]) -> list[object]:
        done: list[tuple[HookImpl, object]] = []
        failed: list[tuple[HookImpl, BaseException]] = []
        wrappers: list[tuple[HookImpl, Iterator[None]]] = []
        generation = self._generation
        try:
            for impl in reversed(claimed):
                if generation != self._generation and not self._is_registered(impl):
                    continue
                self._current[id(claimed)] = impl
                try:
                    result = _call(impl, arguments)
                    if impl.wrapper:
                        _start(result)
                        wrappers.append((impl, result))
                    else:
                        done.append((impl, result))
                except KeyboardInterrupt:
                    raise
                except BaseException as error:  # noqa: BLE001 - one that raises, or is cancelled, stops no other
                    failed.append((impl, error))
        finally:
            self._settle(done, failed)
        for impl, generator in reversed(wrappers):
            self._current[id(claimed)] = impl
            self._finish(impl, generator)
        return self.results()

    def _is_registered(self, impl: HookImpl) -> bool:
        return impl in self._caller.get_hookimpls()

    def _settle(
        self, done: Sequence[tuple[HookImpl, object]] = (), failed: Sequence[tuple[HookImpl, BaseException]] = ()
    ) -> None:
        with self._lock:
            impls = self._caller.get_hookimpls()
            registered = set(impls)  # what was unregistered meanwhile leaves no trace
            for impl, error in failed:
                if impl in registered:
                    self._failed[impl] = error if isinstance(error, Exception) else RuntimeError(repr(error))
            returned = [pair for pair in done if pair[0] in registered]
            self._done.update([impl for impl, _ in returned])
            if self._failed:
                self._failed = {impl: error for impl, error in self._failed.items() if impl not in self._done}
            fresh = [pair for pair in returned if pair[1] is not None]
            if fresh:
                self._results = _in_call_order([*self._results, *fresh], impls) if self._results else fresh

    def _finish(self, impl: HookImpl, generator: Any) -> None:
        """Send a wrapper the results, and keep what it returns in their place."""
        try:
            generator.send(self.results())
        except StopIteration as stop:
            self._replace_results(impl, stop.value)
        except KeyboardInterrupt:
            raise
        except BaseException as error:  # noqa: BLE001 - as above
            self._settle(failed=[(impl, error)])
        else:
            generator.close()
            self._settle(failed=[(impl, RuntimeError("the wrapper yielded twice"))])

    def _replace_results(self, impl: HookImpl, returned: object) -> None:
        if not isinstance(returned, list | tuple):
            wrong = TypeError("the wrapper returned no list; it returns the results: return (yield)")
            return self._settle(failed=[(impl, wrong)])
        with self._lock:
            makers = {id(result): maker for maker, result in self._results}
            self._results = [(makers.get(id(result), impl), result) for result in returned if result is not None]
        return self._settle(done=[(impl, None)])


def _start(generator: Any) -> None:
    try:
        next(generator)
    except StopIteration:
        raise RuntimeError("the wrapper did not yield") from None


def _call(impl: HookImpl, arguments: Mapping[str, object]) -> Any:
    if impl.hookwrapper:
        raise TypeError("an old-style hookwrapper cannot stand around an extension point; use hookimpl(wrapper=True)")
    try:
        positional = [arguments[name] for name in impl.argnames]
    except KeyError as missing:
        raise TypeError(f"it takes {missing}; a hook of an extension point takes {', '.join(arguments)}") from None
    if impl.kwargnames:
        # Parameters with defaults: pluggy passes them from 1.7 on, and leaves them out before.
        named = {name: arguments[name] for name in impl.kwargnames if name in arguments}
        result = impl.function(*positional, **named)
    else:
        result = impl.function(*positional)
    if isinstance(result, _NOT_RUN):
        _check_it_ran(impl, result)
    return result


def _check_it_ran(impl: HookImpl, result: CoroutineType[Any, Any, Any] | GeneratorType[Any, Any, Any]) -> None:
    if isinstance(result, CoroutineType):
        result.close()  # without a warning that nobody awaited it
        raise TypeError("it is an async function, which nobody would await; a handler is declared with def")
    if not impl.wrapper:
        raise TypeError("it yields and nothing of it ran; a handler returns its driver, a wrapper says wrapper=True")


def _in_call_order(
    results: Sequence[tuple[HookImpl, object]], impls: Sequence[HookImpl]
) -> list[tuple[HookImpl, object]]:
    # pluggy calls from the end of its list; wrappers stand there, so what one of them made comes first.
    rank = {impl: -position for position, impl in enumerate(impls)}
    return sorted(results, key=lambda pair: rank.get(pair[0], 0))


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
