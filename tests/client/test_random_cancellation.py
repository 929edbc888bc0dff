"""Calls that are cancelled at random moments, under load: no reply reaches another call, and nothing is left behind.

``EXTFRAME_CANCELLATIONS=10000`` makes so many instead of some hundreds.
"""

from __future__ import annotations

import asyncio
import gc
import os
import random
from collections import Counter

import msgspec
from faultserver import answer_with, reply

from extframe import AsyncClient, Breaker

CANCELLATIONS = int(os.environ.get("EXTFRAME_CANCELLATIONS", "600"))
AT_ONCE = 40


def echo(request) -> bytes:
    """Answer with what was asked, some of it long enough to come in several pieces."""
    return reply(request.body + b" " * (len(request.body) % 7 * 30_000))


class Load:
    """Tasks that make calls of every kind, most of which are cancelled."""

    def __init__(self, client: AsyncClient) -> None:
        self.client = client
        self.random = random.Random(13)
        self.ended: Counter[str] = Counter()

    async def run(self) -> None:
        await asyncio.gather(*(self.work() for _ in range(AT_ONCE)))

    async def work(self) -> None:
        while self.ended["cancelled"] < CANCELLATIONS:
            task = asyncio.ensure_future(self.call(sum(self.ended.values())))
            for _ in range(self.random.choice([0, 1, 2, 3, 5, 10, 20, 100])):
                await asyncio.sleep(0)
            if self.random.random() < 0.3:
                await asyncio.sleep(self.random.random() * 0.005)
            if self.random.random() < 0.8:
                task.cancel()
            try:
                await task
                self.ended["replied"] += 1
            except asyncio.CancelledError:
                self.ended["cancelled"] += 1

    async def call(self, number: int) -> None:
        """Make a call of some kind, and check that its reply is its own."""
        asked = {"n": number, "pad": "x" * self.random.randrange(2000)}
        make = self.random.choice([self.once, self.again, self.stream, self.file])
        assert msgspec.json.decode(bytes(await make(asked))) == asked

    async def once(self, asked: object) -> bytes:
        return await self.client.call("A.B", asked, reply=msgspec.Raw)

    async def again(self, asked: object) -> bytes:
        return await self.client.call("A.B", asked, reply=msgspec.Raw, idempotent=True)

    async def stream(self, asked: object) -> bytes:
        async with self.client.stream("A.B", asked) as stream:
            return b"".join([piece async for piece in stream])

    async def file(self, asked: object) -> bytes:
        async def pieces():
            data = msgspec.json.encode(asked)
            yield data[:10]
            await asyncio.sleep(0)
            yield data[10:]

        return await self.client.send_file("A.B", pieces(), reply=msgspec.Raw)


def test_random_cancellation_leaves_no_connection_out_of_step(run, fault_server):
    server = fault_server(answer_with(echo), backlog=1000)

    async def main():
        async with AsyncClient(server.address, breaker=Breaker(failures=1), timeout=60) as client:
            load = Load(client)
            await load.run()  # a cancelled call must not become the failure of another
            assert client.endpoint.circuit.failures == 0
            assert client._transport._feeders == {}
            assert len(client._transport._idle) <= 2 * AT_ONCE
            await client.call("A.B", {"n": -1})
        assert [task for task in asyncio.all_tasks() if task is not asyncio.current_task()] == []
        return load.ended

    ended = run(main)
    gc.collect()
    assert ended["replied"] > CANCELLATIONS / 20
    assert not [each for each in gc.get_objects() if isinstance(each, asyncio.Future) and not each.done()]
