"""Requests over real sockets: every fault of a peer, every deadline, and which connections are used again."""

from __future__ import annotations

import gc
import hashlib
import io
import math
import os
import pickle
import resource
import select
import signal
import socket
import threading
import time
import tracemalloc
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager, suppress
from typing import Any

import pytest
from faultserver import (
    Peer,
    answer,
    answer_and_close,
    answer_with,
    chunked,
    close_after_read,
    close_at_once,
    drip,
    endless,
    eventually,
    full_backlog,
    hang,
    in_turn,
    read_and_hang,
    reply,
    reset_after_read,
    send_and_close,
    send_and_hang,
)
from hypothesis import given, settings
from hypothesis import strategies as st

from extframe.client import connection, sockets
from extframe.client.connection_pool import ConnectionPool
from extframe.client.exchange import Exchange
from extframe.client.http1 import Limits, Response
from extframe.client.steps import Steps
from extframe.client.stream_rules import StreamRules
from extframe.client.transport import Transport
from extframe.errors import CallTimeout, ConnectError, ConnectionLost, ProtocolError, SpecError, TransportError
from extframe.protocol import Address

MIB = 1024 * 1024
ENDS_LATER = b"HTTP/1.1 200 OK\r\nContent-Length: 1000\r\n\r\n"


def soon(seconds: float = 10.0) -> float:
    return time.monotonic() + seconds


@pytest.fixture
def transport_to() -> Iterator[Callable[..., Transport]]:
    """Make transports to an address or to a fault server; they are closed at the end."""
    made = []

    def make(target, **options) -> Transport:
        made.append(Transport(Address.parse(getattr(target, "address", target)), **options))
        return made[-1]

    yield make
    for transport in made:
        transport.close()


def call(transport: Transport, path: str = "/A.B", body: bytes = b"", seconds: float = 10.0) -> Response:
    return transport.exchange(path, body, soon(seconds))


@contextmanager
def ends_within(seconds: float) -> Iterator[None]:
    start = time.monotonic()
    yield
    assert time.monotonic() - start < seconds


def open_files() -> int:
    gc.collect()
    return len(os.listdir("/proc/self/fd"))


@contextmanager
def takes_at_most(size: int) -> Iterator[None]:
    """Both ends together allocate no more than ``size`` bytes at a time."""
    gc.collect()
    tracemalloc.start()
    try:
        yield
        assert tracemalloc.get_traced_memory()[1] < size
    finally:
        tracemalloc.stop()


# --- requests and answers -----------------------------------------------------------------------------


@pytest.mark.parametrize("kind", ["unix", "tcp"])
def test_a_request_goes_out_and_the_answer_comes_back(fault_server, transport_to, kind):
    server = fault_server(answer(b'{"Err": ""}', status="500 No", headers="X-Name: a\r\n"), kind=kind)
    response = call(transport_to(server), "/VolumeDriver.Get", b'{"Name":"photos"}\n')
    assert (response.status, response.body, response.complete) == (500, b'{"Err": ""}', True)
    assert response.header("x-name") == "a"
    (request,) = server.requests
    assert (request.path, request.body) == ("/VolumeDriver.Get", b'{"Name":"photos"}\n')


def test_over_a_unix_socket_the_headers_are_those_of_the_engine(fault_server, transport_to):
    server = fault_server(answer())
    call(transport_to(server), body=b"{}\n")
    assert server.requests[0].headers == [
        ("Host", "plugin.moby.localhost"),
        ("User-Agent", "Go-http-client/1.1"),
        ("Content-Length", "3"),
        ("Accept", "application/vnd.docker.plugins.v1.2+json"),
    ]


def test_over_tcp_the_headers_are_those_of_the_engine(fault_server, transport_to):
    server = fault_server(answer(), kind="tcp")
    call(transport_to(server))
    assert server.requests[0].headers == [
        ("Host", f"127.0.0.1:{server.port}"),
        ("User-Agent", "Go-http-client/1.1"),
        ("Content-Length", "0"),
        ("Accept", "application/vnd.docker.plugins.v1.2+json"),
        ("Accept-Encoding", "gzip"),
    ]


@pytest.mark.parametrize("size", [0, 1, 65_000, 66_000, 3_000_000])
@pytest.mark.parametrize("framed", [reply, chunked, lambda body: b"HTTP/1.1 200 OK\r\n\r\n" + body])
def test_answers_of_any_size_and_shape_come_whole(fault_server, transport_to, size, framed):
    body = os.urandom(size)
    data = chunked() if framed is chunked and not body else framed(body)
    assert call(transport_to(fault_server(send_and_close(data)))).body == body


def test_a_large_request_arrives_whole(fault_server, transport_to):
    server = fault_server(answer())
    body = os.urandom(3_000_000)
    assert call(transport_to(server), body=body).status == 200
    assert server.requests[0].body == body


def test_an_answer_that_ends_early_is_given_as_not_complete(fault_server, transport_to):
    response = call(transport_to(fault_server(send_and_close(reply(b'{"Err": ""}', length=100)))))
    assert (response.body, response.complete) == (b'{"Err": ""}', False)


