"""AsyncClient.send_file: files, async files and async iterables; nothing that is slow stops the event loop."""

from __future__ import annotations

import asyncio
import io
import os
import threading

import pytest
from faultserver import (
    Peer,
    answer,
    answer_with,
    hang,
    reply,
    send_and_close,
)

import extframe
from extframe import AsyncClient
from extframe.errors import CallTimeout, ConnectError, ConnectionLost, RemoteError

BYTES = os.urandom(300_001)


class AsyncFile:
    """As those of aiofiles: awaited, and an async iterable of lines too."""

    def __init__(self) -> None:
        self._file = io.BytesIO(BYTES)

    async def read(self, size: int) -> bytes:
        await asyncio.sleep(0)
        return self._file.read(size)

    def __aiter__(self):
        raise AssertionError("lines are not wanted")


async def generated():
    for start in range(0, len(BYTES), 100_000):
        await asyncio.sleep(0)
        yield BYTES[start : start + 100_000]
        yield b""


def on_disk(tmp_path):
    path = tmp_path / "layer.tar"
    path.write_bytes(BYTES)
    return path.open("rb")


SOURCES = {"file": on_disk, "BytesIO": lambda _: io.BytesIO(BYTES), "async file": lambda _: AsyncFile()}
SOURCES["async iterable"] = lambda _: generated()


@pytest.mark.parametrize("source", SOURCES.values(), ids=SOURCES)
def test_all_of_a_source_is_sent(run, fault_server, tmp_path, source):
    server = fault_server(answer_with(lambda request: reply(b'{"size": %d}' % len(request.body))))

    async def main():
        async with AsyncClient(server.address) as client:
            data = source(tmp_path)
            assert await client.send_file("GraphDriver.ApplyDiff?id=1", data) == {"size": len(BYTES)}
            await client.call("A.B")
            if hasattr(data, "close"):
                data.close()

    run(main)
    assert server.requests[0].body == BYTES
    assert server.connections == 1


def test_a_file_that_blocks_does_not_block_the_loop(run, fault_server):
    class Blocked:
        def read(self, size):
            started.set()
            return b"" if resume.wait(30) else None

    server = fault_server(answer())
    started, resume = threading.Event(), threading.Event()

    async def main():
        async with AsyncClient(server.address) as client:
            sending = asyncio.ensure_future(client.send_file("A.B", Blocked()))
            while not started.is_set():
                await asyncio.sleep(0.001)
            await client.call("A.B")
            resume.set()
            assert await sending == {}

    run(main)


@pytest.mark.parametrize("behaviour", [hang, answer()], ids=["plugin", "source"])
def test_the_deadline_ends_an_upload_wherever_it_waits(run, fault_server, behaviour):
    server = fault_server(behaviour)
    started, closed = [], []

    async def source():
        started.append(True)  # not on a machine that stalls until the deadline
        try:
            for _ in range(2 if behaviour is not hang else 100_000):
                yield bytes(64 * 1024)
            await asyncio.sleep(60)
        finally:
            await asyncio.sleep(0)
            closed.append(True)
            raise LookupError("the loop must not report it as never retrieved")

    async def main():
        async with AsyncClient(server.address) as client:
            with pytest.raises(CallTimeout) as caught:
                await client.send_file("A.B", source(), timeout=0.5)
            if started:
                assert caught.value.phase == "send"
                assert "to take the request" in str(caught.value)

    run(main)
    assert closed == started


@pytest.mark.parametrize("ends", ["waits", "goes on"])
def test_a_response_before_the_end_ends_the_upload(run, fault_server, ends):
    def behaviour(peer: Peer) -> None:
        peer.read_head()
        peer._read_until(b"first")
        peer.send(reply(b'{"Err": "no such image"}', status="404 Not Found"))
        peer.wait_closed()

    server = fault_server(behaviour)
    closed = []

    async def source():
        try:
            yield b"first"
            if ends == "waits":
                await asyncio.sleep(60)
            while True:
                yield bytes(64 * 1024)
        finally:
            closed.append(True)

    async def main():
        async with AsyncClient(server.address, timeout=30) as client:
            with pytest.raises(RemoteError, match="no such image"):
                await client.send_file("A.B", source())

    run(main)
    assert closed == [True]


def test_what_the_source_raises_is_raised_and_the_connection_closed(run, fault_server):
    server = fault_server(answer())

    async def source():
        yield b"first"
        raise LookupError("no more")

    async def main():
        async with AsyncClient(server.address) as client:
            with pytest.raises(LookupError, match="no more"):
                await client.send_file("A.B", source())
            with pytest.raises(TypeError):
                await client.send_file("A.B", io.StringIO("text"))
            with pytest.raises(TypeError):
                await client.send_file("A.B", b"bytes")
            await client.call("A.B")

    run(main)
    assert server.connections == 2


def test_a_cancelled_upload_ends_with_its_source(run, fault_server):
    server = fault_server(hang)
    closed = []

    async def source():
        try:
            while True:
                yield bytes(64 * 1024)
        finally:
            closed.append(True)

    async def main():
        async with AsyncClient(server.address) as client:
            with pytest.raises(asyncio.TimeoutError):
                await asyncio.wait_for(client.send_file("A.B", source()), 0.05)

    run(main)
    assert closed == [True]


def test_an_upload_is_never_repeated_and_its_source_untouched_without_a_connection(run, fault_server, short_path):
    server = fault_server(send_and_close(b"HTTP/1.1 200 OK\r\nContent-Le"))

    async def main():
        async with AsyncClient(server.address) as client:
            with pytest.raises(ConnectionLost):
                await client.send_file("A.B", generated())
        async with AsyncClient(f"unix://{short_path}", retry=extframe.Retry(refused=(0,))) as client:
            source = generated()
            with pytest.raises(ConnectError):
                await client.send_file("A.B", source)
            assert b"".join([piece async for piece in source]) == BYTES

    run(main)
    assert server.connections == 1
