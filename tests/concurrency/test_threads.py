"""Workers: calls that somebody may stop waiting for, one or many."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from contextvars import ContextVar
from functools import partial

import pytest
from faultserver import eventually

from extframe.concurrency.threads import TICK, ThreadPool, Worker, run_concurrently

ASKED = ContextVar("ASKED", default="nobody")


def soon() -> float:
    return time.monotonic() + 30


def test_a_worker_gives_what_its_call_returned_or_raised() -> None:
    assert Worker(lambda: 7, "seven").result(soon()) == 7
    with pytest.raises(KeyError, match="bucket"):
        Worker(lambda: {}["bucket"], "none").result(soon())


def test_who_waits_for_a_worker_stops_at_the_deadline_and_the_call_goes_on() -> None:
    release = threading.Event()
    worker = Worker(lambda: release.wait(60), "slow")
    start = time.monotonic()
    with pytest.raises(TimeoutError, match="slow has not ended"):
        worker.result(start + 0.05)
    assert time.monotonic() - start < 10
    release.set()
    assert worker.result(soon()) is True


def test_context_variables_are_those_of_whoever_asked() -> None:
    ASKED.set("me")
    assert Worker(ASKED.get, "context").result(soon()) == "me"


def tend(crew: ThreadPool, until: Callable[[], object]) -> bool:
    """Tend a crew until something is so; return whether it came to that."""
    return eventually(lambda: (crew.tend(), until())[1], 30)


def test_many_quick_calls_share_a_few_threads() -> None:
    crew, seen, made = ThreadPool("quick"), set(), []

    def work(number: int) -> None:
        seen.add(threading.get_ident())
        made.append(number)

    for number in range(400):
        crew.submit(partial(work, number))
    assert tend(crew, lambda: len(made) == 400)
    assert sorted(made) == list(range(400))
    assert len(seen) < 100


def test_calls_that_hang_cost_threads_and_not_the_time_of_the_others() -> None:
    release, good = threading.Event(), threading.Event()
    before = threading.active_count()
    crew = ThreadPool("mixed")
    for _ in range(30):
        crew.submit(lambda: release.wait(60))
    crew.submit(good.set)
    assert tend(crew, good.is_set)
    release.set()
    assert eventually(lambda: threading.active_count() <= before, 30)


def test_an_outcome_gives_what_its_call_returned_or_raises_what_it_raised_each_time() -> None:
    ASKED.set("me")
    outcomes = run_concurrently(lambda name: {"known": ASKED.get()}[name], ["known", "other"], soon(), "outcomes")
    for _ in range(2):
        assert outcomes["known"]() == "me"
        with pytest.raises(KeyError, match="other"):
            outcomes["other"]()


def test_calls_that_have_not_ended_by_the_deadline_have_no_outcome() -> None:
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


def test_a_crew_whose_threads_have_ended_takes_more_calls() -> None:
    crew, made = ThreadPool("again"), []
    before = threading.active_count()
    for round_ in range(3):
        crew.submit(lambda round_=round_: made.append(round_))
        assert tend(crew, lambda round_=round_: made[-1:] == [round_])
        assert eventually(lambda: threading.active_count() <= before, 30)


def test_a_crew_that_is_not_tended_does_nothing_and_one_that_is_dismissed_begins_nothing_more() -> None:
    release, made = threading.Event(), []
    crew = ThreadPool("late")
    for number in range(20):
        crew.submit(lambda number=number: (made.append(number), release.wait(60)))
    time.sleep(3 * TICK)
    assert made == []
    assert crew.tend()
    assert eventually(lambda: made == [0], 30)
    crew.dismiss()
    release.set()
    time.sleep(3 * TICK)
    assert not crew.tend()
    assert made == [0]


def test_a_crew_does_without_threads_where_the_system_has_none(monkeypatch) -> None:
    def refuse(thread: threading.Thread) -> None:
        raise RuntimeError("can't start new thread")

    crew, made = ThreadPool("alone"), []
    for number in range(3):
        crew.submit(lambda number=number: made.append(number))
    with monkeypatch.context() as limited:
        limited.setattr(threading.Thread, "start", refuse)
        while crew.tend():
            pass
    assert made == [0, 1, 2]