@pytest.mark.parametrize("path", ["/A B", "/A\r\nX: y", "A.B"])
def test_a_path_that_cannot_stand_in_a_request_is_refused_before_connecting(fault_server, transport_to, path):
    server = fault_server(answer())
    transport = transport_to(server)
    for use in (transport.exchange, transport.open, lambda *all: transport.upload(all[0], io.BytesIO(), all[2])):
        with pytest.raises(SpecError, match="is not a valid method"):
            use(path, b"", soon())
    assert server.connections == 0


# --- which connections are used again -----------------------------------------------------------------


@pytest.mark.parametrize("kind", ["unix", "tcp"])
def test_calls_in_a_row_use_one_connection(fault_server, transport_to, kind):
    server = fault_server(answer(), kind=kind)
    transport = transport_to(server)
    for number in range(100):
        call(transport, f"/Method.{number % 20}")
    assert (server.connections, len(server.requests)) == (1, 100)


def test_ten_thousand_calls_from_eight_threads_open_at_most_eight_connections(fault_server, transport_to):
    server = fault_server(answer())
    transport = transport_to(server)

    def calls(thread: int) -> None:
        for number in range(1250):
            assert call(transport, f"/Method.{number % 20}", b"%d" % number, seconds=60).status == 200

    with ThreadPoolExecutor(8) as threads:
        list(threads.map(calls, range(8)))
    assert len(server.requests) == 10_000
    assert server.connections <= 8


@pytest.mark.parametrize("behaviour", [answer_and_close(), send_and_close(reply().replace(b"1.1", b"1.0"))])
def test_a_thousand_calls_to_a_server_that_says_it_closes_give_no_error(fault_server, transport_to, behaviour):
    server = fault_server(behaviour)
    transport = transport_to(server)
    for _ in range(1000):
        assert call(transport).status == 200
    assert server.connections == 1000


@pytest.mark.parametrize("kind", ["unix", "tcp"])
def test_an_idle_connection_that_the_server_closed_is_noticed_before_it_is_used(fault_server, transport_to, kind):
    server = fault_server(answer_and_close(announced=False), kind=kind)
    transport = transport_to(server)
    for number in range(200):
        assert call(transport).status == 200
        for kept in transport._idle:
            assert number < 2  # after that, no connection of this server is kept
            assert select.select([kept._socket], [], [], 30)[0]  # the end has arrived
    assert (server.connections, len(server.requests)) == (200, 200)


def test_an_idle_connection_on_which_something_came_is_not_used(fault_server, transport_to):
    answered, spoken = threading.Event(), threading.Event()

    def answer_twice(peer: Peer) -> None:
        peer.read_request()
        peer.send(reply(b"1"))
        answered.wait(30)
        peer.send(reply(b"stray"))
        spoken.set()
        peer.hang()

    server = fault_server(in_turn(answer_twice, answer(b"2")))
    transport = transport_to(server)
    assert call(transport).body == b"1"
    answered.set()
    assert spoken.wait(30)
    assert call(transport).body == b"2"


@pytest.mark.parametrize(
    "data",
    [
        reply(headers="Connection: close\r\n"),
        reply().replace(b"1.1", b"1.0"),
        reply() + b"HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\nstray",
        reply() + b"x",
    ],
)
def test_a_connection_whose_answer_forbids_it_is_not_used_again(fault_server, transport_to, data):
    server = fault_server(in_turn(send_and_hang(data), answer(b"[2]")))
    transport = transport_to(server)
    assert call(transport).body == b"{}"
    assert call(transport).body == b"[2]"
    assert server.connections == 2


def test_a_connection_is_not_used_again_after_an_error(fault_server, transport_to):
    server = fault_server(in_turn(read_and_hang, send_and_hang(b"nonsense\r\n"), send_and_hang(ENDS_LATER), answer()))
    transport = transport_to(server)
    for error, seconds in ((CallTimeout, 0.5), (ProtocolError, 10), (CallTimeout, 0.5)):
        with pytest.raises(error):
            call(transport, seconds=seconds)
    assert call(transport).status == 200
    assert server.connections == 4


def test_a_connection_is_not_used_again_after_an_interrupt(fault_server, transport_to):
    def answer_late(peer: Peer) -> None:
        peer.read_request()
        os.kill(os.getpid(), signal.SIGUSR1)
        peer.wait(0.2)
        peer.send(reply(b"late"))
        peer.hang()

    def interrupt(number: int, frame: object) -> None:
        raise KeyboardInterrupt

    before = signal.signal(signal.SIGUSR1, interrupt)
    try:
        transport = transport_to(fault_server(in_turn(answer_late, answer(b"next"))))
        with pytest.raises(KeyboardInterrupt):
            call(transport)
    finally:
        signal.signal(signal.SIGUSR1, before)
    assert call(transport).body == b"next"


