"""Threads that a caller can stop waiting for: one worker, and a pool."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from contextvars import ContextVar
from functools import partial

import pytest
from faultserver import eventually

from extframe import ExtframeError
from extframe.concurrency.threads import TICK, ThreadPool, Worker, run_concurrently, start

CALLER = ContextVar("CALLER", default="unknown")


def soon() -> float:
    return time.monotonic() + 30


def test_a_worker_returns_or_raises_what_its_function_did() -> None:
    assert Worker(lambda: 7, "seven").result(soon()) == 7
    with pytest.raises(KeyError, match="bucket"):
        Worker(lambda: {}["bucket"], "none").result(soon())


def test_waiting_for_a_worker_ends_at_the_deadline_while_its_function_goes_on() -> None:
    release = threading.Event()
    worker = Worker(lambda: release.wait(60), "slow")
    start = time.monotonic()
    with pytest.raises(TimeoutError, match="slow is still running"):
        worker.result(start + 0.05)
    assert time.monotonic() - start < 10
    release.set()
    assert worker.result(soon()) is True


def test_a_worker_has_the_callers_context_variables() -> None:
    CALLER.set("me")
    assert Worker(CALLER.get, "context").result(soon()) == "me"


def grow(pool: ThreadPool, until: Callable[[], object]) -> bool:
    """Let a pool grow until a condition holds; return whether it does."""
    return eventually(lambda: (pool.grow(), until())[1], 30)


def test_many_quick_calls_share_a_few_threads() -> None:
    pool, seen, made = ThreadPool("quick"), set(), []

    def work(number: int) -> None:
        seen.add(threading.get_ident())
        made.append(number)

    for number in range(400):
        pool.submit(partial(work, number))
    assert grow(pool, lambda: len(made) == 400)
    assert sorted(made) == list(range(400))
    assert len(seen) < 100


def test_functions_that_hang_do_not_delay_the_others() -> None:
    release, good = threading.Event(), threading.Event()
    before = threading.active_count()
    pool = ThreadPool("mixed")
    for _ in range(30):
        pool.submit(lambda: release.wait(60))
    pool.submit(good.set)
    assert grow(pool, good.is_set)
    release.set()
    assert eventually(lambda: threading.active_count() <= before, 30)


def test_an_outcome_returns_or_raises_what_its_call_did_each_time() -> None:
    CALLER.set("me")
    outcomes = run_concurrently(lambda name: {"known": CALLER.get()}[name], ["known", "other"], soon(), "outcomes")
    for _ in range(2):
        assert outcomes["known"]() == "me"
        with pytest.raises(KeyError, match="other"):
            outcomes["other"]()


def test_calls_that_are_running_at_the_deadline_have_no_outcome() -> None:
    release, ended = threading.Event(), {}
    for seconds in (0.2, 2, 20):  # a busy machine may not even get to the good one in the first
        deadline = time.monotonic() + seconds
        ended = run_concurrently(
            lambda name: release.wait(60) if name == "hung" else True, ["hung", "good"], deadline, "late"
        )
        if ended:
            break
    assert ended.keys() == {"good"}
    release.set()


def test_a_pool_whose_threads_have_ended_accepts_more_functions() -> None:
    pool, made = ThreadPool("again"), []
    before = threading.active_count()
    for round_ in range(3):
        pool.submit(lambda round_=round_: made.append(round_))
        assert grow(pool, lambda round_=round_: made[-1:] == [round_])
        assert eventually(lambda: threading.active_count() <= before, 30)


def test_a_pool_starts_nothing_before_grow_or_after_cancel_pending() -> None:
    release, made = threading.Event(), []
    pool = ThreadPool("late")
    for number in range(20):
        pool.submit(lambda number=number: (made.append(number), release.wait(60)))
    time.sleep(3 * TICK)
    assert made == []
    assert pool.grow()
    assert eventually(lambda: made == [0], 30)
    pool.cancel_pending()
    release.set()
    time.sleep(3 * TICK)
    assert not pool.grow()
    assert made == [0]


def test_a_pool_runs_its_queue_in_the_calling_thread_if_no_thread_can_be_started(monkeypatch) -> None:
    def refuse(thread: threading.Thread) -> None:
        raise RuntimeError("can't start new thread")

    pool, made = ThreadPool("alone"), []
    for number in range(3):
        pool.submit(lambda number=number: made.append(number))
    with monkeypatch.context() as limited:
        limited.setattr(threading.Thread, "start", refuse)
        while pool.grow():
            pass
    assert made == [0, 1, 2]


class Interrupted(threading.Thread):
    """Starts as a thread of CPython does in whose wait for the start Ctrl-C comes at the worst moment."""

    def start(self) -> None:
        try:
            raise KeyboardInterrupt
        finally:
            raise RuntimeError("release unlocked lock")


class Refused(threading.Thread):
    def start(self) -> None:
        raise RuntimeError("can't start new thread")


def test_ctrl_c_while_a_thread_starts_is_not_taken_for_the_limit_on_threads(monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(KeyboardInterrupt):
        start(Interrupted())
    monkeypatch.setattr(threading, "Thread", Interrupted)
    with pytest.raises(KeyboardInterrupt):
        Worker(lambda: 7, "seven")


def test_the_limit_on_threads_is_an_error_also_while_the_caller_handles_ctrl_c() -> None:
    try:
        raise KeyboardInterrupt
    except KeyboardInterrupt:
        with pytest.raises(ExtframeError, match="cannot start a thread for 'photos': can't start new thread"):
            start(Refused(name="photos"))
