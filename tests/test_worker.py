"""Workers: calls that somebody may stop waiting for, one or many."""

from __future__ import annotations

import threading
import time
from contextvars import ContextVar

import pytest
from faultserver import eventually

from extframe.worker import CREW, Worker, side_by_side

ASKED = ContextVar("ASKED", default="nobody")


def soon() -> float:
    return time.monotonic() + 5


def test_a_worker_gives_what_its_call_returned_or_raised() -> None:
    assert Worker(lambda: 7, "seven").result(soon()) == 7
    with pytest.raises(KeyError, match="bucket"):
        Worker(lambda: {}["bucket"], "none").result(soon())


def test_who_waits_for_a_worker_stops_at_the_deadline_and_the_call_goes_on() -> None:
    release = threading.Event()
    worker = Worker(lambda: release.wait(10), "slow")
    start = time.monotonic()
    with pytest.raises(TimeoutError, match="slow has not ended"):
        worker.result(start + 0.05)
    assert time.monotonic() - start < 2
    release.set()
    assert worker.result(soon()) is True


def test_context_variables_are_those_of_whoever_asked() -> None:
    ASKED.set("me")
    assert Worker(ASKED.get, "context").result(soon()) == "me"
    assert side_by_side(lambda name: ASKED.get(), ["a"], soon(), "context")["a"]() == "me"


def test_many_quick_calls_share_a_few_threads() -> None:
    seen: set[int] = set()
    names = [str(number) for number in range(400)]
    outcomes = side_by_side(lambda name: seen.add(threading.get_ident()) or name, names, soon(), "quick")
    assert [outcomes[name]() for name in names] == names
    assert len(seen) < len(names)


def test_calls_that_hang_cost_threads_and_not_the_time_of_the_others() -> None:
    release = threading.Event()

    def work(name: str) -> str:
        if name.startswith("hung"):
            release.wait(10)
        return name

    before = threading.active_count()
    names = [*(f"hung{number}" for number in range(3 * CREW)), "good"]
    start = time.monotonic()
    outcomes = side_by_side(work, names, start + 1, "mixed")
    assert outcomes.keys() == {"good"}
    assert time.monotonic() - start < 3
    release.set()
    assert eventually(lambda: threading.active_count() <= before)


def test_an_outcome_raises_what_its_call_raised_each_time() -> None:
    outcome = side_by_side(lambda name: {}[name], ["bucket"], soon(), "broken")["bucket"]
    for _ in range(2):
        with pytest.raises(KeyError, match="bucket"):
            outcome()


def test_what_has_not_begun_by_the_deadline_never_does() -> None:
    begun: list[str] = []
    release = threading.Event()

    def work(name: str) -> None:
        begun.append(name)
        release.wait(10)

    names = [str(number) for number in range(5 * CREW)]
    assert side_by_side(work, names, time.monotonic(), "late") == {}
    release.set()
    time.sleep(0.05)
    assert len(begun) <= CREW