def test_a_child_process_shares_no_connection(fault_server, transport_to):
    server = fault_server(answer_with(lambda request: reply(request.body)))
    transport = transport_to(server)
    call(transport)
    child = os.fork()
    if child == 0:
        bodies = []
        try:
            bodies = [call(transport, body=b"child %d" % number).body for number in range(3)]
        finally:  # no assert, no error and no return: pytest must not go on in here
            os._exit(0 if bodies == [b"child 0", b"child 1", b"child 2"] else 1)
    for number in range(3):
        assert call(transport, body=b"parent %d" % number).body == b"parent %d" % number
    assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 0
    assert server.connections == 2
    assert call(transport, body=b"after").body == b"after"
    assert server.connections == 2


def test_transports_that_share_a_pool_keep_no_more_connections_than_it_allows(fault_server, transport_to):
    pool = ConnectionPool(limit=4)
    servers = [fault_server(answer()) for _ in range(10)]
    transports = [transport_to(server, pool=pool) for server in servers]
    for transport in transports:
        call(transport)
    assert eventually(lambda: sum(len(server._open) for server in servers) <= 4)
    call(transports[-1])
    assert servers[-1].connections == 1
    call(transports[0])
    assert servers[0].connections == 2


def test_no_file_descriptor_stays_open_whatever_happened(fault_server, transport_to, short_path):
    behaviours = [answer(), answer_and_close(), close_at_once, close_after_read, send_and_close(b"x"), read_and_hang]
    servers = [fault_server(behaviour) for behaviour in behaviours]
    before = open_files()
    targets = [*(server.address for server in servers), f"unix://{short_path}/none.sock", "tcp://127.0.0.1:1"]
    for target in targets:
        transport = transport_to(target)
        for _ in range(5):
            with suppress(TransportError):
                call(transport, seconds=0.1)
        transport.close()
    for server in servers:
        server.behaviour = close_at_once
    assert eventually(lambda: all(not server._open or server.behaviour is hang for server in servers[:5]))
    assert eventually(lambda: open_files() - before <= len(servers[5]._open))


# --- closing ------------------------------------------------------------------------------------------


def test_closing_ends_what_is_idle_now_and_what_is_under_way_at_its_end(fault_server, transport_to):
    go_on = threading.Event()

    def answer_late(peer: Peer) -> None:
        peer.read_request()
        go_on.wait(30)
        peer.send(reply(b"late"))
        ended.append(peer.wait_closed())

    ended: list[bool] = []
    server = fault_server(in_turn(answer_late, answer()))
    transport = transport_to(server)
    with ThreadPoolExecutor(1) as threads:
        under_way = threads.submit(call, transport)
        assert eventually(lambda: server.requests)
        call(transport)
        transport.close()
        assert eventually(lambda: len(server._open) == 1)
        go_on.set()
        assert under_way.result().body == b"late"
    assert eventually(lambda: ended == [True])


def test_a_closed_transport_says_that_it_is_closed(fault_server, transport_to):
    server = fault_server(answer())
    transport = transport_to(server)
    call(transport)
    transport.close()
    transport.close()
    with pytest.raises(ConnectError, match="closed"):
        call(transport)
    assert server.connections == 1


# --- no connection ------------------------------------------------------------------------------------


def test_a_missing_socket_is_a_connect_error_with_the_remedy(transport_to, short_path):
    address = f"unix://{short_path}/none.sock"
    with pytest.raises(ConnectError, match="no such socket; is the plugin running") as caught:
        call(transport_to(address))
    assert caught.value.address == address
    assert isinstance(caught.value.__cause__, FileNotFoundError)


def test_a_socket_that_nothing_listens_on_is_a_connect_error_with_the_remedy(transport_to, short_path):
    with socket.socket(socket.AF_UNIX) as dead:
        dead.bind(str(short_path / "dead.sock"))
    with pytest.raises(ConnectError, match="nothing listens there; is the plugin running") as caught:
        call(transport_to(f"unix://{short_path}/dead.sock"))
    assert isinstance(caught.value.__cause__, ConnectionRefusedError)


def test_a_refused_port_is_a_connect_error_with_the_remedy(transport_to):
    with socket.create_server(("127.0.0.1", 0)) as free:
        port = free.getsockname()[1]
    with pytest.raises(ConnectError, match="nothing listens there") as caught:
        call(transport_to(f"tcp://127.0.0.1:{port}"))
    assert isinstance(caught.value.__cause__, ConnectionRefusedError)


def as_nobody(function: Callable[[], object]) -> str:
    """Return how ``function`` fails in a child process of the user nobody."""
    read_end, write_end = os.pipe()
    child = os.fork()
    if child == 0:
        try:
            os.setgid(65534)
            os.setuid(65534)
            function()
        except TransportError as wrong:
            os.write(write_end, f"{type(wrong).__name__}: {wrong}".encode())
        finally:
            os._exit(0)
    os.close(write_end)
    os.waitpid(child, 0)
    with open(read_end, "rb") as pipe:
        return pipe.read().decode()


