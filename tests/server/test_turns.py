"""Turns are given in order, to nobody who left, and take no memory when nobody wants them."""

from __future__ import annotations

import asyncio

import pytest

from extframe.server.turns import Turns


def run(scenario) -> None:
    asyncio.run(asyncio.wait_for(scenario(), timeout=30))


async def settle() -> None:
    for _ in range(5):
        await asyncio.sleep(0)


def test_turns_are_given_in_the_order_in_which_they_were_asked_for():
    async def scenario():
        turns, order = Turns(), []

        async def work(number):
            await turns.take("a")
            order.append(number)
            await asyncio.sleep(0)
            turns.give("a")

        await asyncio.gather(*(work(number) for number in range(50)))
        assert order == [*range(50)]
        assert len(turns) == 0

    run(scenario)


def test_one_key_does_not_wait_for_another():
    async def scenario():
        turns = Turns()
        await turns.take("a")
        await turns.take("b")
        assert len(turns) == 2
        turns.give("a")
        turns.give("b")
        assert len(turns) == 0

    run(scenario)


def test_whoever_was_cancelled_while_waiting_is_passed_over():
    async def scenario():
        turns = Turns()
        await turns.take("a")
        left, next_ = asyncio.create_task(turns.take("a")), asyncio.create_task(turns.take("a"))
        await settle()
        left.cancel()
        await settle()
        turns.give("a")
        await next_
        turns.give("a")
        assert len(turns) == 0

    run(scenario)


def test_a_turn_that_came_at_the_moment_of_a_cancellation_goes_to_the_next():
    async def scenario():
        turns = Turns()
        await turns.take("a")
        left, next_ = asyncio.create_task(turns.take("a")), asyncio.create_task(turns.take("a"))
        await settle()
        turns.give("a")  # to the first
        left.cancel()  # before it has run
        with pytest.raises(asyncio.CancelledError):
            await left
        await next_
        turns.give("a")
        assert len(turns) == 0

    run(scenario)
