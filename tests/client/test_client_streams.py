"""Streams from a plugin and files to it, over real sockets."""

from __future__ import annotations

import io
import os
import threading
from collections.abc import Callable

import pytest
from faultserver import (
    Peer,
    answer,
    close_after_read,
    eventually,
    hang,
    read_and_hang,
    reply,
    send_and_close,
    send_and_hang,
)
from served_client import ends_within, served_clients

from extframe.client.client import Client
from extframe.client.http1 import Limits
from extframe.client.retry import Retry
from extframe.errors import (
    CallTimeout,
    ConnectError,
    ConnectionLost,
    ExtframeError,
    ProtocolError,
    RemoteError,
    TransportError,
)

CUT = send_and_close(reply(b'{"Err": ', length=100))


@pytest.fixture
def client_of(fault_server):
    yield from served_clients(fault_server)


# --- streams ------------------------------------------------------------------------------------------


def in_pieces(*pieces: bytes, end: Callable[[Peer], object] = lambda peer: None) -> Callable[[Peer], None]:
    """Send a chunked reply piece by piece, each when the test sets off the next."""

    def behaviour(peer: Peer) -> None:
        if peer.read_request():
            peer.send(b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n")
            for piece in pieces:
                peer.send(b"%x\r\n%b\r\n" % (len(piece), piece))
                peer.server.go.acquire(timeout=30)
            end(peer)

    return behaviour


def test_a_stream_is_read_while_it_comes(client_of):
    client = client_of(in_pieces(b"first", b"second", end=lambda peer: peer.send(b"0\r\n\r\n")))
    client.server.go = threading.Semaphore(0)
    with client.stream("LogDriver.ReadLogs", {"Info": {}}) as reader:
        assert reader.read(5) == b"first"
        client.server.go.release()
        assert reader.read(3) == b"sec"
        client.server.go.release()
        assert reader.read() == b"ond"
        assert reader.read() == b""
    assert client.server.requests[0].body == b'{"Info":{}}\n'
    assert client.server.requests[0].path == "/LogDriver.ReadLogs"


def test_a_stream_that_is_left_early_ends_there(client_of):
    ended = []
    head = b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n"

    def behaviour(peer: Peer) -> None:
        peer.read_request()
        peer.send(head + b"5\r\nfirst\r\n")
        ended.append(peer.wait_closed())

    client = client_of(behaviour)
    with client.stream("LogDriver.ReadLogs") as reader:
        assert reader.read(5) == b"first"
    assert eventually(lambda: ended == [True])


def test_a_stream_without_a_timeout_may_last_longer_than_the_clients(client_of):
    def behaviour(peer: Peer) -> None:
        peer.read_request()
        peer.send(b"HTTP/1.1 200 OK\r\nContent-Length: 4\r\n\r\n")
        peer.wait(2.7)
        peer.send(b"late")

    with client_of(behaviour, timeout=2.5).stream("GraphDriver.Diff") as reader:
        assert reader.read() == b"late"


def test_a_stream_that_does_not_begin_ends_at_the_clients_timeout(client_of):
    client = client_of(read_and_hang, timeout=0.3)
    with ends_within(8), pytest.raises(CallTimeout) as caught, client.stream("GraphDriver.Diff"):
        pytest.fail("there is no reply")
    assert caught.value.method == "GraphDriver.Diff"


def test_a_streams_timeout_is_for_all_of_it(client_of):
    def behaviour(peer: Peer) -> None:
        peer.read_request()
        peer.send(b"HTTP/1.1 200 OK\r\nContent-Length: 1000\r\n\r\n")
        peer.drip(b"x" * 1000, pause=0.02)

    client = client_of(behaviour)
    with ends_within(8), pytest.raises(CallTimeout) as caught, client.stream("GraphDriver.Diff", timeout=0.4) as reader:
        reader.read()
    assert (caught.value.plugin, caught.value.method) == ("rec", "GraphDriver.Diff")
    assert caught.value.timeout == pytest.approx(0.4)


def test_a_stream_that_breaks_off_is_a_lost_connection(client_of):
    client = client_of(send_and_close(b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nfirst\r\n5\r\nse"))
    with pytest.raises(ConnectionLost) as caught, client.stream("GraphDriver.Diff") as reader:
        reader.read()
    assert (caught.value.plugin, caught.value.method) == ("rec", "GraphDriver.Diff")


def test_a_stream_that_is_refused_is_the_plugins_error(client_of):
    client = client_of(answer(b'{"Err": "no such container"}', status="500 No"))
    with pytest.raises(RemoteError, match="no such container") as caught, client.stream("LogDriver.ReadLogs"):
        pytest.fail("there is no stream")
    assert (caught.value.status, caught.value.method) == (500, "LogDriver.ReadLogs")


def test_the_words_of_an_error_are_not_waited_for_beyond_the_clients_timeout(client_of):
    client = client_of(send_and_hang(reply(b"half of them", status="500 No", length=100)), timeout=0.3)
    with ends_within(8), pytest.raises(CallTimeout), client.stream("LogDriver.ReadLogs"):
        pytest.fail("there is no stream")


def test_a_stream_is_asked_for_once_when_its_connection_is_lost(client_of):
    client = client_of(close_after_read)
    with pytest.raises(ConnectionLost), client.stream("LogDriver.ReadLogs"):
        pytest.fail("there is no stream")
    assert len(client.server.requests) == 1


def test_an_error_of_the_block_itself_passes_as_it_is(client_of):
    raised = RuntimeError("the reader's own")
    with pytest.raises(RuntimeError) as caught, client_of(answer(b"x")).stream("A.B"):
        raise raised
    assert caught.value is raised


def test_an_error_of_another_client_inside_a_stream_keeps_its_names(client_of):
    other = client_of(close_after_read, plugin="other")
    with pytest.raises(ConnectionLost) as caught, client_of(answer(b"x")).stream("A.B"):
        other.call("C.D")
    assert (caught.value.plugin, caught.value.method) == ("other", "C.D")


def test_a_stream_may_be_larger_than_any_reply(client_of):
    body = b"x" * 300_000
    with client_of(answer(body), limits=Limits(body=1000)).stream("GraphDriver.Diff") as reader:
        assert reader.read() == body


# --- files --------------------------------------------------------------------------------------------


class Counted(io.BytesIO):
    """A file that knows how often it was read."""

    reads = 0

    def read(self, *size: int) -> bytes:
        self.reads += 1
        return super().read(*size)


def test_a_file_is_sent_from_where_it_stands_to_its_end(client_of):
    content = os.urandom(300_000)
    client = client_of(answer(b'{"Size": 299995}'))
    data = io.BytesIO(content)
    data.seek(5)
    assert client.send_file("GraphDriver.ApplyDiff?id=a&parent=b", data) == {"Size": 299995}
    (request,) = client.server.requests
    assert request.path == "/GraphDriver.ApplyDiff?id=a&parent=b"
    assert ("Transfer-Encoding", "chunked") in request.headers
    assert request.body == content[5:]


def test_the_reply_to_a_file_can_be_asked_for_as_a_type(client_of):
    client = client_of(answer(b'{"Size": 5}'))
    assert client.send_file("GraphDriver.ApplyDiff", io.BytesIO(b"12345"), reply=dict[str, int]) == {"Size": 5}
    assert client.send_file("GraphDriver.ApplyDiff", io.BytesIO(), reply=None) is None
    with pytest.raises(ProtocolError, match=r"\$"):
        client.send_file("GraphDriver.ApplyDiff", io.BytesIO(), reply=dict[str, str])


@pytest.mark.parametrize("behaviour", [close_after_read, CUT])
def test_a_file_is_never_sent_twice(client_of, behaviour):
    client = client_of(behaviour, retry=Retry(refused=(0.0,) * 9, lost=(0.0,) * 9))
    with pytest.raises(ConnectionLost) as caught:
        client.send_file("GraphDriver.ApplyDiff", io.BytesIO(b"tar"))
    assert caught.value.method == "GraphDriver.ApplyDiff"
    assert len(client.server.requests) == 1


@pytest.mark.parametrize("data", ["/layer.tar", io.StringIO("tar"), b"tar", None])
def test_what_is_no_file_of_bytes_is_refused_before_anything_is_sent(client_of, data):
    client = client_of()
    with pytest.raises(TypeError, match=r"expected a file of bytes, as open\(path, 'rb'\) gives"):
        client.send_file("GraphDriver.ApplyDiff", data)
    assert client.server.connections == 0


def test_a_file_is_untouched_where_no_connection_comes_about(short_path, fault_server):
    path = str(short_path / "late.sock")
    data = Counted(b"tar")
    with Client(f"unix://{path}", retry=Retry(refused=(0.01,))) as client:
        with pytest.raises(ConnectError, match="2 attempts"):
            client.send_file("GraphDriver.ApplyDiff", data)
        assert (data.reads, data.tell()) == (0, 0)
        server = fault_server(answer(), path=path)
        client.send_file("GraphDriver.ApplyDiff", data)
    assert server.requests[0].body == b"tar"


def test_a_file_that_is_refused_is_the_plugins_error(client_of):
    client = client_of(answer(b'{"Err": "disk full"}', status="500 No"))
    with pytest.raises(RemoteError, match="disk full"):
        client.send_file("GraphDriver.ApplyDiff", io.BytesIO(b"tar"))


def test_a_file_ends_at_the_deadline_where_nobody_reads_it(client_of):
    client = client_of(hang)
    with ends_within(8), pytest.raises(CallTimeout) as caught:
        client.send_file("GraphDriver.ApplyDiff", io.BytesIO(bytes(50_000_000)), timeout=0.4)
    assert caught.value.method == "GraphDriver.ApplyDiff"


def test_errors_have_one_root(client_of):
    assert issubclass(TransportError, ExtframeError)
    with pytest.raises(OSError, match="rec"):
        client_of(close_after_read).call("A.B")