@pytest.mark.skipif(os.getuid() != 0, reason="needs root, to become another user")
def test_a_socket_without_permission_is_a_connect_error_with_the_remedy(fault_server, transport_to):
    server = fault_server(answer())
    os.chmod(os.path.dirname(server.path), 0o755)
    os.chmod(server.path, 0o600)
    seen = as_nobody(lambda: call(transport_to(server)))
    assert seen.startswith("ConnectError: ")
    assert "Permission denied: this user needs write permission on the socket" in seen


def test_a_file_that_is_no_socket_is_a_connect_error(transport_to, short_path):
    (short_path / "file.sock").touch()
    with pytest.raises(ConnectError):
        call(transport_to(f"unix://{short_path}/file.sock"))


def test_without_a_file_descriptor_left_there_is_a_connect_error_with_the_remedy(fault_server, transport_to):
    transport = transport_to(fault_server(answer()))
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (max(map(int, os.listdir("/proc/self/fd"))) + 1, hard))
    fill = []
    try:
        with suppress(OSError):
            while True:
                fill.append(os.dup(0))
        with pytest.raises(
            ConnectError, match=r"no file descriptor left; raise the limit on file descriptors \(ulimit -n\)"
        ):
            call(transport)
    finally:
        resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))
        for number in fill:
            os.close(number)


@pytest.mark.parametrize("host", ["no-such-host.invalid", "a" * 64 + ".invalid", "1.2.3.4.5"])
def test_a_host_that_has_no_address_is_a_connect_error(transport_to, host):
    with pytest.raises(ConnectError, match="cannot be looked up"):
        call(transport_to(f"tcp://{host}:80"))


def test_a_host_is_tried_at_each_of_its_addresses(fault_server, transport_to, monkeypatch):
    server = fault_server(answer(), kind="tcp")
    with socket.create_server(("127.0.0.1", 0)) as free:
        refusing = free.getsockname()
    # As where IPv6 is off: no socket of the family can be made.
    families = [socket.AF_APPLETALK, socket.AF_INET6, socket.AF_INET, socket.AF_INET]
    targets = [("::1", 1), ("::1", 1), refusing, ("127.0.0.1", server.port)]

    def resolve(host, port, *, type, flags=0):
        if flags:
            raise socket.gaierror(socket.EAI_NONAME, "not a number")
        return [(family, type, 0, "", target) for family, target in zip(families, targets, strict=True)]

    monkeypatch.setattr(socket, "getaddrinfo", resolve)
    assert call(transport_to("tcp://plugin.example:80")).status == 200
    targets[3] = refusing
    with pytest.raises(ConnectError, match="nothing listens there"):
        call(transport_to("tcp://plugin.example:80"))


def test_a_host_whose_first_address_is_silent_is_reached_at_the_next(fault_server, transport_to, monkeypatch):
    good, silent = fault_server(answer(), kind="tcp"), fault_server(hang, kind="tcp", backlog=0, accepting=False)
    found = [(socket.AF_INET, socket.SOCK_STREAM, 0, "", ("127.0.0.1", server.port)) for server in (silent, good)]
    with full_backlog(silent):
        monkeypatch.setattr(socket, "getaddrinfo", lambda *_, **__: found)
        assert call(transport_to("tcp://plugin.example:80"), seconds=2).status == 200


def test_requests_are_not_held_back_by_tcp(fault_server, transport_to):
    transport = transport_to(fault_server(answer(), kind="tcp"))
    call(transport)
    (kept,) = transport._idle
    assert kept._socket.getsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY)


# --- connections that are lost ------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("behaviour", "words"),
    [
        (close_after_read, "without a response"),
        (reset_after_read, "closed the connection: Connection reset"),
        (send_and_close(b"HTTP/1.1 200 OK\r\nConte"), "within the headers"),
    ],
)
def test_a_connection_that_ends_after_the_request_is_lost(fault_server, transport_to, behaviour, words):
    server = fault_server(behaviour, kind="tcp")
    with pytest.raises(ConnectionLost, match=words) as caught:
        call(transport_to(server))
    assert caught.value.address == server.address
    assert len(server.requests) == 1


def test_a_connection_that_ends_before_it_takes_a_byte_sends_nothing(fault_server, transport_to, monkeypatch):
    server = fault_server(close_at_once)

    def connect_and_wait(*arguments: Any) -> Steps[socket.socket]:
        sock = yield from sockets.connecting(*arguments)
        assert eventually(lambda: server.connections and not server._open)
        return sock

    monkeypatch.setattr("extframe.client.base_transport.connecting", connect_and_wait)
    with pytest.raises(ConnectError, match="before it took any of the request"):
        call(transport_to(server))


def test_where_the_close_crosses_the_request_the_connection_is_lost_and_nothing_is_repeated(fault_server, transport_to):
    server = fault_server(
        in_turn(lambda peer: (peer.read_request(), peer.send(reply()), peer.read_request()), answer())
    )
    transport = transport_to(server)
    call(transport)
    with pytest.raises(ConnectionLost):
        call(transport)
    assert (server.connections, len(server.requests)) == (1, 2)


