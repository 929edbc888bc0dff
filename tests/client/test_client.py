"""Calls over real sockets: what is sent, what comes back, when it ends, and whose error it is."""

from __future__ import annotations

import io
import math
import os
import pickle
import signal
import subprocess
import sys
import threading
from dataclasses import dataclass

import msgspec
import pytest
from faultserver import (
    Peer,
    answer,
    answer_and_close,
    answer_with,
    close_after_read,
    drip,
    endless,
    eventually,
    hang,
    in_turn,
    read_and_hang,
    reply,
    send_and_hang,
)
from served_client import ends_within, served_clients

from extframe.client.client import Client
from extframe.client.http1 import Limits
from extframe.client.retry import Retry
from extframe.client.transport import ConnectionPool
from extframe.errors import (
    CallTimeout,
    ConnectError,
    ConnectionLost,
    ProtocolError,
    RemoteError,
    SpecError,
)
from extframe.subsystems.volume import VolumeDriver

PHOTOS = {"Name": "photos", "Opts": {"quota": "5G"}}


class Volume(msgspec.Struct, rename="pascal"):
    name: str


class VolumeReply(msgspec.Struct, rename="pascal"):
    volume: Volume


@dataclass
class Opts:
    quota: str


@dataclass
class CreateRequest:
    Name: str
    Opts: Opts


@pytest.fixture
def client_of(fault_server):
    yield from served_clients(fault_server)


# --- what is sent -------------------------------------------------------------------------------------


@pytest.mark.parametrize("kind", ["unix", "tcp"])
def test_a_call_sends_json_and_returns_the_reply_with_its_keys_as_they_came(client_of, kind):
    client = client_of(answer(b'{"volume": {"Name": "photos"}, "Err": ""}'), kind=kind)
    assert client.call("VolumeDriver.Get", PHOTOS) == {"volume": {"Name": "photos"}, "Err": ""}
    (request,) = client.server.requests
    assert request.head.startswith(b"POST /VolumeDriver.Get HTTP/1.1\r\n")
    assert request.body == b'{"Name":"photos","Opts":{"quota":"5G"}}\n'


def test_a_call_without_arguments_sends_an_empty_body(client_of):
    client = client_of()
    client.call("Plugin.Activate")
    (request,) = client.server.requests
    assert ("Content-Length", "0") in request.headers
    assert request.body == b""


@pytest.mark.parametrize(
    "arguments", [PHOTOS, CreateRequest("photos", Opts("5G")), msgspec.Raw(msgspec.json.encode(PHOTOS))]
)
def test_arguments_are_anything_that_msgspec_writes(client_of, arguments):
    client = client_of()
    client.call("VolumeDriver.Create", arguments)
    assert msgspec.json.decode(client.server.requests[0].body) == PHOTOS


@pytest.mark.parametrize(
    ("method", "path"),
    [
        ("VolumeDriver.List", "/VolumeDriver.List"),
        ("/SecretProvider.GetSecret", "/SecretProvider.GetSecret"),
        ("A?id=1&b=%20", "/A?id=1&b=%20"),
    ],
)
def test_a_method_becomes_a_path(client_of, method, path):
    client = client_of()
    client.call(method)
    assert client.server.requests[0].path == path


@pytest.mark.parametrize("method", ["", None, b"A.B", "A B", "A\r\nX-Evil: 1", "A\n", "A\0", "Größe"])
def test_a_method_that_cannot_stand_in_a_request_is_refused_before_anything_is_sent(client_of, method):
    client = client_of()
    for act in (client.call, client.stream(method).__enter__, lambda name: client.send_file(name, io.BytesIO())):
        with pytest.raises(ValueError, match="is not a valid method"):
            act(method) if act.__name__ != "__enter__" else act()
    assert client.server.connections == 0


@pytest.mark.parametrize("options", [{"arguments": object()}, {"reply": list[int] | set[int]}])
def test_what_msgspec_cannot_do_is_a_type_error_before_anything_is_sent(client_of, options):
    client = client_of()
    with pytest.raises(TypeError):
        client.call("A.B", **options)
    assert client.server.connections == 0


