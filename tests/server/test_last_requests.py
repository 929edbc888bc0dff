"""Requests that are on their way when a server stops: sent, and not yet read."""

from __future__ import annotations

import asyncio
import socket
import sys

import pytest
from event_loops import NEW_LOOP, run_in

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
