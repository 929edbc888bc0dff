"""A caller is watched once its call takes long, and no longer than that."""

from __future__ import annotations

import asyncio

from extframe.server import disconnect
from extframe.server.disconnect import DisconnectWatcher, caller_gone


def run(scenario) -> None:
    asyncio.run(asyncio.wait_for(scenario(), timeout=30))


def receiving(asked: list[str], disconnected: asyncio.Event):
    async def receive():
        asked.append("asked")
        await disconnected.wait()
        return {"type": "http.disconnect"}

    return receive


def others() -> set[asyncio.Task]:
    return asyncio.all_tasks() - {asyncio.current_task()}


def test_a_call_that_is_answered_at_once_is_never_watched():
    async def scenario():
        asked, before = [], others()
        DisconnectWatcher(receiving(asked, asyncio.Event())).stop()
        await asyncio.sleep(3 * disconnect.WATCH_AFTER)
        assert asked == []
        assert others() == before

    run(scenario)


def test_a_caller_who_hangs_up_is_gone_and_the_one_who_waits_for_it_hears_of_it():
    async def scenario():
        asked, disconnected, heard = [], asyncio.Event(), asyncio.Event()
        watched = DisconnectWatcher(receiving(asked, disconnected))
        watched.on_gone = heard.set
        await asyncio.sleep(3 * disconnect.WATCH_AFTER)
        assert asked == ["asked"]
        assert not caller_gone()
        disconnected.set()
        await heard.wait()
        assert caller_gone()
        watched.stop()

    run(scenario)


def test_the_watch_ends_with_the_answer():
    async def scenario():
        before = others()
        watched = DisconnectWatcher(receiving([], asyncio.Event()))
        await asyncio.sleep(3 * disconnect.WATCH_AFTER)
        assert others() != before
        watched.stop()
        await asyncio.sleep(0.01)
        assert others() == before
        assert not caller_gone()

    run(scenario)