def test_arguments_that_hold_themselves_are_a_value_error_that_names_the_method(client_of):
    client = client_of()
    circle: dict[str, object] = {}
    circle["Opts"] = circle
    with pytest.raises(ValueError, match=r"^VolumeDriver\.Create: the arguments contain a circular reference"):
        client.call("VolumeDriver.Create", circle)
    with (
        pytest.raises(ValueError, match=r"^VolumeDriver\.Create: "),
        client.stream("VolumeDriver.Create", circle),
    ):
        pass
    assert client.server.connections == 0


def test_an_address_that_cannot_be_used_is_refused_at_once():
    with pytest.raises(SpecError, match="npipe"):
        Client("npipe:////./pipe/x")


# --- what comes back ----------------------------------------------------------------------------------


def test_a_reply_can_be_asked_for_as_a_type(client_of):
    client = client_of(answer(b'{"Volume": {"Name": "photos", "More": 1}}'))
    assert client.call("VolumeDriver.Get", reply=VolumeReply) == VolumeReply(Volume("photos"))
    assert client.call("VolumeDriver.Get", reply=dict[str, Volume]) == {"Volume": Volume("photos")}


def test_a_reply_of_another_type_is_a_protocol_error_with_the_place(client_of):
    client = client_of(answer(b'{"Volumes": [{"Name": "a"}, {"Name": 5}]}'))
    with pytest.raises(ProtocolError) as caught:
        client.call("VolumeDriver.List", reply=dict[str, list[Volume]])
    assert "Expected `str`, got `int` - at `$[...][1].Name`" in str(caught.value)
    assert isinstance(caught.value.__cause__, msgspec.ValidationError)


def test_raw_gives_the_bytes_as_they_came(client_of):
    body = b' {"Err": "is for the caller to find"} '
    assert bytes(client_of(answer(body)).call("A.B", reply=msgspec.Raw)) == body
    assert bytes(client_of(answer(b"")).call("A.B", reply=msgspec.Raw)) == b""


def test_none_expects_nothing_but_no_error_either(client_of):
    client = client_of(in_turn(answer_and_close(b""), answer_and_close(b"OK\n"), answer(b'{"Err": "no"}')))
    client.call("MetricsCollector.StartMetrics", reply=None)
    client.call("MetricsCollector.StartMetrics", reply=None)
    with pytest.raises(RemoteError, match="no"):
        client.call("MetricsCollector.StartMetrics", reply=None)


HTML = b"<!DOCTYPE html><html><head><title>502</title></head><body><h1>502 Bad Gateway</h1></body></html>"


def test_a_status_other_than_200_is_the_plugins_error(client_of):
    client = client_of(answer(b'{"Err": "volume not found"}\n', status="404 Not Found"))
    with pytest.raises(RemoteError) as caught:
        client.call("VolumeDriver.Get", {"Name": "x"})
    error = caught.value
    assert (error.message, error.status, error.not_found) == ("volume not found", 404, True)
    assert (error.plugin, error.method, error.address) == ("rec", "VolumeDriver.Get", client.server.address)
    assert str(error) == f"VolumeDriver.Get on plugin 'rec' at {client.server.address}: volume not found (status 404)"


def test_a_raw_call_raises_the_plugins_error_too(client_of):
    client = client_of(answer(HTML, status="502 Bad Gateway", headers="Content-Type: text/html\r\n"))
    with pytest.raises(RemoteError) as caught:
        client.call("VolumeDriver.Get", reply=msgspec.Raw)
    assert (caught.value.message, caught.value.status) == ("502 Bad Gateway", 502)


def test_a_redirect_is_not_followed(client_of):
    client = client_of(answer(b"", status="307 Temporary Redirect", headers="Location: tcp://elsewhere/\r\n"))
    with pytest.raises(RemoteError, match=r"redirects are not followed \(Location: 'tcp://elsewhere/'"):
        client.call("A.B")
    assert len(client.server.requests) == 1


