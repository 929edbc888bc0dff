"""The circuit breaker: what opens it, which calls it admits, and what closes it."""

from __future__ import annotations

import errno
import math
import pickle
import threading
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor

import pytest
from faultserver import (
    answer,
    answer_with,
    close_after_read,
    eventually,
    in_turn,
    read_and_hang,
    reply,
    send_and_close,
    send_and_hang,
)
from hypothesis import given
from hypothesis import strategies as st
from restarting import Restarting
from served_client import ends_within, served_clients

from extframe import Breaker, Client, LocalRegistry, PluginManager
from extframe.client.attempts import Attempts
from extframe.client.endpoint import PluginEndpoint
from extframe.client.stream_rules import StreamRules
from extframe.errors import (
    CallTimeout,
    ConnectError,
    ConnectionLost,
    PluginUnavailable,
    ProtocolError,
    RemoteError,
    TransportError,
)

THRICE = Breaker(failures=3, initial_delay=60, max_delay=60)  # no test lasts until a call is let through
BRIEFLY = Breaker(failures=3, initial_delay=0.2, max_delay=60)


@pytest.fixture
def client_of(fault_server):
    yield from served_clients(fault_server)


def fail(client: Client, times: int, error: type[Exception] = ConnectionLost, *, timeout: float = 0.05) -> None:
    failures = 0
    while failures < times:
        with pytest.raises(error) as caught:
            client.call("A.B", timeout=timeout if error is CallTimeout else 30)
        assert not isinstance(caught.value, PluginUnavailable)
        failures += getattr(caught.value, "phase", "") != "start"  # which a machine that stalls does not get beyond


def is_open(client: Client) -> bool:
    try:
        client.call("A.B", timeout=30)
    except PluginUnavailable:
        return True
    except (CallTimeout, ConnectError, ConnectionLost, ProtocolError, RemoteError):
        pass
    return False


def test_after_failures_in_a_row_calls_fail_at_once_with_the_last_error_and_the_next_try(client_of):
    client = client_of(read_and_hang, breaker=THRICE)
    fail(client, 3, CallTimeout)
    with ends_within(10), pytest.raises(PluginUnavailable) as caught:
        client.call("VolumeDriver.Get", timeout=30)
    assert 40 < caught.value.retry_after <= 60
    assert (caught.value.plugin, caught.value.method) == ("rec", "VolumeDriver.Get")
    assert isinstance(caught.value.__cause__, CallTimeout)
    message = str(caught.value)
    assert "the circuit breaker is open after 3 consecutive failures, and the next attempt is in " in message
    assert "The last failure: A.B on plugin 'rec' at unix://" in message
    assert "/VolumeDriver.Get" not in [request.path for request in client.server.requests]


def test_a_call_that_is_not_made_is_a_connect_error_and_pickles():
    copy = pickle.loads(pickle.dumps(PluginUnavailable("not called", plugin="rec", retry_after=1.5)))
    assert isinstance(copy, ConnectError)
    assert (copy.plugin, copy.retry_after) == ("rec", 1.5)


def test_without_a_breaker_every_call_is_made(client_of):
    client = client_of(close_after_read)
    fail(client, 8)
    assert len(client.server.requests) == 8


def test_streams_and_files_meet_the_breaker_too(client_of, tmp_path):
    client = client_of(close_after_read, breaker=THRICE)
    fail(client, 3)
    with pytest.raises(PluginUnavailable), client.stream("A.B"):
        pass
    (tmp_path / "layer").write_bytes(b"layer")
    with pytest.raises(PluginUnavailable), open(tmp_path / "layer", "rb") as layer:
        client.send_file("A.B", layer)


@pytest.mark.parametrize(
    "good",
    [
        reply(headers="Connection: close\r\n"),
        reply(b'{"Err": "no"}', headers="Connection: close\r\n"),
        reply(b"no", status="500 Oh", headers="Connection: close\r\n"),
        b"garbage\r\n\r\n",
    ],
)
def test_any_answer_sets_the_count_to_nothing(client_of, good):
    client = client_of(close_after_read, breaker=THRICE)
    for _ in range(3):
        client.server.behaviour = close_after_read
        fail(client, 2)
        client.server.behaviour = send_and_close(good)
        assert not is_open(client)
    assert len(client.server.requests) == 9


