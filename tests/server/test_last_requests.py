"""Requests that are on their way when a server stops: sent, and not yet read."""

from __future__ import annotations

import asyncio
import contextlib
import socket
import sys
import threading

import pytest
from event_loops import NEW_LOOP, run_in
from lab import AsyncLab
from wire import Wire

from extframe.server import http_server, serving
from extframe.server.asgi import Receive, Scope, Send
from extframe.server.connection import Connection
from extframe.server.connections import Connections
from extframe.server.limits import ServerLimits

REQUEST = b"POST /X.Y HTTP/1.1\r\nHost: x\r\nContent-Length: 0\r\n\r\n"


async def app(scope: Scope, receive: Receive, send: Send) -> None:
    await asyncio.sleep(0.01)
    await send({"type": "http.response.start", "status": 200, "headers": [(b"content-length", b"2")]})
    await send({"type": "http.response.body", "body": b"{}"})


def pair(family: int) -> tuple[socket.socket, socket.socket]:
    if family == socket.AF_UNIX:
        return socket.socketpair()
    with socket.create_server(("127.0.0.1", 0)) as listening:
        return socket.create_connection(listening.getsockname()), listening.accept()[0]


@pytest.mark.skipif(sys.platform != "linux", reason="needs SHUT_RD as Linux has it")
@pytest.mark.parametrize("loop_kind", NEW_LOOP)
@pytest.mark.parametrize("family", [socket.AF_UNIX, socket.AF_INET])
def test_a_request_that_was_sent_before_the_client_could_notice_the_end_is_answered(family, loop_kind):
    async def main() -> tuple[list[bytes], bool]:
        loop = asyncio.get_running_loop()
        connections = Connections(app, ServerLimits(), loop)
        clients = []
        for _ in range(2):
            client, server = pair(family)
            server.setblocking(False)
            client.settimeout(30)
            await loop.connect_accepted_socket(lambda: Connection(connections, lambda: None), server)
            clients.append(client)
        clients[0].send(REQUEST)
        await connections.shut_down(30, asyncio.Event())  # nothing was awaited since: the request is unread
        answers = [client.recv(65536) for client in clients]
        is_refused = False
        try:
            clients[1].send(REQUEST)
        except BrokenPipeError:
            is_refused = True
        for client in clients:
            client.close()
        return answers, is_refused

    (answer, nothing), is_refused = run_in(loop_kind, main)
    assert answer.startswith(b"HTTP/1.1 200 ")
    assert b"connection: close\r\n" in answer.lower()
    assert nothing == b""
    assert is_refused or family == socket.AF_INET


@pytest.mark.parametrize("options", [{}, {"address": "tcp://127.0.0.1:0"}], ids=["unix", "tcp"])
def test_all_connections_that_wait_at_the_socket_when_a_server_stops_are_answered(monkeypatch, options):
    begun, stopping = threading.Event(), threading.Event()
    stop = http_server.HTTPServer.stop

    def block_the_loop() -> str:
        begun.set()
        assert stopping.wait(30)
        return ""

    def stop_and_go_on(server: http_server.HTTPServer) -> None:
        stop(server)
        stopping.set()

    monkeypatch.setattr(http_server, "ACCEPTED_AT_ONCE", 1)
    monkeypatch.setattr(http_server.HTTPServer, "stop", stop_and_go_on)
    with contextlib.ExitStack() as stack:
        with serving(AsyncLab(block_the_loop), **options) as plugin:
            wires = [stack.enter_context(Wire(plugin.address)) for _ in range(40)]
            wires[0].request("POST", "/Lab.Work", b"{}")
            assert begun.wait(30)
            for wire in wires[1:]:
                wire.request("POST", "/Lab.Rest", b"{}")
        assert [wire.answer().status for wire in wires] == [200] * 40