def refuse_large(peer: Peer) -> None:
    peer.read_head()
    peer.send(reply(b"too large", status="413 Content Too Large", headers="Connection: close\r\n"))


@pytest.mark.parametrize("kind", ["unix", "tcp"])
def test_an_answer_that_comes_before_the_request_was_sent_is_read(fault_server, transport_to, kind):
    server = fault_server(lambda peer: (refuse_large(peer), peer.hang()), kind=kind)
    with ends_within(8):
        response = call(transport_to(server), body=b"x" * 20_000_000)
    assert (response.status, response.body) == (413, b"too large")


def test_an_answer_to_a_large_request_is_read_though_the_server_closed(fault_server, transport_to):
    response = call(transport_to(fault_server(refuse_large)), body=b"x" * 20_000_000)
    assert (response.status, response.body) == (413, b"too large")


def test_an_early_answer_may_come_in_pieces(fault_server, transport_to):
    def answer_slowly(peer: Peer) -> None:
        peer.read_head()
        peer.drip(reply(b"slow"), 0.002)
        peer.hang()

    assert call(transport_to(fault_server(answer_slowly)), body=b"x" * 20_000_000).body == b"slow"


def test_after_a_request_that_was_not_sent_whole_the_connection_is_not_used_again(fault_server, transport_to):
    def answer_early(peer: Peer) -> None:
        peer.read_head()
        peer.send(reply(b"early"))
        peer.hang()

    server = fault_server(in_turn(answer_early, answer(b"next")))
    transport = transport_to(server)
    assert call(transport, body=b"x" * 20_000_000).body == b"early"
    assert call(transport).body == b"next"


def test_a_large_request_to_a_server_that_closes_is_lost(fault_server, transport_to):
    with pytest.raises(ConnectionLost):
        call(transport_to(fault_server(lambda peer: peer.read_head())), body=b"x" * 20_000_000)


# --- deadlines ----------------------------------------------------------------------------------------


def timeout_in(phase: str, act: Callable[[float], object]) -> CallTimeout:
    """Return how ``act(seconds)`` ends in a phase; a stall of the machine may end it before: then it has longer."""
    for seconds in (0.3, 1.0, 3.0):
        with ends_within(seconds + 8), pytest.raises(CallTimeout) as caught:
            act(seconds)
        if caught.value.phase == phase:
            break
    return caught.value


def drip_body(peer: Peer) -> None:
    """Send the headers, and then a byte at a time, for longer than any test waits."""
    while peer.read_request():
        peer.send(ENDS_LATER)
        peer.drip(b"x" * 1000, 0.02)


@pytest.mark.parametrize(
    ("behaviour", "phase", "words"),
    [
        (hang, "status line", "timed out waiting for the response"),
        (read_and_hang, "status line", "timed out waiting for the response"),
        (send_and_hang(b"HTTP/1.1 200 OK\r\nA: b\r\n"), "headers", "waiting for the headers of the response"),
        (send_and_hang(ENDS_LATER + b"x"), "body", "waiting for the body of the response"),
        (drip(b"HTTP/1.1 200 OK\r\nA: " + b"b" * 1000, 0.02), "headers", "for the headers of the response"),
        (drip_body, "body", "for the body of the response"),
        (drip(b"HTTP/1.1 100 Continue\r\n\r\n" * 100, 0.01), "headers", "for the headers of the response"),
        (endless(chunked(b"x").removesuffix(b"0\r\n\r\n"), b"1\r\nx\r\n"), "body", "for the body of the response"),
    ],
    ids=["hang", "silent", "half headers", "half body", "drip", "drip body", "drip interim", "endless chunks"],
)
@pytest.mark.parametrize("kind", ["unix", "tcp"])
def test_a_deadline_holds_for_the_whole_and_names_the_phase(fault_server, transport_to, behaviour, phase, words, kind):
    server = fault_server(behaviour, kind=kind)
    timeout = timeout_in(phase, lambda seconds: call(transport_to(server), seconds=seconds))
    assert (timeout.phase, timeout.address) == (phase, server.address)
    assert words in timeout.message


@pytest.mark.parametrize("kind", ["unix", "tcp"])
def test_a_deadline_holds_for_sending(fault_server, transport_to, kind):
    transport = transport_to(fault_server(hang, kind=kind))
    timeout = timeout_in("send", lambda seconds: call(transport, body=b"x" * 20_000_000, seconds=seconds))
    assert timeout.phase == "send"
    assert "to take the request" in timeout.message


def test_a_deadline_holds_for_a_full_backlog_of_a_unix_socket(fault_server, transport_to):
    server = fault_server(answer(), backlog=0, accepting=False)
    with full_backlog(server):
        timeout = timeout_in("connect", lambda seconds: call(transport_to(server), seconds=seconds))
    assert timeout.phase == "connect"
    assert "plugin to accept" in timeout.message


