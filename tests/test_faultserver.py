"""The fault server does what its behaviours say, so that a test which uses it tests the client."""

from __future__ import annotations

import contextlib
import socket

import pytest
from faultserver import FaultServer, answer, chunked, close_at_once, drip, eventually, hang, in_turn, reply

REQUEST = b"POST /A.B HTTP/1.1\r\nHost: x\r\nContent-Length: 2\r\n\r\n{}"


def connect(server: FaultServer) -> socket.socket:
    if server.kind == "unix":
        sock = socket.socket(socket.AF_UNIX)
        sock.connect(server.path)
    else:
        sock = socket.create_connection(("127.0.0.1", server.port))
    sock.settimeout(30)
    return sock


@pytest.mark.parametrize("kind", ["unix", "tcp"])
def test_requests_are_answered_and_remembered(fault_server, kind):
    server = fault_server(answer(b"[1]"), kind=kind)
    with connect(server) as sock:
        for _ in range(2):
            sock.sendall(REQUEST)
            assert sock.recv(1000) == reply(b"[1]")
    assert [(request.path, request.body) for request in server.requests] == [("/A.B", b"{}")] * 2
    assert server.requests[0].headers == [("Host", "x"), ("Content-Length", "2")]


def test_a_chunked_request_is_read_whole(fault_server):
    server = fault_server(answer())
    with connect(server) as sock:
        body = chunked(b"ab", b"c").partition(b"\r\n\r\n")[2]
        sock.sendall(b"POST /A.B HTTP/1.1\r\nTransfer-Encoding: chunked\r\n\r\n" + body)
        assert sock.recv(1000) == reply()
    assert server.requests[0].body == b"abc"


def test_behaviours_take_turns_and_the_last_one_stays(fault_server):
    server = fault_server(in_turn(close_at_once, answer()))
    for expected in (b"", reply(), reply()):
        with connect(server) as sock:
            if expected:
                sock.sendall(REQUEST)
            assert sock.recv(1000) == expected
    assert server.connections == 3


@pytest.mark.parametrize("behaviour", [hang, drip(pause=60)])
def test_closing_the_server_ends_what_hangs(behaviour):
    server = FaultServer(behaviour)
    with connect(server) as sock:
        sock.sendall(REQUEST)
        assert eventually(lambda: server.connections == 1)
        server.close()
        with contextlib.suppress(ConnectionResetError):
            while sock.recv(1000):
                pass