FAILURES = {
    RemoteError: answer(b'{"Err": "no"}', status="500 No"),
    ConnectionLost: close_after_read,
    CallTimeout: read_and_hang,
    ProtocolError: answer(b"[1]"),
}


@pytest.mark.parametrize(("kind", "behaviour"), FAILURES.items())
def test_an_error_names_plugin_method_and_address_and_can_be_pickled(client_of, kind, behaviour):
    client = client_of(behaviour, timeout=0.3 if kind is CallTimeout else 10)
    with pytest.raises(kind) as caught:
        client.call("/VolumeDriver.Get")
    for error in (caught.value, pickle.loads(pickle.dumps(caught.value))):
        assert type(error) is kind
        assert (error.plugin, error.method, error.address) == ("rec", "VolumeDriver.Get", client.server.address)
        assert str(error) == str(caught.value)
        assert str(error).startswith(f"VolumeDriver.Get on plugin 'rec' at {client.server.address}: ")
        assert str(error).count(client.server.address) == 1


def test_a_client_without_a_name_gives_errors_without_one(client_of):
    client = client_of(close_after_read, plugin=None)
    with pytest.raises(ConnectionLost) as caught:
        client.call("A.B")
    assert str(caught.value).startswith(f"A.B on {client.server.address}: ")


def test_a_reply_over_the_limit_is_a_protocol_error_that_names_the_setting(client_of):
    head = b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n" % (200 << 20)
    client = client_of(in_turn(endless(head, b" " * 65536), answer()))
    with pytest.raises(ProtocolError) as caught:
        client.call("VolumeDriver.List")
    told = str(caught.value)
    assert told.startswith("VolumeDriver.List on plugin 'rec' at ")
    assert "over 16777216 bytes, which is Limits.body; raise it with limits=Limits(body=...)" in told
    assert client.call("VolumeDriver.List") == {}


MANY_VALUES = b'{"Volumes": [' + b"[]," * (5 << 20) + b"[]]}"


@pytest.mark.parametrize(
    "call",
    [
        lambda client: client.call("VolumeDriver.List"),
        lambda client: client.call("VolumeDriver.List", reply=VolumeReply),
        lambda client: client.call("VolumeDriver.List", reply=None),
        lambda client: VolumeDriver.remote(client).list(),
    ],
    ids=["dict", "type", "nothing", "driver"],
)
def test_a_reply_that_would_become_hundreds_of_mib_of_values_is_refused(client_of, call):
    with pytest.raises(ProtocolError) as caught:
        call(client_of(answer(MANY_VALUES)))
    text = str(caught.value)
    assert text.startswith("VolumeDriver.List on plugin 'rec' at ")
    assert text.endswith("over 192 MiB of memory, the limit; request less at a time, or read the reply with stream()")


@pytest.mark.parametrize(
    "call", [lambda client: client.call("A.B"), lambda client: client.send_file("A.B", io.BytesIO())]
)
def test_a_reply_whose_deadline_has_passed_is_not_decoded(client_of, call, monkeypatch):
    monkeypatch.setattr("extframe.client.replies.monotonic", lambda: math.inf)
    with pytest.raises(CallTimeout, match="timed out before the response was decoded") as caught:
        call(client_of(answer(b"not JSON")))
    assert (caught.value.phase, caught.value.method, caught.value.timeout) == ("decode", "A.B", 10)
    with pytest.raises(RemoteError, match="the plugin's words"):
        call(client_of(answer(b"the plugin's words", status="500 Error")))


def test_the_limit_can_be_set(client_of):
    body = msgspec.json.encode({"Pad": "x" * 2000})
    with pytest.raises(ProtocolError):
        client_of(answer(body), limits=Limits(body=1000)).call("A.B")
    assert client_of(answer(body), limits=Limits(body=3000)).call("A.B")


# --- deadlines ----------------------------------------------------------------------------------------