def test_a_full_backlog_that_empties_in_time_is_no_error(fault_server, transport_to):
    server = fault_server(answer(), backlog=0, accepting=False)
    transport = transport_to(server)
    with ThreadPoolExecutor(8) as threads:
        calls = [threads.submit(call, transport) for _ in range(8)]
        time.sleep(0.2)
        server._start(server._accept)
        assert [done.result().status for done in calls] == [200] * 8


def test_a_deadline_holds_for_connecting_over_tcp(fault_server, transport_to):
    server = fault_server(answer(), kind="tcp", backlog=0, accepting=False)
    with full_backlog(server):
        timeout = timeout_in("connect", lambda seconds: call(transport_to(server), seconds=seconds))
    assert timeout.phase == "connect"


def test_a_deadline_holds_for_looking_up_a_name(transport_to, monkeypatch):
    release = threading.Event()
    real = socket.getaddrinfo

    def resolve(host, *rest, flags=0, **options):
        if not flags:
            release.wait(30)
        return real(host, *rest, flags=flags, **options)

    monkeypatch.setattr(socket, "getaddrinfo", resolve)
    try:
        transport = transport_to("tcp://plugin.example:80")
        timeout = timeout_in("name lookup", lambda seconds: call(transport, seconds=seconds))
        assert timeout.phase == "name lookup"
        assert "lookup of the plugin" in timeout.message
    finally:
        release.set()


@pytest.mark.parametrize("kept", [False, True])
def test_a_deadline_that_has_passed_sends_nothing(fault_server, transport_to, kept):
    server = fault_server(answer())
    transport = transport_to(server)
    if kept:
        call(transport)
    with pytest.raises(CallTimeout):
        call(transport, seconds=-1)
    transport.close()
    assert eventually(lambda: not server._open)
    assert len(server.requests) == kept


def test_a_deadline_may_be_infinite(fault_server, transport_to):
    assert transport_to(fault_server(drip(pause=0.001))).exchange("/A.B", b"", math.inf).status == 200
    assert transport_to(fault_server(answer(), kind="tcp")).exchange("/A.B", b"", math.inf).status == 200


def test_a_deadline_holds_under_a_rain_of_signals(fault_server, transport_to):
    before = signal.signal(signal.SIGALRM, lambda number, frame: None)
    signal.setitimer(signal.ITIMER_REAL, 0.005, 0.005)
    try:
        transport = transport_to(fault_server(in_turn(read_and_hang, drip(pause=0.01))))
        with ends_within(8), pytest.raises(CallTimeout):
            call(transport, seconds=0.3)
        assert call(transport).body == b'{"Err": ""}'
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)
        signal.signal(signal.SIGALRM, before)


# --- limits -------------------------------------------------------------------------------------------


def test_a_claim_of_200_mib_is_refused_before_the_body_comes(fault_server, transport_to):
    server = fault_server(send_and_hang(reply(b"", length=200 * MIB)))
    with ends_within(8), pytest.raises(ProtocolError, match=f"over {16 * MIB} bytes, which is Limits.body") as caught:
        call(transport_to(server))
    assert caught.value.address == server.address


def test_a_flood_of_headers_is_refused(fault_server, transport_to):
    server = fault_server(endless(b"HTTP/1.1 200 OK\r\n", b"X-Flood: " + b"x" * 1000 + b"\r\n"))
    with pytest.raises(ProtocolError, match="over 65536 bytes, which is Limits.headers"):
        call(transport_to(server))


@pytest.mark.parametrize("head", [b"Transfer-Encoding: chunked\r\n\r\n", b"\r\n"], ids=["chunked", "to the end"])
def test_an_answer_without_end_takes_no_more_memory_than_twice_the_limit(fault_server, transport_to, head):
    limit = 16 * MIB
    piece = b"x" * MIB
    server = fault_server(
        endless(b"HTTP/1.1 200 OK\r\n" + head, b"100000\r\n" + piece + b"\r\n" if b":" in head else piece)
    )
    with takes_at_most(2 * limit), pytest.raises(ProtocolError, match=f"over {limit} bytes"):
        call(transport_to(server, limits=Limits(body=limit)), seconds=60)


@pytest.mark.parametrize("framed", [reply, chunked])
def test_an_answer_of_the_size_of_the_limit_takes_no_more_memory_than_twice_that(fault_server, transport_to, framed):
    data = framed(b"x" * 16 * MIB)
    transport = transport_to(fault_server(send_and_close(data)), limits=Limits(body=16 * MIB))
    with takes_at_most(2 * 16 * MIB + MIB):
        assert len(call(transport).body) == 16 * MIB


@pytest.mark.parametrize("data", [b"SSH-2.0-OpenSSH_9.2\r\n", b"\x15\x03\x01\x00\x02\x02\x46", b"{}\n", b"\0" * 1000])
def test_what_is_not_http_is_a_protocol_error(fault_server, transport_to, data):
    with ends_within(8), pytest.raises(ProtocolError, match="not HTTP"):
        call(transport_to(fault_server(send_and_hang(data))))


