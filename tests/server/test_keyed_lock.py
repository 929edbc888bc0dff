"""Turns are given in order, to nobody who left, and take no memory when nobody wants them."""

from __future__ import annotations

import asyncio
import time

import pytest

from extframe.server.keyed_lock import KeyedLock


def run(scenario) -> None:
    asyncio.run(asyncio.wait_for(scenario(), timeout=30))


async def settle() -> None:
    for _ in range(5):
        await asyncio.sleep(0)


def test_turns_are_given_in_the_order_in_which_they_were_asked_for():
    async def scenario():
        locks, order = KeyedLock(), []

        async def work(number):
            await locks.acquire("a", 30)
            order.append(number)
            await asyncio.sleep(0)
            locks.release("a")

        await asyncio.gather(*(work(number) for number in range(50)))
        assert order == [*range(50)]
        assert len(locks) == 0

    run(scenario)


def test_one_key_does_not_wait_for_another():
    async def scenario():
        locks = KeyedLock()
        await locks.acquire("a", 30)
        await locks.acquire("b", 30)
        assert len(locks) == 2
        locks.release("a")
        locks.release("b")
        assert len(locks) == 0

    run(scenario)


def test_whoever_was_cancelled_while_waiting_is_passed_over():
    async def scenario():
        locks = KeyedLock()
        await locks.acquire("a", 30)
        left, next_ = asyncio.create_task(locks.acquire("a", 30)), asyncio.create_task(locks.acquire("a", 30))
        await settle()
        left.cancel()
        await settle()
        locks.release("a")
        await next_
        locks.release("a")
        assert len(locks) == 0

    run(scenario)


def test_a_turn_that_came_at_the_moment_of_a_cancellation_goes_to_the_next():
    async def scenario():
        locks = KeyedLock()
        await locks.acquire("a", 30)
        left, next_ = asyncio.create_task(locks.acquire("a", 30)), asyncio.create_task(locks.acquire("a", 30))
        await settle()
        locks.release("a")  # to the first
        left.cancel()  # before it has run
        with pytest.raises(asyncio.CancelledError):
            await left
        await next_
        locks.release("a")
        assert len(locks) == 0

    run(scenario)


def test_a_wait_that_expires_at_the_moment_of_a_cancellation_does_not_release_what_another_holds():
    async def scenario():
        locks = KeyedLock()
        await locks.acquire("a", 30)
        left = asyncio.create_task(locks.acquire("a", 0.5))
        await settle()
        asyncio.get_running_loop().call_later(0.6, left.cancel)
        time.sleep(0.7)  # so that both are due in one turn of the loop, the end of the wait first
        with pytest.raises(asyncio.CancelledError):
            await left
        with pytest.raises(TimeoutError):
            await locks.acquire("a", 0.01)
        locks.release("a")
        assert len(locks) == 0

    run(scenario)
