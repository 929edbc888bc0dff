"""Streams that follow in event loops: a plugin that is silent before the first byte, and readers that are stopped."""

from __future__ import annotations

import asyncio
import threading
from contextlib import aclosing

import pytest
from faultserver import Peer, answer, eventually, reply

from extframe import AsyncClient, AsyncLogDriver, Breaker, LogInfo, ReadConfig
from extframe.errors import ConnectError, ConnectionLost, ProtocolError, RemoteError
from extframe.subsystems.log_entries import LogEntry, pack_entry

READ_LOGS = "LogDriver.ReadLogs"
HEAD = b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n"
FOLLOW = ReadConfig(follow=True)
ENTRY = LogEntry(line=b"a line\n")


@pytest.fixture
def quiet_log(fault_server):
    """Return a server that answers calls and is silent about a log; ``ended`` has the logs that were closed."""

    def behaviour(peer: Peer) -> None:
        while request := peer.read_request():
            if request.path != f"/{READ_LOGS}":
                peer.send(reply())
            elif peer.wait_closed():
                server.ended.append(peer.number)
                return

    server = fault_server(behaviour)
    server.ended = []
    return server


async def entries_of(client: AsyncClient) -> list[LogEntry]:
    return [entry async for entry in AsyncLogDriver.remote(client).read_logs(LogInfo(), FOLLOW)]


async def started(server, count: int = 1) -> None:
    while sum(request.path == f"/{READ_LOGS}" for request in server.requests) < count:
        await asyncio.sleep(0.005)


async def reading(stream) -> None:
    """Wait until a task waits for bytes of the stream."""
    while stream._waiting is None:
        await asyncio.sleep(0)


def test_a_log_that_is_followed_may_be_silent_for_longer_than_any_deadline(run, fault_server):
    def behaviour(peer: Peer) -> None:
        peer.read_request()
        peer.wait(2.7)
        record = pack_entry(ENTRY)
        peer.send(HEAD + b"%x\r\n%b\r\n0\r\n\r\n" % (len(record), record))

    server = fault_server(behaviour)

    async def main():
        async with AsyncClient(server.address, timeout=2.5) as client:
            assert await entries_of(client) == [ENTRY]

    run(main)


def test_quiet_followers_do_not_open_the_circuit_breaker_and_are_cancelled(run, quiet_log):
    async def main():
        breaker = Breaker(failures=2, initial_delay=60, max_delay=60)
        async with AsyncClient(quiet_log.address, timeout=2.5, breaker=breaker) as client:
            followers = [asyncio.create_task(entries_of(client)) for _ in range(5)]
            await started(quiet_log, 5)
            await asyncio.sleep(2.7)  # longer than the timeout of the client
            assert client.next_try is None
            assert await client.call("A.B", timeout=30) == {}
            for follower in followers:
                follower.cancel()
            ends = await asyncio.gather(*followers, return_exceptions=True)
            assert {type(end) for end in ends} == {asyncio.CancelledError}
            assert await client.call("A.B", timeout=30) == {}

    run(main)
    assert eventually(lambda: len(quiet_log.ended) == 5)


def test_closing_the_client_ends_the_iteration_and_a_stream_that_is_read(run, quiet_log):
    async def main():
        client = AsyncClient(quiet_log.address)
        follower = asyncio.create_task(entries_of(client))
        async with client.stream(READ_LOGS, follow=True) as stream:
            reader = asyncio.create_task(stream.read())
            await started(quiet_log, 2)
            await reading(stream)
            await client.aclose()
            assert await follower == []
            with pytest.raises(ValueError, match="closed while it was read"):
                await reader
        with pytest.raises(ConnectError, match="the client is closed"):
            await entries_of(client)

    run(main)


def test_a_task_may_close_the_stream_that_another_reads(run, quiet_log):
    async def main():
        async with AsyncClient(quiet_log.address) as client, client.stream(READ_LOGS, follow=True) as stream:
            reader = asyncio.create_task(stream.read())
            await reading(stream)
            stream.close()
            with pytest.raises(ValueError, match="closed while it was read"):
                await reader

    run(main)


def test_another_thread_may_close_the_stream_that_a_task_reads(run, quiet_log):
    async def main():
        async with AsyncClient(quiet_log.address) as client, client.stream(READ_LOGS, follow=True) as stream:
            asyncio.get_running_loop().set_debug(True)  # raises in a thread that uses the loop without waking it
            reader = asyncio.create_task(stream.read())
            await reading(stream)
            closer = threading.Thread(target=stream.close)
            closer.start()
            with pytest.raises(ValueError, match="closed while it was read"):
                await asyncio.wait_for(reader, 30)  # the loop sleeps: the other thread has to wake it
            closer.join()
            assert stream.closed
            with pytest.raises(ValueError, match="closed stream"):
                await stream.read()

    run(main)
    assert eventually(lambda: quiet_log.ended)