def test_a_redirect_is_an_answer_and_is_not_followed(fault_server, transport_to):
    server = fault_server(answer(b"", status="307 Moved", headers="Location: /Other\r\n"))
    assert call(transport_to(server)).header("location") == "/Other"
    assert len(server.requests) == 1


def test_proxies_of_the_environment_are_not_used(fault_server, transport_to, monkeypatch):
    proxy = fault_server(answer(b"proxy"), kind="tcp")
    for name in ("HTTP_PROXY", "http_proxy", "ALL_PROXY", "HTTPS_PROXY"):
        monkeypatch.setenv(name, f"http://127.0.0.1:{proxy.port}")
    assert call(transport_to(fault_server(answer(b"plugin"), kind="tcp"))).body == b"plugin"
    assert proxy.connections == 0


# --- streams ------------------------------------------------------------------------------------------


def test_a_stream_is_read_while_it_comes(fault_server, transport_to):
    go_on = threading.Event()

    def follow(peer: Peer) -> None:
        peer.read_request()
        peer.send(b"HTTP/1.1 200 OK\r\nX-Kind: log\r\nTransfer-Encoding: chunked\r\n\r\n4\r\none\n\r\n")
        go_on.wait(30)
        peer.send(b"4\r\ntwo\n\r\n0\r\n\r\n")
        peer.hang()

    with transport_to(fault_server(follow)).open("/LogDriver.ReadLogs", b"{}", soon()) as stream:
        assert (stream.status, stream.header("x-kind")) == (200, "log")
        assert stream.readline() == b"one\n"
        go_on.set()
        assert list(stream) == [b"two\n"]
        assert stream.read() == b""


@pytest.mark.parametrize("size", [-1, 1, 1000, 100_000])
def test_a_large_stream_comes_whole_in_pieces_of_any_size(fault_server, transport_to, size):
    data = os.urandom(300_000 if size != 1 else 3000)
    transport = transport_to(fault_server(send_and_hang(chunked(data[:777], data[777:]))))
    digest = hashlib.sha256()
    with transport.open("/A.B", b"", soon()) as stream:
        while piece := stream.read(size):
            digest.update(piece)
    assert digest.digest() == hashlib.sha256(data).digest()


def test_a_stream_may_be_longer_than_the_limit_of_a_body(fault_server, transport_to):
    transport = transport_to(fault_server(answer(b"x" * 5000)), limits=Limits(body=1000))
    with transport.open("/A.B", b"", soon()) as stream:
        assert len(stream.read()) == 5000


def test_after_a_stream_that_was_read_to_its_end_the_connection_is_used_again(fault_server, transport_to):
    server = fault_server(answer(b"x" * 100_000))
    transport = transport_to(server)
    for _ in range(5):
        with transport.open("/A.B", b"", soon()) as stream:
            assert len(stream.read()) == 100_000
    assert server.connections == 1


def test_leaving_a_stream_before_its_end_closes_the_connection(fault_server, transport_to):
    ended = []

    def stream_on(peer: Peer) -> None:
        peer.read_request()
        peer.send(b"HTTP/1.1 200 OK\r\n\r\nbegin")
        ended.append(peer.wait_closed())

    transport = transport_to(fault_server(stream_on))
    with transport.open("/A.B", b"", soon()) as stream:
        assert stream.read(5) == b"begin"
    assert eventually(lambda: ended == [True])


def test_a_stream_that_ends_before_its_end_is_lost(fault_server, transport_to):
    server = fault_server(send_and_close(ENDS_LATER + b"some"))
    with transport_to(server).open("/A.B", b"", soon()) as stream:
        assert stream.read(4) == b"some"
        with pytest.raises(ConnectionLost, match="before the body of the response") as caught:
            stream.read(1)
        assert caught.value.address == server.address
        with pytest.raises(ValueError, match="closed"):
            stream.read(1)


def test_a_deadline_holds_for_reading_a_stream(fault_server, transport_to):
    transport = transport_to(fault_server(drip_body))

    def read(seconds: float) -> None:
        with transport.open("/A.B", b"", soon(seconds)) as stream:
            stream.read()

    assert timeout_in("body", read).phase == "body"


def test_reading_a_stream_may_have_a_deadline_of_its_own(fault_server, transport_to):
    def late(peer: Peer) -> None:
        peer.read_request()
        peer.send(ENDS_LATER)
        peer.wait(1.2)
        peer.send(b"x" * 1000)

    transport = transport_to(fault_server(late))
    with transport.open("/A.B", b"", soon(1), StreamRules(soon(1), whole=False)) as stream:
        assert len(stream.read()) == 1000


@pytest.mark.parametrize("behaviour", [read_and_hang, send_and_hang(b"HTTP/1.1 200 OK\r\n")])
def test_a_stream_that_does_not_begin_fails_at_the_deadline(fault_server, transport_to, behaviour):
    with ends_within(8), pytest.raises(CallTimeout):
        transport_to(fault_server(behaviour)).open("/A.B", b"", soon(0.3), StreamRules(soon(0.3), whole=False))


