"""AsyncClient on real sockets, in asyncio's event loop and in uvloop: calls, streams, cancellation, event loops."""

from __future__ import annotations

import asyncio
import gc
import io
import math
import os
import threading
import weakref
from contextvars import ContextVar

import msgspec
import pytest
from event_loops import NEW_LOOP, open_sockets, run_in
from faultserver import (
    Peer,
    answer,
    answer_with,
    chunked,
    eventually,
    read_and_hang,
    reply,
    successively,
)

import extframe
from extframe import AsyncClient
from extframe.errors import CallTimeout, ConnectError, ConnectionLost, RemoteError

PHOTOS = {"Name": "photos"}


def test_a_call_returns_the_reply(run, fault_server):
    server = fault_server(answer(b'{"Mountpoint": "/mnt/photos"}'))

    class Mounted(msgspec.Struct):
        Mountpoint: str

    async def main():
        async with AsyncClient(server.address) as client:
            assert await client.call("VolumeDriver.Mount", PHOTOS) == {"Mountpoint": "/mnt/photos"}
            assert await client.call("VolumeDriver.Mount", PHOTOS, reply=Mounted) == Mounted("/mnt/photos")
            assert await client.call("VolumeDriver.Mount", reply=None) is None

    run(main)
    assert [request.path for request in server.requests] == 3 * ["/VolumeDriver.Mount"]
    assert server.requests[0].body == b'{"Name":"photos"}\n'
    assert server.connections == 1


def test_a_reply_whose_deadline_has_passed_is_not_decoded(run, fault_server, monkeypatch):
    monkeypatch.setattr("extframe.client.replies.monotonic", lambda: math.inf)
    server = fault_server(answer(b"not JSON"))

    async def main():
        async with AsyncClient(server.address) as client:
            with pytest.raises(CallTimeout, match="timed out before the response was decoded"):
                await client.call("A.B")

    run(main)


def test_concurrent_calls_get_their_own_replies(run, fault_server):
    server = fault_server(answer_with(lambda request: reply(request.body)))

    async def main():
        async with AsyncClient(server.address) as client:
            replies = await asyncio.gather(*(client.call("A.B", {"n": n}) for n in range(200)))
            assert replies == [{"n": n} for n in range(200)]

    run(main)


def test_a_large_request_is_sent_while_the_plugin_reads_it(run, fault_server):
    server = fault_server(answer_with(lambda request: reply(b'{"size": %d}' % len(request.body))))

    async def main():
        async with AsyncClient(server.address) as client:
            assert await client.call("A.B", "x" * 5_000_000) == {"size": 5_000_003}

    run(main)


