"""Who calls which handler: claims under random histories. Nothing sleeps here, and no thread runs."""

from __future__ import annotations

from collections import Counter
from collections.abc import AsyncIterator
from typing import Any

import pluggy
import pytest
from hypothesis import given
from hypothesis import strategies as st

from extframe.handlers.hook_claims import HookRecord, HookRun, call_handler, require_run
from extframe.handlers.hooks import PROJECT, ExtensionPoints, FunctionHandler

ARGUMENTS = {"name": "photos", "client": object()}


class Hooks(pluggy.PluginManager):
    """Handlers of one hook."""

    def __init__(self) -> None:
        super().__init__(PROJECT)
        self.add_hookspecs(ExtensionPoints)
        self.record = HookRecord(self.hook.volume_driver)

    def handle(self, result: object) -> FunctionHandler:
        handler = FunctionHandler("volume_driver", lambda name, client: result)
        self.register(handler)
        return handler


def test_what_one_run_has_claimed_no_other_calls_until_it_is_released():
    hooks = Hooks()
    hooks.handle("driver")
    first, second = HookRun(hooks.record), HookRun(hooks.record)
    assert first.claim()
    assert not second.claim()
    assert not hooks.record.is_idle
    first.release()  # it was cancelled before it called anything
    assert hooks.record.is_idle
    assert second.claim()


def test_a_failed_handler_is_claimed_again_only_when_asked():
    hooks = Hooks()
    hooks.handle("driver")
    run = HookRun(hooks.record)
    run.claim()
    error = SystemExit(3)
    for impl in run.handlers():
        run.raised(impl, error)
    run.settle()
    run.release()
    assert list(hooks.record.failed().values()) == [error]
    assert not HookRun(hooks.record).claim()
    assert HookRun(hooks.record).claim(again=True)


def test_waiters_are_woken_once_when_a_run_is_released_and_may_be_cancelled():
    hooks = Hooks()
    woken: list[str] = []
    assert not hooks.record.wake(lambda: woken.append("too early"))
    hooks.handle("driver")
    run = HookRun(hooks.record)
    run.claim()
    cancelled = lambda: woken.append("cancelled")  # noqa: E731 - one object, to be given twice
    assert hooks.record.wake(lambda: woken.append("waiter"))
    assert hooks.record.wake(cancelled)
    hooks.record.cancel(cancelled)
    assert woken == []
    run.release()
    run.release()
    assert woken == ["waiter"]


def test_the_one_handler_that_is_asked_for_is_claimed_alone():
    hooks = Hooks()
    hooks.handle("other")
    only = hooks.handle("mine")
    assert hooks.record.pending(only=only)
    run = HookRun(hooks.record)
    run.claim(only=only)
    assert [impl.plugin for impl in run.handlers()] == [only]
    assert not hooks.record.pending(only=only)


def test_a_function_whose_body_did_not_run_is_an_error():
    async def later() -> None: ...

    hooks = Hooks()
    hooks.handle(None)
    [impl] = hooks.hook.volume_driver.get_hookimpls()

    async def records() -> AsyncIterator[int]:
        yield 1

    with pytest.raises(TypeError, match="does not await.*use AsyncPluginManager"):
        require_run(impl, later())
    with pytest.raises(TypeError, match="is an async generator.*a wrapper is a generator: def, and yield"):
        require_run(impl, records())
    require_run(impl, call_handler(impl, ARGUMENTS))


RUNS = ["a", "b"]
STEPS = st.lists(
    st.one_of(
        st.tuples(st.just("register")),
        st.tuples(st.just("unregister")),
        st.tuples(st.just("claim"), st.sampled_from(RUNS), st.booleans()),
        st.tuples(st.just("call"), st.sampled_from(RUNS), st.sampled_from(["return", "raise"])),
        st.tuples(st.just("release"), st.sampled_from(RUNS)),
    ),
    max_size=40,
)


class History:
    """Two runs that take turns, step by step, and what has to hold after each step."""

    def __init__(self) -> None:
        self.hooks = Hooks()
        self.runs: dict[str, tuple[HookRun, Any]] = {}
        self.handlers: list[FunctionHandler] = []
        self.returned: Counter[object] = Counter()

    def register(self) -> None:
        self.handlers.append(self.hooks.handle(len(self.handlers)))

    def unregister(self) -> None:
        if self.handlers:
            gone = self.handlers.pop(0)
            self.hooks.unregister(gone)
            self.hooks.record.forget(gone)

    def claim(self, name: str, again: bool) -> None:
        if name not in self.runs:
            run = HookRun(self.hooks.record)
            run.claim(again=again)
            self.runs[name] = run, run.handlers()

    def call(self, name: str, outcome: str) -> None:
        run, handlers = self.runs.get(name, (None, iter(())))
        impl = next(handlers, None)
        if run is not None and impl is not None:
            if outcome == "raise":
                run.raised(impl, ValueError())
            else:
                self.returned[impl.plugin] += 1
                run.returned(impl, impl.plugin)

    def release(self, name: str) -> None:
        if name in self.runs:
            run, _ = self.runs.pop(name)
            run.settle()
            run.release()

    def check(self) -> None:
        record = self.hooks.record
        assert all(count == 1 for count in self.returned.values()), "a handler that returned was called again"
        claimed = [impl for run, _ in self.runs.values() for impl in run.claimed]
        assert len(claimed) == len(set(claimed)), "two runs have claimed one handler"
        assert record.is_idle == (not claimed)
        assert not set(record.failed()) & set(record._done)
        registered = {impl.plugin for impl in self.hooks.hook.volume_driver.get_hookimpls()}
        assert {impl.plugin for impl in record.called()} <= registered


@given(STEPS)
def test_any_history_calls_each_handler_once_and_keeps_nothing_of_what_was_unregistered(steps):
    history = History()
    for act, *arguments in steps:
        getattr(history, act)(*arguments)
        history.check()
    for name in RUNS:
        history.release(name)
    history.check()