def test_a_stream_of_nonsense_is_a_protocol_error(fault_server, transport_to):
    def turn_to_nonsense(peer: Peer) -> None:
        peer.read_request()
        peer.send(b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n2\r\nok\r\n")
        go_on.wait(30)
        peer.send(b"zz\r\n")
        peer.hang()

    go_on = threading.Event()
    with transport_to(fault_server(turn_to_nonsense)).open("/A.B", b"", soon()) as stream:
        assert stream.read(2) == b"ok"
        go_on.set()
        with pytest.raises(ProtocolError, match="the size of a chunk of the response is 'zz'"):
            stream.read(2)


def test_a_stream_that_nobody_closed_is_closed_with_its_last_reference(fault_server, transport_to):
    server = fault_server(answer(b"x" * 100_000))
    transport = transport_to(server)
    stream = transport.open("/A.B", b"", soon())
    stream.read(10)
    del stream
    gc.collect()
    assert eventually(lambda: not server._open)


# --- uploads ------------------------------------------------------------------------------------------


@pytest.mark.parametrize("size", [0, 10, 65_536, 3_000_001])
def test_a_file_is_sent_in_chunks(fault_server, transport_to, size):
    server = fault_server(answer(b"{}"))
    transport = transport_to(server)
    data = os.urandom(size)
    for _ in range(2):
        assert transport.upload("/A.B?id=1", io.BytesIO(data), soon()).body == b"{}"
        assert server.requests.pop().body == data
    assert server.connections == 1


def test_sending_a_file_takes_no_memory_for_the_whole_of_it(fault_server, transport_to):
    class Zeros(io.RawIOBase):
        left = 50 * MIB

        def read(self, size: int = -1) -> bytes:
            size = min(size, self.left)
            self.left -= size
            return bytes(size)

    def swallow(peer: Peer) -> None:
        tail = b""
        while not tail.endswith(b"\r\n0\r\n\r\n"):
            tail = tail[-10:] + peer.socket.recv(MIB)
        peer.send(reply())

    with takes_at_most(4 * MIB):
        assert transport_to(fault_server(swallow)).upload("/A.B", Zeros(), soon(60)).status == 200


@pytest.mark.parametrize("kind", ["unix", "tcp"])
@pytest.mark.parametrize("after", [lambda peer: None, lambda peer: peer.hang()], ids=["closes", "hangs"])
@pytest.mark.parametrize("piece_size", [1, 64 * 1024])
def test_an_answer_that_comes_early_ends_the_sending(fault_server, transport_to, kind, after, piece_size):
    class Endless(io.RawIOBase):
        def read(self, size: int = -1) -> bytes:
            time.sleep(0.0001)
            return bytes(piece_size)

    server = fault_server(lambda peer: (refuse_large(peer), after(peer)), kind=kind)
    with ends_within(8):
        assert transport_to(server).upload("/A.B", Endless(), soon()).status == 413


@pytest.mark.parametrize("behaviour", [hang, answer()], ids=["hangs", "takes all"])
@pytest.mark.parametrize("piece_size", [1, 64 * 1024])
def test_a_deadline_holds_for_sending_a_file(fault_server, transport_to, behaviour, piece_size):
    class Slow(io.RawIOBase):
        def read(self, size: int = -1) -> bytes:
            time.sleep(0.001)
            return bytes(piece_size)

    transport = transport_to(fault_server(behaviour))
    assert timeout_in("send", lambda seconds: transport.upload("/A.B", Slow(), soon(seconds))).phase == "send"


@pytest.mark.parametrize("wrong", ["text", None])
def test_a_file_that_gives_no_bytes_is_the_callers_error_and_ends_the_connection(fault_server, transport_to, wrong):
    class Wrong(io.RawIOBase):
        def read(self, size: int = -1):
            return wrong

    server = fault_server(answer())
    with pytest.raises(TypeError):
        transport_to(server).upload("/A.B", Wrong(), soon())
    assert eventually(lambda: not server._open)


# --- any bytes ----------------------------------------------------------------------------------------


@settings(max_examples=200)
@given(data=st.one_of(st.binary(max_size=200), st.binary(max_size=100).map(lambda tail: b"HTTP/1.1 200 OK\r\n" + tail)))
def test_whatever_a_peer_sends_gives_an_answer_or_an_error_of_ours(data):
    ours, theirs = socket.socketpair()
    with theirs:
        theirs.sendall(data)
        theirs.shutdown(socket.SHUT_WR)
        sock = connection.Connection(ours)
        exchange = Exchange(sock, b"POST", Limits())
        try:
            while exchange.advance() is None:
                sock.wait_readable(soon(30), exchange.phase)
        except (ProtocolError, ConnectionLost):
            pass
        finally:
            sock.close()


def test_errors_survive_pickling(transport_to, short_path):
    with pytest.raises(ConnectError) as caught:
        call(transport_to(f"unix://{short_path}/none.sock"))
    copy = pickle.loads(pickle.dumps(caught.value))
    assert (copy.message, copy.address) == (caught.value.message, caught.value.address)