SLOW = {
    "never accepts a request": hang,
    "never answers": read_and_hang,
    "half a header": send_and_hang(b"HTTP/1.1 200 OK\r\nConte"),
    "half a body": send_and_hang(reply(b'{"Err": ', length=100)),
    "a byte at a time": drip(reply(b" " * 1000), pause=0.02),
}


@pytest.mark.parametrize("behaviour", SLOW.values(), ids=SLOW)
def test_a_call_ends_at_its_deadline_whatever_the_plugin_does(client_of, behaviour):
    client = client_of(behaviour)
    with ends_within(8), pytest.raises(CallTimeout) as caught:
        client.call("A.B", timeout=0.3, idempotent=True)
    assert caught.value.timeout == pytest.approx(0.3)
    assert isinstance(caught.value, TimeoutError)


def test_the_clients_timeout_holds_where_the_call_has_none(client_of):
    with ends_within(8), pytest.raises(CallTimeout):
        client_of(read_and_hang, timeout=0.3).call("A.B")


def test_a_call_that_timed_out_is_not_sent_again(client_of):
    client = client_of(read_and_hang, retry=Retry(refused=(0.0,) * 9, lost=(0.0,) * 9))
    with pytest.raises(CallTimeout):
        client.call("A.B", timeout=0.5, idempotent=True)
    assert len(client.server.requests) <= 1  # none where a machine stalls until the deadline


def test_infinity_is_no_deadline(client_of):
    client = client_of(drip(reply(b"{}"), pause=0.001), timeout=math.inf)
    assert client.call("A.B") == {}
    assert client.call("A.B", timeout=math.inf) == {}


@pytest.mark.parametrize("timeout", [0, -1, math.nan, -math.inf])
def test_a_timeout_that_is_no_time_is_a_value_error(client_of, timeout):
    client = client_of()
    for act in (
        lambda: Client("tcp://h:1", timeout=timeout),
        lambda: client.call("A.B", timeout=timeout),
        lambda: client.send_file("A.B", io.BytesIO(), timeout=timeout),
        lambda: client.stream("A.B", timeout=timeout).__enter__(),
    ):
        with pytest.raises(ValueError, match="more than 0"):
            act()
    assert client.server.connections == 0


@pytest.mark.parametrize("timeout", [None, "30"])
def test_a_timeout_of_a_client_that_is_no_number_is_a_type_error(timeout):
    with pytest.raises(TypeError, match=r"timeout is .*; expected seconds, or math.inf for no timeout"):
        Client("unix:///nowhere.sock", timeout=timeout)


# --- its life -----------------------------------------------------------------------------------------


def test_connections_are_kept_and_shared_by_methods(client_of):
    client = client_of()
    for number in range(40):
        client.call(f"VolumeDriver.Method{number % 20}")
    assert client.server.connections == 1


