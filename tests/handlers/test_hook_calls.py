"""HookCalls: each handler of a hook once per plugin, each on its own."""

from __future__ import annotations

import asyncio
import contextvars
import gc
import threading
import time
import weakref
from typing import Any

import pluggy
import pytest
from program import Program

from extframe.errors import CallTimeout
from extframe.handlers.hook_calls import HookCalls
from extframe.handlers.hook_claims import inside_handler
from extframe.handlers.hooks import PROJECT, ExtensionPoints, FunctionHandler, hookimpl

ARGUMENTS = {"name": "photos", "client": object()}


class Hooks(pluggy.PluginManager):
    """A plain pluggy manager: hook calls needs no more."""

    def __init__(self) -> None:
        super().__init__(PROJECT)
        self.add_hookspecs(ExtensionPoints)
        self.calls = HookCalls(self.hook.volume_driver)

    def handle(self, function: Any, **options: Any) -> FunctionHandler:
        handler = FunctionHandler("volume_driver", function, **options)
        self.register(handler, None if function.__name__ == "<lambda>" else function.__name__)
        return handler


@pytest.fixture
def hooks() -> Hooks:
    return Hooks()


def test_handlers_are_called_in_pluggys_order_and_so_are_their_results(hooks: Hooks) -> None:
    hooks.handle(lambda name, client: "last", trylast=True)
    hooks.handle(lambda name, client: "first registered")
    hooks.handle(lambda name, client: None)
    hooks.handle(lambda name, client: (name, client is ARGUMENTS["client"]))
    hooks.calls.run(ARGUMENTS)
    assert hooks.calls.results() == [("photos", True), "first registered", "last"]
    assert hooks.calls.results() == hooks.hook.volume_driver(**ARGUMENTS)


def test_a_handler_is_called_once_however_often_the_calls_runs(hooks: Hooks) -> None:
    calls: list[str] = []
    hooks.handle(lambda name, client: calls.append("early"))
    hooks.calls.run(ARGUMENTS)
    hooks.calls.run(ARGUMENTS)
    assert calls == ["early"]
    hooks.handle(lambda name, client: calls.append("late"))
    assert hooks.calls.pending()
    hooks.calls.run(ARGUMENTS)
    assert calls == ["early", "late"]
    assert not hooks.calls.pending()


def test_a_late_result_is_placed_where_pluggy_would_call_its_handler(hooks: Hooks) -> None:
    hooks.handle(lambda name, client: "ours", trylast=True)
    hooks.handle(lambda name, client: "early")
    hooks.calls.run(ARGUMENTS)
    hooks.handle(lambda name, client: "late")
    hooks.handle(lambda name, client: "late and last", trylast=True)
    hooks.calls.run(ARGUMENTS)
    assert hooks.calls.results() == hooks.hook.volume_driver(**ARGUMENTS)