def test_a_stream_that_is_closed_between_two_pieces_does_not_wait_for_more(run, fault_server):
    def behaviour(peer: Peer) -> None:
        peer.read_request()
        peer.send(HEAD)
        peer.wait(0.05)
        peer.send(b"5\r\n")  # not yet a piece: the reader waits again
        peer.hang()

    server = fault_server(behaviour)

    async def main():
        async with AsyncClient(server.address) as client, client.stream(READ_LOGS, follow=True) as stream:
            advance = stream._advance

            def advance_and_close() -> bool:
                asyncio.get_running_loop().call_soon(stream.close)  # before the reader continues
                return advance()

            stream._advance = advance_and_close
            with pytest.raises(ValueError, match="closed while it was read"):
                await asyncio.wait_for(stream.read(), 30)

    run(main)


def test_a_read_that_is_cancelled_before_the_headers_is_continued_by_the_next(run, fault_server):
    def behaviour(peer: Peer) -> None:
        peer.read_request()
        for piece in (HEAD[:20], HEAD[20:], b"5\r\nfirst\r\n", b"0\r\n\r\n"):
            peer.wait(0.05)
            peer.send(piece)
        peer.wait_closed()

    server = fault_server(behaviour)

    async def main():
        body = b""
        async with AsyncClient(server.address) as client, client.stream(READ_LOGS, follow=True) as stream:
            while True:
                try:
                    piece = await asyncio.wait_for(stream.read(), 0.02)
                except asyncio.TimeoutError:
                    continue
                if not piece:
                    break
                body += piece
        assert body == b"first"

    run(main)


def test_what_arrives_after_a_read_was_cancelled_is_returned_by_the_next(run, fault_server):
    go_on = threading.Event()

    def behaviour(peer: Peer) -> None:
        peer.read_request()
        assert go_on.wait(30)
        peer.send(HEAD + b"5\r\nfirst\r\n")
        peer.hang()

    server = fault_server(behaviour)

    async def main():
        async with AsyncClient(server.address) as client, client.stream(READ_LOGS, follow=True) as stream:
            reader = asyncio.create_task(stream.read())
            await reading(stream)
            reader.cancel()
            await asyncio.wait({reader})
            go_on.set()
            while not stream._exchange.has_headers:
                await asyncio.sleep(0.001)
            assert await asyncio.wait_for(stream.read(), 30) == b"first"

    run(main)


@pytest.mark.parametrize(
    ("first", "then", "error"),
    [
        (b"HTTP/1.1 200 OK\r\n\r\nfirst", None, ConnectionLost),  # its end would be that of the body
        (b"", b"SSH-2.0-OpenSSH_9.2\r\n", ProtocolError),
    ],
    ids=["reset", "headers"],
)
def test_an_error_that_comes_after_a_read_was_cancelled_is_raised_by_the_next(run, fault_server, first, then, error):
    go_on = threading.Event()

    def behaviour(peer: Peer) -> None:
        peer.read_request()
        peer.send(first)
        assert go_on.wait(30)
        if then is None:
            peer.reset()
        else:
            peer.send(then)
            peer.hang()

    server = fault_server(behaviour, kind="tcp")

    async def main():
        async with AsyncClient(server.address) as client, client.stream(READ_LOGS, follow=True) as stream:
            if first:
                assert await stream.read() == b"first"
            reader = asyncio.create_task(stream.read())
            await reading(stream)
            reader.cancel()
            await asyncio.wait({reader})
            go_on.set()
            while stream._registration._step is not None:
                await asyncio.sleep(0.001)
            with pytest.raises(error):
                await asyncio.wait_for(stream.read(), 30)

    run(main)


@pytest.mark.parametrize(
    ("response", "error", "message"),
    [
        (reply(b'{"Err": "no such container"}', status="500 No"), RemoteError, "no such container"),
        (b"SSH-2.0-OpenSSH_9.2\r\n", ProtocolError, "is not HTTP"),
        (b"", ConnectionLost, "without a response"),
        (HEAD + b"5\r\nab", ConnectionLost, "before the body"),
    ],
)
def test_errors_come_from_the_first_read_and_name_plugin_and_method(run, fault_server, response, error, message):
    def behaviour(peer: Peer) -> None:
        peer.read_request()
        peer.send(response)

    server = fault_server(behaviour)

    async def main():
        async with AsyncClient(server.address, plugin="rec") as client:
            async with aclosing(AsyncLogDriver.remote(client).read_logs(LogInfo(), FOLLOW)) as entries:
                with pytest.raises(error, match=message) as caught:
                    await anext(entries)
            assert (caught.value.plugin, caught.value.method, caught.value.address) == (
                "rec",
                READ_LOGS,
                server.address,
            )

    run(main)


def test_a_stream_that_was_read_to_its_end_leaves_its_connection_for_the_next(run, fault_server):
    server = fault_server(answer(pack_entry(ENTRY)))

    async def main():
        async with AsyncClient(server.address) as client:
            for _ in range(3):
                assert await entries_of(client) == [ENTRY]

    run(main)
    assert server.connections == 1