def test_threads_share_a_client_and_get_their_own_answers(client_of):
    client = client_of(answer_with(lambda request: reply(request.body)))
    wrong = []

    def work(thread: int) -> None:
        for number in range(100):
            sent = {"Thread": thread, "Number": number}
            if client.call(f"A.B{number % 20}", sent) != sent:
                wrong.append(sent)

    threads = [threading.Thread(target=work, args=(thread,)) for thread in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert wrong == []
    assert len(client.server.requests) == 800
    assert client.server.connections <= 8


FORK = """
import os, sys
from extframe.client.client import Client
client = Client(sys.argv[1])
client.call("Parent.Before")
child = os.fork()
client.call("Child.Call" if child == 0 else "Parent.After")
client.session.post("Child.Post" if child == 0 else "Parent.Post")
if child == 0:
    os._exit(0)
_, status = os.waitpid(child, 0)
client.call("Parent.Last")
sys.exit(status)
"""


def test_a_forked_child_uses_no_connection_of_its_parent(fault_server):
    seen = {}

    def behaviour(peer: Peer) -> None:
        while request := peer.read_request():
            seen.setdefault(peer.number, set()).add(request.path.split(".")[0])
            peer.send(reply())

    server = fault_server(behaviour)
    subprocess.run([sys.executable, "-W", "ignore", "-c", FORK, server.address], check=True, timeout=60)
    assert len(server.requests) == 6
    assert all(len(families) == 1 for families in seen.values()), seen


def test_ctrl_c_in_a_call_leaves_a_client_that_works(client_of):
    def press_ctrl_c(peer: Peer) -> None:
        peer.read_request()
        peer.wait(0.1)  # by then the call waits for its answer
        os.kill(os.getpid(), signal.SIGUSR1)
        peer.hang()

    def interrupt(*_: object) -> None:
        raise KeyboardInterrupt

    client = client_of(in_turn(press_ctrl_c, answer(b'{"New": 1}')))
    before = signal.signal(signal.SIGUSR1, interrupt)
    try:
        with ends_within(8), pytest.raises(KeyboardInterrupt):
            client.call("A.B", timeout=30)
    finally:
        signal.signal(signal.SIGUSR1, before)
    assert client.call("A.B") == {"New": 1}


def test_a_closed_client_says_so(client_of):
    client = client_of()
    client.call("A.B")
    client.close()
    client.close()
    for act in (
        lambda: client.call("A.B"),
        lambda: client.stream("A.B").__enter__(),
        lambda: client.send_file("A.B", io.BytesIO()),
        lambda: client.session,
    ):
        with pytest.raises(ConnectError, match="the client is closed") as caught:
            act()
        assert (caught.value.plugin, caught.value.address) == ("rec", client.server.address)
    assert eventually(lambda: not client.server._open)


def test_a_client_is_a_context_manager(client_of):
    with client_of() as client:
        assert client.call("A.B") == {}
    with pytest.raises(ConnectError):
        client.call("A.B")


def test_a_client_can_be_aimed_at_another_address(client_of, fault_server):
    client = client_of(answer(b'{"At": 1}'), pool=ConnectionPool())
    assert client.call("A.B") == {"At": 1}
    session = client.session
    second = fault_server(answer(b'{"At": 2}'), kind="tcp")
    client.retarget(second.address)
    assert client.address == second.address
    assert client.call("A.B") == {"At": 2}
    assert client.session is not session
    assert client.session.post("A.B").json() == {"At": 2}
    assert eventually(lambda: not client.server._open)


def test_a_call_whose_way_is_closed_as_it_sets_out_takes_the_new_one(client_of, fault_server, monkeypatch):
    client = client_of(answer(b'{"At": 1}'))
    second = fault_server(answer(b'{"At": 2}'))
    exchange = client._transport.exchange

    def exchange_later(*arguments):  # another thread gets its turn between two steps of ours
        client.retarget(second.address)
        return exchange(*arguments)

    monkeypatch.setattr(client._transport, "exchange", exchange_later)
    assert client.call("A.B") == {"At": 2}


def test_a_client_that_was_closed_stays_closed_wherever_it_is_aimed(client_of, fault_server):
    client = client_of()
    client.close()
    client.retarget(fault_server(answer()).address)
    with pytest.raises(ConnectError, match="the client is closed"):
        client.call("A.B")


def test_an_address_that_cannot_be_used_leaves_a_client_as_it_was(client_of):
    client = client_of()
    with pytest.raises(SpecError):
        client.retarget("npipe:////./pipe/x")
    assert client.call("A.B") == {}


def test_a_client_shows_its_name_and_address():
    assert repr(Client("unix:///run/x.sock", plugin="x")) == "<Client 'x' at unix:///run/x.sock>"
    assert repr(Client("tcp://h:1")) == "<Client tcp://h:1>"
    client = Client("tcp://h:1", plugin="x", timeout=5)
    assert (client.plugin, client.address, client.timeout) == ("x", "tcp://h:1", 5)


def test_the_timeout_of_one_plugin_can_be_set(client_of):
    client = client_of(read_and_hang)
    client.timeout = 0.2
    with pytest.raises(CallTimeout, match=r"the timeout was 0\.2 s"):
        client.call("A.B")
    with pytest.raises(ValueError, match="more than 0"):
        client.timeout = 0
    assert client.timeout == 0.2