def test_what_says_nothing_of_the_plugin_is_not_counted(client_of):
    client = client_of(answer(), breaker=THRICE)
    client.close()
    for _ in range(5):
        assert not is_open(client)


def test_one_call_at_a_time_is_let_through_and_brings_the_others_back(client_of):
    release = threading.Event()

    def wait_for_release(request):
        release.wait(30)
        return reply()

    client = client_of(in_turn(*[close_after_read] * 3, answer_with(wait_for_release)), breaker=BRIEFLY)
    fail(client, 3)
    time.sleep(0.25)
    with ThreadPoolExecutor(8) as threads:
        calls = [threads.submit(client.call, "A.B", timeout=30) for _ in range(8)]
        assert eventually(lambda: sum(call.done() for call in calls) == 7, 30)
        refused = [call.exception() for call in calls if call.done()]
        assert {type(error) for error in refused} == {PluginUnavailable}
        assert all("the next attempt is under way" in str(error) and 0 < error.retry_after <= 60 for error in refused)
        assert eventually(lambda: len(client.server.requests) == 4, 30)
        release.set()
    assert sum(call.exception() is None for call in calls) == 1
    assert client.call("A.B") == {}


def test_the_pause_doubles_with_each_probe_that_fails_up_to_its_cap(client_of):
    client = client_of(close_after_read, breaker=Breaker(failures=1, initial_delay=0.1, max_delay=0.3))
    for pause in (0.1, 0.2, 0.3, 0.3):
        assert client.next_try is None or eventually(lambda: time.monotonic() >= client.next_try, 30)
        began = time.monotonic()
        fail(client, 1)
        assert client.next_try - time.monotonic() <= pause <= client.next_try - began  # however long the call took


def test_a_probe_that_is_interrupted_leaves_the_way_free_for_the_next(client_of):
    class Interrupted(BaseException):
        pass

    class File:
        def read(self, size):
            raise Interrupted

    client = client_of(in_turn(*[close_after_read] * 3, answer()), breaker=BRIEFLY)
    fail(client, 3)
    time.sleep(0.25)
    with pytest.raises(Interrupted):
        client.send_file("A.B", File())
    assert client.call("A.B") == {}


def test_a_probe_that_takes_long_does_not_keep_the_others_from_a_plugin_that_is_back(client_of):
    release = threading.Event()

    def lose_it_in_the_end(peer):
        peer.read_request()
        release.wait(30)

    behaviour = in_turn(close_after_read, close_after_read, lose_it_in_the_end, answer())
    client = client_of(behaviour, breaker=Breaker(failures=2, initial_delay=0.05, max_delay=0.3))
    fail(client, 2)
    time.sleep(0.1)
    with ThreadPoolExecutor(1) as threads:
        probe = threads.submit(client.call, "A.Follow", timeout=30)
        assert eventually(lambda: len(client.server.requests) == 3, 30)
        assert eventually(lambda: not is_open(client), 30)
        assert not probe.done()
        release.set()
        with pytest.raises(ConnectionLost):
            probe.result()
    assert client.call("A.B") == {}


def test_connections_that_are_lost_together_count_once(client_of):
    together = threading.Barrier(8)

    def die_together(peer):
        peer.read_request()
        together.wait(30)

    client = client_of(die_together, breaker=THRICE)
    with ThreadPoolExecutor(8) as threads:
        calls = [threads.submit(client.call, "A.B", timeout=30) for _ in range(8)]
    assert {type(call.exception()) for call in calls} == {ConnectionLost}
    client.server.behaviour = close_after_read
    fail(client, 2)
    assert is_open(client)


def test_refusals_that_are_waited_out_do_not_count(short_path, fault_server):
    path = str(short_path / "photos.sock")
    servers = []
    with Client(f"unix://{path}", breaker=Breaker(failures=1), listener=Restarting()) as client:
        restart = threading.Timer(0.3, lambda: servers.append(fault_server(answer(), path=path)))
        restart.start()
        assert client.call("A.B") == {}
        restart.join()
        assert client.call("A.B") == {}