def test_a_stream_is_read_while_it_arrives(run, fault_server):
    second = threading.Event()

    def behaviour(peer: Peer) -> None:
        peer.read_request()
        peer.send(b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nfirst\r\n")
        assert second.wait(30)
        peer.send(b"6\r\nsecond\r\n0\r\n\r\n")
        peer.read_request()

    server = fault_server(behaviour)

    async def main():
        async with AsyncClient(server.address) as client, client.stream("LogDriver.ReadLogs") as stream:
            assert await stream.read(2) == b"fi"
            assert await stream.read(100) == b"rst"
            with pytest.raises(asyncio.TimeoutError):  # the reader goes on afterwards
                await asyncio.wait_for(stream.read(), 0.01)
            second.set()
            assert [piece async for piece in stream] == [b"second"]
            assert await stream.read() == b""

    run(main)


def test_a_stream_that_is_read_slowly_holds_the_plugin_back(run, fault_server):
    """What is not read stays in the socket: neither in memory, nor does it wake the loop."""
    body = os.urandom(3_000_000)
    server = fault_server(answer_with(lambda request: chunked(body[:1_000_000], body[1_000_000:])))

    async def main():
        async with AsyncClient(server.address) as client:
            async with client.stream("A.B") as stream:
                received = await stream.read(10)
                for _ in range(100):
                    await asyncio.sleep(0)
                assert len(stream._unread) < 1_000_000
                async for piece in stream:
                    received += piece
            assert received == body
            await client.call("A.B", reply=msgspec.Raw)  # over the same connection

    run(main)
    assert server.connections == 1


def test_a_stream_that_the_plugin_refuses_is_its_error(run, fault_server):
    server = fault_server(answer(b'{"Err": "no such container"}', status="500 Oops"))

    async def main():
        async with AsyncClient(server.address, plugin="logs") as client:
            with pytest.raises(RemoteError, match="no such container") as caught:
                async with client.stream("LogDriver.ReadLogs"):
                    pass
            assert (caught.value.plugin, caught.value.status) == ("logs", 500)

    run(main)


# --- cancellation ---------------------------------------------------------------------------------------


def test_a_cancelled_call_closes_its_connection_and_says_nothing_about_the_plugin(run, fault_server):
    server = fault_server(successively(read_and_hang, answer(b'{"n": 2}')))

    async def main():
        async with AsyncClient(server.address, breaker=extframe.Breaker(failures=1)) as client:
            with pytest.raises(asyncio.TimeoutError):
                await asyncio.wait_for(client.call("A.B"), 0.05)
            assert client.last_error is None
            assert client.endpoint.circuit.failures == 0
            assert await client.call("A.B") == {"n": 2}
            assert await client.call("A.B") == {"n": 2}

    run(main)
    assert server.connections == 2


def test_a_cancelled_probe_lets_the_next_one_through(run, fault_server):
    server = fault_server(successively(lambda peer: peer.read_request(), read_and_hang, answer()))

    async def main():
        breaker = extframe.Breaker(failures=1, initial_delay=0.01)
        async with AsyncClient(server.address, breaker=breaker) as client:
            with pytest.raises(ConnectionLost):
                await client.call("A.B")
            assert client.last_error is not None
            await asyncio.sleep(0.02)
            with pytest.raises(asyncio.TimeoutError):
                await asyncio.wait_for(client.call("A.B"), 0.05)
            assert client.last_error is not None
            await client.call("A.B")
            assert client.last_error is None

    run(main)


def test_a_stream_whose_task_is_cancelled_is_closed(run, fault_server):
    closed = threading.Event()

    def behaviour(peer: Peer) -> None:
        peer.read_request()
        peer.send(b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nfirst\r\n")
        if peer.wait_closed():
            closed.set()

    server = fault_server(behaviour)

    async def main():
        async with AsyncClient(server.address) as client:

            async def follow():
                async with client.stream("A.B") as stream:
                    async for _ in stream:
                        reading.set_result(None)

            reading = asyncio.get_running_loop().create_future()
            task = asyncio.ensure_future(follow())
            await reading
            task.cancel()
            with pytest.raises(asyncio.CancelledError):
                await task
            assert await asyncio.get_running_loop().run_in_executor(None, closed.wait, 30)

    run(main)


# --- event loops ----------------------------------------------------------------------------------------


def test_a_second_loop_is_refused_before_anything_is_sent(run, loop_kind, fault_server):
    server = fault_server(answer())
    client = AsyncClient(server.address, plugin="rec")

    async def first():
        await client.call("A.B")
        thread = threading.Thread(target=lambda: refused.append(run_in(loop_kind, second)))
        thread.start()
        await asyncio.get_running_loop().run_in_executor(None, thread.join)

    async def second():
        with pytest.raises(RuntimeError, match="<AsyncClient 'rec' at .*> was first used in another event loop"):
            await client.call("A.B")
        with pytest.raises(RuntimeError, match="make one for each event loop"):
            async with client.stream("A.B"):
                pass
        return True

    refused: list[bool] = []
    run_in(loop_kind, first)
    assert refused == [True]
    run_in(loop_kind, second)
    assert len(server.requests) == 1


def test_a_loop_that_is_closed_with_calls_in_flight_leaves_no_connection(loop_kind, fault_server, ends_of_servers):
    server = fault_server(read_and_hang)
    before = open_sockets()
    loop = NEW_LOOP[loop_kind]()
    loop.set_exception_handler(lambda *_: None)  # "Task was destroyed but it is pending" is true

    async def main():
        client = AsyncClient(server.address)
        tasks = [asyncio.ensure_future(client.call("A.B")) for _ in range(10)]
        while len(server.requests) < 10:
            await asyncio.sleep(0.001)
        return tasks

    tasks = loop.run_until_complete(main())
    loop.close()
    assert len(open_sockets() - before - ends_of_servers()) == 10
    del tasks, loop
    gc.collect()
    assert eventually(lambda: not open_sockets() - before - ends_of_servers())


def test_a_forked_child_uses_no_connection_of_its_parent(loop_kind, fault_server):
    server = fault_server(answer_with(lambda request: reply(request.body)))
    client = AsyncClient(server.address)
    loop = NEW_LOOP[loop_kind]()
    assert loop.run_until_complete(client.call("A.B", {"by": "parent"})) == {"by": "parent"}
    if not (child := os.fork()):
        code = 1
        try:
            code = run_in(loop_kind, lambda: client.call("A.B", {"by": "child"})) != {"by": "child"}
        finally:
            os._exit(code)
    assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 0
    assert loop.run_until_complete(client.call("A.B", {"by": "parent"})) == {"by": "parent"}
    loop.run_until_complete(client.aclose())
    loop.close()
    assert server.connections == 2


def test_a_connection_keeps_no_context_of_the_task_that_opened_it(run, fault_server):
    server = fault_server(answer())
    variable: ContextVar[object] = ContextVar("variable")

    class Request:
        pass

    async def main():
        async with AsyncClient(server.address) as client:

            async def call():
                request = Request()
                variable.set(request)
                await client.call("A.B")
                return weakref.ref(request)

            request = await asyncio.ensure_future(call())
            await asyncio.sleep(0)  # the loop drops the task
            gc.collect()
            assert request() is None

    run(main)


# --- connections ----------------------------------------------------------------------------------------


def test_a_connection_that_the_plugin_closes_while_it_is_idle_is_closed_at_once(run, fault_server):
    def behaviour(peer: Peer) -> None:
        peer.read_request()
        peer.send(reply())

    server = fault_server(behaviour)

    async def main():
        before = open_sockets()
        async with AsyncClient(server.address) as client:
            await client.call("A.B")
            while open_sockets() - before:
                await asyncio.sleep(0.001)
            await client.call("A.B")

    run(main)
    assert server.connections == 2


def test_a_client_that_is_not_closed_is_closed_with_the_last_reference(run, fault_server):
    server = fault_server(answer())

    async def main():
        before = open_sockets()
        client = AsyncClient(server.address)
        await client.call("A.B")
        assert len(open_sockets() - before) >= 1
        del client
        gc.collect()
        while open_sockets() - before:
            await asyncio.sleep(0.001)

    run(main)


def test_a_closed_client_says_so_and_ends_waits_for_a_retry(run, short_path):
    async def main():
        client = AsyncClient(f"unix://{short_path}", retry=extframe.Retry(refused=(60,)), timeout=120)
        waiting = asyncio.ensure_future(client.call("A.B"))
        while not client._pauses:
            await asyncio.sleep(0.001)
        await client.aclose()
        with pytest.raises(ConnectError, match="nothing listens there"):
            await waiting
        with pytest.raises(ConnectError, match="the client is closed"):
            await client.call("A.B")
        with pytest.raises(ConnectError, match="the client is closed"):
            client.sync.call("A.B")

    run(main)


def test_a_client_follows_its_endpoint_to_another_address(run, fault_server):
    first, second = fault_server(answer(b'{"n": 1}')), fault_server(answer(b'{"n": 2}'))

    async def main():
        async with AsyncClient(first.address) as client:
            assert await client.call("A.B") == {"n": 1}
            await asyncio.get_running_loop().run_in_executor(None, client.retarget, second.address)
            assert await client.call("A.B") == {"n": 2}
            assert client.sync.call("A.B") == {"n": 2}

    run(main)


def test_a_thread_may_retarget_a_client_that_is_about_to_be_bound_to_its_loop(run, fault_server, monkeypatch):
    first, second = fault_server(answer(b'{"n": 1}')), fault_server(answer(b'{"n": 2}'))

    async def main():
        async with AsyncClient(first.address) as client:
            assert await client.call("A.B") == {"n": 1}
            with monkeypatch.context() as patched:
                patched.setattr(client._binding, "loop", None)  # as the thread saw it before that call
                client.retarget(second.address)
            assert await client.call("A.B") == {"n": 2}
            assert await client.send_file("A.B", io.BytesIO(b"x")) == {"n": 2}

    run(main)


def test_two_threads_have_one_sync_client(fault_server, monkeypatch):
    server = fault_server(answer(b"{}"))
    both, on = threading.Barrier(2), extframe.Client.on

    def wait_for_the_other(*arguments, **options):
        both.wait(60)
        return on(*arguments, **options)

    monkeypatch.setattr(extframe.Client, "on", wait_for_the_other)
    client = AsyncClient(server.address)
    found: list[extframe.Client] = []
    threads = [threading.Thread(target=lambda: found.append(client.sync)) for _ in range(2)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(60)
    assert found == [client.sync] * 2
    assert len(client.endpoint._followers) == 2  # the other one is kept by nothing
    asyncio.run(client.aclose())
    with pytest.raises(ConnectError, match="the client is closed"):
        found[0].call("A.B")


def test_a_client_that_is_made_during_a_retarget_uses_the_new_address(fault_server, monkeypatch):
    first, second = fault_server(answer(b'{"n": 1}')), fault_server(answer(b'{"n": 2}'))
    client = AsyncClient(first.address)
    begin = extframe.Client._open

    def begin_slowly(made):
        begin(made)
        client.retarget(second.address)  # in another thread

    monkeypatch.setattr(extframe.Client, "_open", begin_slowly)
    assert client.sync.call("A.B") == {"n": 2}
    asyncio.run(client.aclose())


def test_ten_thousand_calls_that_start_together_leave_the_loop_to_others(run, fault_server):
    """Every one of them has to connect: without a pause that would stop the loop for half a second."""
    server = fault_server(answer(), backlog=1000)
    count = 500

    async def main():
        async with AsyncClient(server.address) as client:
            calls = [asyncio.ensure_future(client.call("A.B")) for _ in range(count)]
            while not any(call.done() for call in calls):
                await asyncio.sleep(0)
            assert server.connections < count
            await asyncio.gather(*calls)

    run(main)


@pytest.mark.parametrize(("first", "second"), [(2.1, 2.4), (30.0, 2.1)])
def test_an_earlier_deadline_is_kept_on_a_connection_that_had_a_later_one(run, fault_server, first, second):
    def behaviour(peer: Peer) -> None:
        peer.read_request()
        peer.send(reply())
        read_and_hang(peer)

    server = fault_server(behaviour)

    async def main():
        async with AsyncClient(server.address, timeout=first) as client:
            await client.call("A.B")
            with pytest.raises(CallTimeout) as caught:
                await client.call("A.B", timeout=second)
            assert caught.value.phase == "status line"

    run(main)
    assert server.connections == 1
