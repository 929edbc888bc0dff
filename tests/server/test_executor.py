"""Threads for what blocks: few, reused, told of no end they have not reached, and in nobody's way."""

from __future__ import annotations

import asyncio
import threading
from contextvars import ContextVar

import pytest
from faultserver import eventually

from extframe.server.executor import Executor


def threads() -> list[threading.Thread]:
    return [thread for thread in threading.enumerate() if thread.name == "extframe-worker"]


@pytest.fixture
def executor():
    assert eventually(lambda: not threads(), timeout=30)
    executor = Executor(3, 30)
    yield executor
    executor.close()
    assert eventually(lambda: not threads(), timeout=30)


def run(scenario):
    return asyncio.run(asyncio.wait_for(scenario, timeout=30))


def test_what_the_work_returns_or_raises_comes_back(executor):
    async def scenario():
        assert await executor.run(lambda: 5) == 5
        with pytest.raises(ZeroDivisionError):
            await executor.run(lambda: 1 / 0)
        with pytest.raises(SystemExit):
            await executor.run(exit)
        assert await executor.run(lambda: 6) == 6

    run(scenario())


def test_a_thread_is_used_again_before_another_is_made(executor):
    async def scenario():
        return {await executor.run(threading.get_ident) for _ in range(20)}

    assert len(run(scenario())) == 1
    assert len(threads()) == 1


def test_there_are_never_more_threads_than_the_limit(executor):
    async def scenario():
        await asyncio.gather(*(executor.run(lambda: None) for _ in range(50)))

    run(scenario())
    assert len(threads()) == 3


def test_the_threads_never_keep_a_process_alive(executor):
    run(executor.run(lambda: None))
    assert all(thread.daemon for thread in threads())


def test_context_variables_are_those_of_whoever_waits(executor):
    variable = ContextVar("variable", default="none")

    async def scenario():
        variable.set("mine")
        return await executor.run(variable.get)

    assert run(scenario()) == "mine"


def test_the_end_is_told_when_the_work_ends_and_not_when_nobody_waits_any_more(executor):
    may_end, ended = threading.Event(), []

    async def scenario():
        waiting = asyncio.create_task(executor.run(may_end.wait, lambda: ended.append("ended")))
        await asyncio.sleep(0.05)
        waiting.cancel()
        with pytest.raises(asyncio.CancelledError):
            await waiting
        assert ended == []
        may_end.set()
        while not ended:
            await asyncio.sleep(0.01)

    run(scenario())


def test_work_that_ends_after_its_loop_is_no_error(executor):
    may_end, ended = threading.Event(), threading.Event()

    def work():
        may_end.wait()
        ended.set()

    async def scenario():
        waiting = asyncio.create_task(executor.run(work))
        await asyncio.sleep(0.05)
        waiting.cancel()

    run(scenario())
    may_end.set()
    assert ended.wait(30)
    assert run(executor.run(lambda: 5)) == 5


def test_threads_that_become_busy_after_an_idle_hour_are_not_stuck(executor):
    async def scenario():
        await asyncio.gather(*(executor.run(lambda: None) for _ in range(3)))
        executor._last_progress -= 3600
        running = [asyncio.create_task(executor.run(lambda: released.wait(60))) for _ in range(3)]
        await asyncio.sleep(0)
        assert not executor.saturated
        executor._last_progress -= 3600
        assert executor.saturated
        released.set()
        await asyncio.gather(*running)

    released = threading.Event()
    run(scenario())


def test_there_must_be_a_thread():
    with pytest.raises(ValueError, match="threads=0"):
        Executor(0, 30)
