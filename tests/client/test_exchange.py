"""Exchange: a request and its response in any pieces, by table and by property. Nothing waits."""

from __future__ import annotations

import socket

import pytest
from hypothesis import given
from hypothesis import strategies as st

from extframe.client.connection import Connection
from extframe.client.exchange import READ, WRITE, Exchange, StreamExchange
from extframe.client.http1 import Limits
from extframe.errors import ConnectionLost, ProtocolError

REQUEST = b"POST /A.B HTTP/1.1\r\n\r\n"
RESPONSE = b'HTTP/1.1 200 OK\r\nContent-Length: 7\r\n\r\n{"A":1}'
CHUNKED = b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n3\r\nabc\r\n2\r\nde\r\n0\r\n\r\n"


class Pair:
    """A connection and its peer. The peer's socket is ``peer``."""

    def __init__(self) -> None:
        ours, self.peer = socket.socketpair()
        ours.setblocking(False)
        ours.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, 4096)
        self.connection = Connection(ours)

    def __enter__(self) -> Pair:
        return self

    def __exit__(self, *error: object) -> None:
        self.connection.close()
        self.peer.close()


@pytest.fixture
def pair():
    with Pair() as made:
        yield made


def test_a_request_is_sent_and_its_response_returned(pair):
    exchange = Exchange(pair.connection, REQUEST, Limits())
    assert (exchange.wants, exchange.phase, exchange.sent) == (WRITE, "send", 0)
    assert exchange.advance() is None
    assert (exchange.wants, exchange.phase, exchange.sent) == (READ, "status line", len(REQUEST))
    assert pair.peer.recv(100) == REQUEST
    pair.peer.sendall(RESPONSE)
    response = exchange.advance()
    assert response is not None
    assert (response.status, response.body, response.keep_alive) == (200, b'{"A":1}', True)
    assert pair.connection.in_step


@given(sizes=st.lists(st.integers(1, 20), max_size=20), response=st.sampled_from([RESPONSE, CHUNKED]))
def test_a_response_may_arrive_in_any_pieces(sizes, response):
    with Pair() as pair:
        exchange = Exchange(pair.connection, REQUEST, Limits())
        exchange.advance()
        rest, found = response, None
        for size in [*sizes, len(response)]:
            if rest:
                assert found is None
                piece, rest = rest[:size], rest[size:]
                pair.peer.sendall(piece)
                found = exchange.advance()
        assert found is not None
        assert found.body in (b'{"A":1}', b"abcde")


def test_a_request_larger_than_the_buffers_is_sent_as_the_peer_takes_it(pair):
    request = bytes(range(256)) * 4096
    exchange = Exchange(pair.connection, request, Limits())
    taken = bytearray()
    while exchange.wants is WRITE:
        assert exchange.advance() is None
        taken += pair.peer.recv(1 << 16)
    while len(taken) < len(request):
        taken += pair.peer.recv(1 << 16)
    assert taken == request
    assert pair.connection.in_step


def test_a_response_before_the_end_of_the_request_is_returned_and_the_connection_not_reused(pair):
    exchange = Exchange(pair.connection, bytes(1 << 20), Limits())
    assert exchange.advance() is None
    assert exchange.wants is WRITE
    assert exchange.sent
    pair.peer.sendall(RESPONSE)
    response = exchange.advance()
    assert response is not None
    assert response.body == b'{"A":1}'
    assert not pair.connection.in_step


def test_a_request_of_which_the_peer_took_nothing_can_be_sent_elsewhere(pair):
    pair.peer.close()
    exchange = Exchange(pair.connection, REQUEST, Limits())
    assert exchange.send()
    assert exchange.sent == 0
    assert not pair.connection.in_step


@pytest.mark.parametrize("response", [b"", RESPONSE[:5], RESPONSE[:20]])
def test_a_connection_that_ends_before_the_headers_is_lost(pair, response):
    exchange = Exchange(pair.connection, REQUEST, Limits())
    exchange.advance()
    pair.peer.recv(100)
    pair.peer.sendall(response)
    pair.peer.close()
    if response:
        assert exchange.advance() is None
    with pytest.raises(ConnectionLost):
        exchange.advance()


def test_what_is_not_http_is_a_protocol_error(pair):
    exchange = Exchange(pair.connection, REQUEST, Limits())
    exchange.advance()
    pair.peer.sendall(b"SSH-2.0-OpenSSH_9.2\r\n")
    with pytest.raises(ProtocolError):
        exchange.advance()


@given(sizes=st.lists(st.integers(1, 20), max_size=20))
def test_a_streamed_body_is_taken_in_pieces_and_then_ends(sizes):
    with Pair() as pair:
        exchange = StreamExchange(pair.connection, REQUEST, Limits())
        assert not exchange.advance()
        taken, rest = b"", CHUNKED
        for size in [*sizes, len(CHUNKED)]:
            if rest:
                pair.peer.sendall(rest[:size])
                rest = rest[size:]
                if exchange.phase in ("status line", "headers"):
                    exchange.advance()
                else:
                    exchange.receive()
                if exchange.phase in ("body", "done"):
                    while piece := exchange.take():
                        taken += piece
        assert (taken, exchange.take()) == (b"abcde", b"")
        assert exchange.keep_alive


def test_a_streamed_body_that_is_cut_is_lost(pair):
    exchange = StreamExchange(pair.connection, REQUEST, Limits())
    exchange.advance()
    pair.peer.recv(100)
    pair.peer.sendall(CHUNKED[: CHUNKED.index(b"2\r\nde")])
    assert exchange.advance()
    assert exchange.take() == b"abc"
    assert exchange.take() is None
    pair.peer.close()
    exchange.receive()
    with pytest.raises(ConnectionLost):
        exchange.take()