def test_eight_threads_call_each_handler_once_between_them(hooks: Hooks) -> None:
    calls: list[int] = []
    for number in range(20):
        hooks.handle(lambda name, client, number=number: calls.append(number))  # type: ignore[misc]
    start = threading.Barrier(8)

    def run() -> None:
        start.wait()
        hooks.calls.run(ARGUMENTS)
        hooks.calls.wait(time.monotonic() + 30)

    threads = [threading.Thread(target=run) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert sorted(calls) == list(range(20))


def test_one_that_raises_stops_no_other_and_is_called_again_only_when_asked(hooks: Hooks) -> None:
    calls: list[str] = []

    def broken(name: str, client: object) -> object:
        calls.append("broken")
        if len(calls) < 3:
            raise KeyError("no such bucket")
        return "recovered"

    hooks.handle(lambda name, client: "good")
    hooks.handle(broken)
    hooks.calls.run(ARGUMENTS)
    assert hooks.calls.results() == ["good"]
    [(impl, error)] = hooks.calls.failed().items()
    assert impl.plugin_name == "broken"
    assert isinstance(error, KeyError)
    hooks.calls.run(ARGUMENTS)
    assert calls == ["broken"]
    hooks.calls.run(ARGUMENTS, again=True)
    hooks.calls.run(ARGUMENTS, again=True)
    assert calls == ["broken"] * 3
    assert hooks.calls.failed() == {}
    assert hooks.calls.results() == ["recovered", "good"]


INTERRUPTED = """
    import random, signal, time
    from handlers.test_hook_calls import ARGUMENTS, Hooks
    from extframe.handlers.hook_claims import inside_handler

    def interrupt(*_):
        raise KeyboardInterrupt

    signal.signal(signal.SIGALRM, interrupt)
    hooks = Hooks()
    moments = random.Random(1)
    for number in range(2000):
        handler = hooks.handle(lambda name, client: None)
        try:
            signal.setitimer(signal.ITIMER_REAL, moments.uniform(5e-6, 6e-5))
            hooks.calls.run(ARGUMENTS)
            signal.setitimer(signal.ITIMER_REAL, 0)
        except KeyboardInterrupt:
            pass
        hooks.calls.wait(time.monotonic())  # raises where a handler seems to be running
        assert not inside_handler()
        hooks.unregister(handler)
    print("done")
"""


def test_ctrl_c_at_any_moment_leaves_no_handler_claimed_for_good() -> None:
    with Program(INTERRUPTED, measured=False) as program:
        code, said = program.end(90)
    assert (code, said.splitlines()[-1]) == (0, "done"), said


@pytest.mark.parametrize("raised", [SystemExit(3), asyncio.CancelledError(), GeneratorExit()])
def test_a_handler_that_ends_or_is_cancelled_is_a_failed_handler_and_stops_no_other(
    hooks: Hooks, raised: BaseException
) -> None:
    def leave(name: str, client: object) -> object:
        raise raised

    hooks.handle(lambda name, client: "other")
    hooks.handle(leave)
    hooks.calls.run(ARGUMENTS)
    assert list(hooks.calls.failed().values()) == [raised]  # with its traceback and cause
    assert raised.__traceback__ is not None
    assert hooks.calls.results() == ["other"]


def test_ctrl_c_in_a_handler_reaches_the_host_and_leaves_the_rest_to_be_called(hooks: Hooks) -> None:
    calls: list[str] = []

    def interrupted(name: str, client: object) -> object:
        if not calls:
            calls.append("interrupted")
            raise KeyboardInterrupt
        return calls.append("again")

    hooks.handle(lambda name, client: calls.append("other"))
    hooks.handle(interrupted)
    with pytest.raises(KeyboardInterrupt):
        hooks.calls.run(ARGUMENTS)
    hooks.calls.run(ARGUMENTS)
    assert calls == ["interrupted", "again", "other"]


async def declared_async(name: str, client: object) -> object:
    return "driver"


def yields(name: str, client: object) -> Any:
    yield "driver"


@pytest.mark.parametrize(
    ("function", "words"), [(declared_async, "declare the handler with def"), (yields, "a wrapper has wrapper=True")]
)
def test_a_handler_of_which_nothing_would_run_is_a_failed_handler(hooks: Hooks, function: Any, words: str) -> None:
    hooks.handle(function)
    hooks.calls.run(ARGUMENTS)
    [failure] = hooks.calls.failed().values()
    assert words in str(failure)
    assert hooks.calls.results() == []


class Wrapper:
    """A new-style wrapper that follows its arguments."""

    def __init__(self, calls: list[Any], *, before: Exception | None = None, after: Exception | None = None) -> None:
        self.calls, self.before, self.after = calls, before, after

    @hookimpl(wrapper=True)
    def volume_driver(self, name: str) -> Any:
        self.calls.append("before")
        if self.before:
            raise self.before
        results = yield
        self.calls.append(list(results))
        if self.after:
            raise self.after
        return [*results, "wrapped"]


def test_a_wrapper_runs_once_around_the_whole_and_may_change_the_results(hooks: Hooks) -> None:
    calls: list[Any] = []
    hooks.register(Wrapper(calls))
    hooks.handle(lambda name, client: calls.append("one") or "one")
    hooks.handle(lambda name, client: calls.append("two") or "two")
    hooks.calls.run(ARGUMENTS)
    assert calls == ["before", "two", "one", ["two", "one"]]
    assert hooks.calls.results() == ["two", "one", "wrapped"]
    hooks.handle(lambda name, client: "late")
    hooks.calls.run(ARGUMENTS)
    assert calls[4:] == []
    assert set(hooks.calls.results()) == {"late", "two", "one", "wrapped"}


@pytest.mark.parametrize("when", ["before", "after"])
def test_a_wrapper_that_raises_is_a_failed_handler_like_any_other(hooks: Hooks, when: str) -> None:
    hooks.register(Wrapper([], **{when: ValueError("not today")}), "wrapper")  # type: ignore[arg-type]
    hooks.handle(lambda name, client: "good")
    hooks.calls.run(ARGUMENTS)
    assert hooks.calls.results() == ["good"]
    assert [(impl.plugin_name, str(error)) for impl, error in hooks.calls.failed().items()] == [
        ("wrapper", "not today")
    ]


def make_wrapper(*steps: str) -> Any:
    class Odd:
        @hookimpl(wrapper=True)
        def volume_driver(self) -> Any:
            if "yield" in steps:
                yield
            if "twice" in steps:
                yield
            return None

    return Odd()


@pytest.mark.parametrize(
    ("steps", "fault"),
    [((), "did not yield"), (("yield", "twice"), "yielded twice"), (("yield",), "did not return a list")],
)
def test_a_wrapper_that_breaks_the_rules_fails_and_loses_nothing(
    hooks: Hooks, steps: tuple[str, ...], fault: str
) -> None:
    hooks.register(make_wrapper(*steps))
    hooks.handle(lambda name, client: "good")
    hooks.calls.run(ARGUMENTS)
    assert hooks.calls.results() == ["good"]
    assert fault in str(*hooks.calls.failed().values())


def test_an_old_style_hookwrapper_is_refused_and_the_others_are_called(hooks: Hooks) -> None:
    class Old:
        @hookimpl(hookwrapper=True)
        def volume_driver(self) -> Any:
            yield

    hooks.register(Old())
    hooks.handle(lambda name, client: "good")
    hooks.calls.run(ARGUMENTS)
    assert hooks.calls.results() == ["good"]
    assert "use hookimpl(wrapper=True)" in str(*hooks.calls.failed().values())


def test_a_parameter_with_a_default_gets_the_argument_on_every_pluggy(hooks: Hooks) -> None:
    class Defaults:
        @hookimpl
        def volume_driver(self, name: str = "default", other: int = 3) -> Any:
            return name, other

    hooks.register(Defaults())
    hooks.calls.run(ARGUMENTS)
    assert hooks.calls.results() == [("photos", 3)]


def test_an_unregistered_handler_is_not_called_and_nothing_refers_to_it(hooks: Hooks) -> None:
    class Handler:
        @hookimpl
        def volume_driver(self, name: str, client: object) -> object:
            return self

    handler = Handler()
    gone = weakref.ref(handler)
    hooks.register(handler)
    hooks.calls.run(ARGUMENTS)
    hooks.unregister(handler)
    hooks.calls.forget(handler)
    assert hooks.calls.results() == []
    del handler
    gc.collect()
    assert gone() is None


def test_a_handler_that_is_unregistered_during_the_run_is_not_called(hooks: Hooks) -> None:
    calls: list[str] = []
    second = hooks.handle(lambda name, client: calls.append("second"))

    def first(name: str, client: object) -> None:
        calls.append("first")
        hooks.unregister(second)
        hooks.calls.forget(second)

    hooks.handle(first)
    hooks.calls.run(ARGUMENTS)
    assert calls == ["first"]


def test_a_handler_that_unregisters_itself_leaves_no_trace(hooks: Hooks) -> None:
    handler: Any = None

    def once(name: str, client: object) -> object:
        hooks.unregister(handler)
        hooks.calls.forget(handler)
        return "result"

    handler = hooks.handle(once)
    hooks.calls.run(ARGUMENTS)
    assert hooks.calls.results() == []
    assert hooks.calls.called() == []


def test_waiting_for_a_handler_that_hangs_ends_at_the_deadline_and_names_it(hooks: Hooks) -> None:
    release = threading.Event()

    def sleeper(name: str, client: object) -> None:
        release.wait(60)

    hooks.handle(sleeper)
    thread = threading.Thread(target=hooks.calls.run, args=(ARGUMENTS,))
    thread.start()
    try:
        while not hooks.calls.running():
            time.sleep(0.001)
        start = time.monotonic()
        with pytest.raises(CallTimeout, match="'sleeper' has not returned"):
            hooks.calls.wait(start + 0.1)
        assert time.monotonic() - start < 10
    finally:
        release.set()
        thread.join()
    hooks.calls.wait(time.monotonic())


def test_code_can_tell_that_it_runs_inside_a_handler(hooks: Hooks) -> None:
    contexts: list[contextvars.Context] = []

    def look(name: str, client: object) -> bool:
        contexts.append(contextvars.copy_context())  # as a task that the handler starts inherits it
        return inside_handler()

    hooks.handle(look)
    hooks.calls.run(ARGUMENTS)
    assert hooks.calls.results() == [True]
    assert not inside_handler()
    assert not contexts[0].run(inside_handler), "what a handler leaves behind is outside once the handlers returned"


@pytest.mark.parametrize("raises", ["", "inner before", "outer before", "inner after", "outer after"])
def test_monitors_see_a_dispatch_as_pluggys_see_a_hook_call(hooks: Hooks, raises: str) -> None:
    hooks.handle(lambda name, client: "driver")

    def record(seen: list[Any], tag: str) -> Any:
        def fail(when: str) -> None:
            if raises == f"{tag} {when}":
                raise ValueError(raises)

        def before(hook: str, impls: Any, arguments: Any) -> None:
            seen.append((tag, "before", hook, len(impls), dict(arguments)))
            fail("before")

        def after(outcome: Any, hook: str, impls: Any, arguments: Any) -> None:
            seen.append((tag, "after", repr(outcome.exception), hook, len(impls), dict(arguments)))
            fail("after")

        return before, after

    def error_of(call: Any) -> str:
        try:
            call()
        except ValueError as error:
            return str(error)
        return ""

    seen: list[Any] = []
    expected: list[Any] = []
    monitors = [record(seen, "inner"), record(seen, "outer")]
    hooks.add_hookcall_monitoring(*record(expected, "inner"))
    hooks.add_hookcall_monitoring(*record(expected, "outer"))
    assert error_of(lambda: hooks.calls.run(ARGUMENTS, monitors=monitors)) == error_of(
        lambda: hooks.hook.volume_driver(**ARGUMENTS)
    )
    assert seen == expected
