"""Which connections AsyncClient uses again: over unix sockets, TCP and TLS, and of plugins that close them."""

from __future__ import annotations

import asyncio
from contextlib import suppress

import msgspec
import pytest
from certificates import Authority
from faultserver import Peer, answer, answer_with, eventually, reply, send_and_close

from extframe import AsyncClient, TLSConfig
from extframe.errors import ConnectionLost


@pytest.fixture(scope="module")
def authority(tmp_path_factory):
    return Authority(tmp_path_factory.mktemp("tls"))


@pytest.fixture
def serve(fault_server, authority):
    """Start a server over unix, tcp or https; return it and the arguments of its client."""

    def start(behaviour, kind):
        tls = authority.issue("server", "127.0.0.1").server_context() if kind == "https" else None
        server = fault_server(behaviour, kind="unix" if kind == "unix" else "tcp", tls=tls)
        return server, {"address": server.address, "tls": TLSConfig(ca_file=authority.ca_file), "timeout": 60}

    return start


def echo(request):
    return reply(request.body)


def close_while_idle(peer: Peer) -> None:
    peer.read_request()
    peer.send(reply())


KINDS = pytest.mark.parametrize("kind", ["unix", "tcp", "https"])


@KINDS
def test_calls_streams_and_files_of_any_size_share_connections(run, serve, kind):
    server, arguments = serve(answer_with(echo), kind)
    large = {"pad": "x" * 2_000_000}

    async def pieces():
        yield b'{"pad": "'
        yield b"x" * 1_000_000
        yield b'"}'

    async def main():
        async with AsyncClient(**arguments) as client:
            assert await client.call("A.B", {"n": 1}) == {"n": 1}
            assert await client.call("A.B", large) == large
            async with client.stream("A.B", large) as stream:
                received = b"".join([piece async for piece in stream])
            assert msgspec.json.decode(received) == large
            assert await client.send_file("A.B", pieces()) == {"pad": "x" * 1_000_000}
            found = await asyncio.gather(*(client.call("A.B", {"n": n}) for n in range(20)))
            assert found == [{"n": n} for n in range(20)]

    run(main)
    assert 1 <= server.connections <= 20


@KINDS
@pytest.mark.parametrize("idempotent", [False, True])
def test_a_connection_that_is_closed_while_it_is_idle_costs_no_call(run, serve, kind, idempotent):
    server, arguments = serve(close_while_idle, kind)

    async def main():
        async with AsyncClient(**arguments) as client:
            for _ in range(3):
                assert await client.call("A.B", idempotent=idempotent) == {}
                while server._open or client._transport._idle:  # the close arrives, and the loop sees it
                    await asyncio.sleep(0.001)

    run(main)
    assert server.connections == 3


def test_a_close_that_the_loop_has_not_seen_is_noticed_before_a_call_that_must_not_be_repeated(run, serve):
    """A busy loop has not reported it: the connection itself is looked at."""
    server, arguments = serve(close_while_idle, "unix")

    async def main():
        async with AsyncClient(**arguments) as client:
            for _ in range(3):
                assert await client.call("A.B") == {}
                assert eventually(lambda: not server._open)  # blocks the loop
                assert len(client._transport._idle) <= 1

    run(main)
    assert (server.connections, len(server.requests)) == (3, 3)


def test_no_connection_is_kept_where_the_host_says_so(run, serve):
    server, arguments = serve(answer(), "unix")

    async def main():
        async with AsyncClient(**arguments, keep_alive=False) as client:
            for _ in range(3):
                await client.call("A.B")

    run(main)
    assert server.connections == 3


def test_a_plugin_that_closes_its_connections_is_noticed(run, serve):
    _, arguments = serve(send_and_close(reply()), "unix")

    async def main():
        async with AsyncClient(**arguments) as client:
            for _ in range(10):
                with suppress(ConnectionLost):  # the end of a kept connection may arrive after the request was sent
                    await client.call("A.B")
            for _ in range(50):
                await client.call("A.B")
            assert not client._transport._keep_alive.keeps

    run(main)


def test_a_closed_client_keeps_no_connection_of_a_call_that_ends_later(run, fault_server):
    def behaviour(peer: Peer) -> None:
        peer.read_request()
        peer.wait(0.05)
        peer.send(reply())
        peer.wait_closed()

    server = fault_server(behaviour)

    async def main():
        client = AsyncClient(server.address)
        calling = asyncio.ensure_future(client.call("A.B"))
        while not server.requests:
            await asyncio.sleep(0.001)
        await client.aclose()
        assert await calling == {}

    run(main)