def test_a_new_handshake_passes_the_breaker_and_sets_it_to_rights(short_path, fault_server):
    server = fault_server(answer(b'{"Implements": ["Backup"]}'), path=str(short_path / "photos.sock"))
    with PluginManager(LocalRegistry(short_path, []), groups=(), breaker=THRICE) as pm:
        client = pm.get("photos").client
        server.behaviour = read_and_hang
        client.retarget(client.address)  # the kept connection still has the old behaviour
        fail(client, 3, CallTimeout)
        assert is_open(client)
        found = pm._activator.table.known("photos")
        assert isinstance(found.last_error, CallTimeout)
        assert 40 < found.next_try <= 60
        server.close()
        (short_path / "photos.sock").unlink()
        fault_server(answer(b'{"Implements": ["Backup"]}'), path=str(short_path / "photos.sock"))
        assert is_open(client)
        assert pm.get("photos").client.call("A.B") == {"Implements": ["Backup"]}


def test_a_manager_has_a_breaker_that_an_argument_turns_off(short_path, fault_server):
    server = fault_server(answer(b'{"Implements": []}'), path=str(short_path / "photos.sock"))
    for options, opens in ({}, True), ({"breaker": None}, False):
        server.behaviour = answer(b'{"Implements": []}')
        with PluginManager(LocalRegistry(short_path, []), groups=(), **options) as pm:
            client = pm.get("photos").client
            server.behaviour = read_and_hang
            client.retarget(client.address)
            fail(client, 5, CallTimeout)
            assert (client.next_try is not None) is opens


@pytest.mark.parametrize(
    "values",
    [
        {"failures": 0},
        {"failures": 2.5},
        {"failures": math.nan},
        {"initial_delay": 0},
        {"initial_delay": 2, "max_delay": 1},
    ],
)
def test_an_invalid_breaker_is_rejected(values):
    with pytest.raises(ValueError, match="is invalid: expected"):
        Breaker(**values)


def test_the_names_of_version_0_1_are_accepted_with_a_warning():
    with pytest.warns(DeprecationWarning, match=r"Breaker\(pause=...\) is deprecated: use initial_delay"):
        old = Breaker(failures=2, pause=0.25)
    assert old == Breaker(failures=2, initial_delay=0.25)
    with pytest.warns(DeprecationWarning, match="use max_delay"):
        assert Breaker(longest=4.0) == Breaker(max_delay=4.0)


# --- what counts, by table: nothing sleeps and nothing is sent --------------------------------------------

COUNTS = {
    "refused": True,
    "no socket": True,
    "reset before a byte was sent": True,
    "no descriptor left": False,
    "closed client": False,
    "lost": True,
    "late: connect": True,
    "late: TLS handshake": True,
    "late: send": True,
    "late: status line": True,
    "late: start": False,
    "late: name lookup": False,
    "late: headers": False,
    "late: body": False,
    "nonsense": False,
}
CAUSES = {
    "refused": ConnectionRefusedError(),
    "no socket": FileNotFoundError(),
    "reset before a byte was sent": ConnectionResetError(),
    "no descriptor left": OSError(errno.EMFILE, "too many"),
}


def failure_of(kind: str) -> TransportError:
    name, _, phase = kind.partition(": ")
    if name == "late":
        return CallTimeout("late", phase=phase)
    if name in ("lost", "nonsense"):
        return {"lost": ConnectionLost, "nonsense": ProtocolError}[name](name)
    failure = ConnectError(name)
    failure.__cause__ = CAUSES.get(name)
    return failure


def fail_at(endpoint: PluginEndpoint, kind: str, began: float, ended: float) -> Callable[[], None]:
    """Begin a call; return the function that ends it."""
    attempts = Attempts(endpoint, "A.B", 60, False, began)

    def end() -> None:
        attempts.give_up(failure_of(kind), ended)
        attempts.abandon()

    return end


@pytest.mark.parametrize("kind", COUNTS)
def test_what_counts_as_a_failure(kind):
    endpoint = PluginEndpoint("unix:///unused.sock", breaker=THRICE)
    for now in (0.0, 10.0, 20.0):
        fail_at(endpoint, kind, now, now + 1)()
    assert endpoint.circuit.is_open == COUNTS[kind]


@pytest.mark.parametrize("kind", COUNTS)
@pytest.mark.parametrize("response", ["reply", "handshake", "stream", "nonsense"])
def test_a_call_that_is_late_does_not_count_if_anything_arrived_since_it_began(kind, response):
    endpoint = PluginEndpoint("unix:///unused.sock", breaker=Breaker(failures=1))
    end = fail_at(endpoint, kind, 0.0, 10.0)
    method = "Plugin.Activate" if response == "handshake" else "A.B"
    other = Attempts(endpoint, method, 60, False, 1.0)
    if response == "stream":
        StreamRules(other.deadline, attempts=other).record_data()
    elif response == "nonsense":
        other.give_up(ProtocolError("nonsense"), 2.0)
    else:
        other.succeed()
    end()
    assert endpoint.circuit.is_open == (COUNTS[kind] and not kind.startswith("late"))


@given(
    steps=st.lists(st.tuples(st.sampled_from(["begin", "begin", "answered", "late"]), st.integers(0, 9)), max_size=60)
)
def test_the_circuit_opens_only_after_late_calls_that_saw_no_response_at_all(steps):
    endpoint = PluginEndpoint("unix:///unused.sock", breaker=THRICE)
    under_way: list[tuple[int, Attempts]] = []
    last_response, late = -1, []
    for now, (step, chosen) in enumerate(steps):
        if step == "begin":
            under_way.append((now, Attempts(endpoint, "A.B", 60, False, now)))
        elif under_way:
            began, attempts = under_way.pop(chosen % len(under_way))
            if step == "answered":
                attempts.succeed()
                last_response, late = now, []
            else:
                attempts.give_up(CallTimeout("late", phase="status line"), now)
                late.append(began)
        assert endpoint.circuit.is_open == (sum(began > last_response for began in late) >= 3)
        if endpoint.circuit.is_open:
            break


# --- over sockets -------------------------------------------------------------------------------------


def test_a_slow_method_does_not_open_the_circuit_while_others_respond(client_of):
    release = threading.Event()

    def be_slow_in_one(request):
        if request.path == "/A.Slow":
            release.wait(60)
        return reply()

    client = client_of(answer_with(be_slow_in_one), breaker=THRICE)
    with ThreadPoolExecutor(4) as threads:
        # A machine that stalls lets one of the others respond before that.
        slow = [threads.submit(client.call, "A.Slow", timeout=2.5) for _ in range(4)]
        while not all(call.done() for call in slow):
            client.call("A.Fast")
    release.set()
    assert {type(call.exception()) for call in slow} == {CallTimeout}
    assert not is_open(client)


def test_a_plugin_that_begins_to_respond_does_not_open_the_circuit(client_of):
    client = client_of(send_and_hang(b"HTTP/1.1 200 OK\r\nContent-Length: 9\r\n\r\nhalf"), breaker=THRICE)
    fail(client, 4, CallTimeout, timeout=0.5)
    client.server.behaviour = answer()
    assert client.call("A.B") == {}


def test_a_deadline_that_passes_before_the_plugin_is_contacted_does_not_count(client_of):
    client = client_of(answer(), breaker=THRICE)
    for _ in range(4):
        with pytest.raises(CallTimeout) as caught:
            client.call("A.B", timeout=1e-12)
        assert caught.value.phase == "start"
    assert client.call("A.B") == {}
    assert client.server.connections == 1


def test_entries_of_a_log_show_that_the_plugin_works_while_one_method_is_slow(client_of):
    def behaviour(peer):
        request = peer.read_request()
        if request.path == "/A.Slow":
            peer.hang()
        peer.send(b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n")
        peer.drip(b"1\r\nx\r\n" * 1000, pause=0.01)

    client = client_of(behaviour, breaker=THRICE)
    with client.stream("LogDriver.ReadLogs", follow=True) as log, ThreadPoolExecutor(1) as threads:
        slow = threads.submit(lambda: [fail_slowly(client) for _ in range(4)])
        while not slow.done():
            assert log.read(1) == b"x"
        assert slow.result() == [CallTimeout] * 4
    assert client.next_try is None


def fail_slowly(client: Client) -> type[BaseException]:
    with pytest.raises(CallTimeout) as caught:
        client.call("A.Slow", timeout=0.5)
    return caught.type
