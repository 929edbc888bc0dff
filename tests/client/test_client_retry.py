"""What is sent again: the same bytes, where they cannot do harm twice, and nothing else."""

from __future__ import annotations

import hashlib
import os
import re
import signal
import threading
import time

import msgspec
import pytest
from faultserver import (
    FaultServer,
    Peer,
    answer,
    answer_and_close,
    close_after_read,
    close_at_once,
    eventually,
    in_turn,
    reply,
    send_and_close,
)
from restarting import Restarting
from served_client import ends_within, served_clients

from extframe.client.client import Client
from extframe.client.retry import Retry
from extframe.errors import CallTimeout, ConnectError, ConnectionLost, ProtocolError, RemoteError

PHOTOS = {"Name": "photos", "Opts": {"quota": "5G"}}
REFUSED_TWICE = Retry(refused=(0.0, 0.0))
ANY_NUMBER = Retry(refused=(0.0,) * 9, lost=(0.0,) * 9)
CUT = send_and_close(reply(b'{"Err": ', length=100))


@pytest.fixture
def client_of(fault_server):
    yield from served_clients(fault_server)


def digests(server: FaultServer) -> list[str]:
    return [hashlib.sha256(request.body).hexdigest() for request in server.requests]


def test_a_refused_connection_fails_at_once(short_path):
    with Client(f"unix://{short_path}/none.sock") as client, ends_within(8), pytest.raises(ConnectError) as caught:
        client.call("A.B", idempotent=True)
    assert isinstance(caught.value.__cause__, FileNotFoundError)
    assert "attempts" not in str(caught.value)


def test_a_refused_connection_is_tried_again_on_the_schedule_that_was_asked_for(short_path, fault_server):
    path = str(short_path / "late.sock")
    servers = []
    timer = threading.Timer(0.2, lambda: servers.append(fault_server(answer(b'{"Late": 1}'), path=path)))
    with Client(f"unix://{path}", retry=Retry(refused=(0.02,) * 1000)) as client:
        timer.start()
        assert client.call("VolumeDriver.Create", PHOTOS) == {"Late": 1}
    timer.join()
    assert [request.body for request in servers[0].requests] == [msgspec.json.encode(PHOTOS) + b"\n"]


@pytest.mark.parametrize("idempotent", [True, False])
def test_a_call_waits_for_a_plugin_that_was_active_and_is_restarted(short_path, fault_server, idempotent):
    path = str(short_path / "photos.sock")
    servers = []
    with Client(f"unix://{path}", listener=Restarting()) as client:
        restart = threading.Timer(1.0, lambda: servers.append(fault_server(answer(b'{"Back": 1}'), path=path)))
        restart.start()
        assert client.call("VolumeDriver.Create", PHOTOS, idempotent=idempotent) == {"Back": 1}
        restart.join()
    assert len(servers[0].requests) == 1


def test_waiting_for_a_restart_ends_in_time_for_the_deadline(short_path):
    with Client(f"unix://{short_path}/none.sock", listener=Restarting()) as client:
        for timeout in (0.3, 1.0, 3.0):
            with ends_within(8), pytest.raises((ConnectError, CallTimeout)) as caught:
                client.call("A.B", timeout=timeout)
            if caught.type is ConnectError:  # a stall of the machine may let the deadline pass within an attempt
                break
    assert caught.type is ConnectError
    assert re.search(r"; \d+ attempts in \d\.\d s$", str(caught.value))


def test_a_call_that_was_lost_waits_for_the_restart_only_where_it_is_idempotent(short_path, fault_server):
    path = str(short_path / "photos.sock")
    for idempotent in (True, False):
        servers = []
        restart = threading.Timer(0.3, lambda to=servers: to.append(fault_server(answer(b'{"Back": 1}'), path=path)))

        def die(peer: Peer, restart: threading.Timer = restart) -> None:
            peer.read_request()
            os.unlink(path)
            restart.start()

        dying = fault_server(die, path=path)
        with Client(f"unix://{path}", listener=Restarting()) as client:
            if idempotent:
                assert client.call("VolumeDriver.Get", PHOTOS, idempotent=True) == {"Back": 1}
            else:
                with pytest.raises(ConnectionLost):
                    client.call("VolumeDriver.Create", PHOTOS)
            restart.join()
        assert [len(server.requests) for server in (dying, *servers)] == [1, int(idempotent)]
        os.unlink(path)


def test_an_idempotent_call_outlasts_a_plugin_that_ends_and_takes_one_connection_after_another_with_it(client_of):
    client = client_of(in_turn(*[close_after_read] * 4, answer(b'{"Back": 1}')), listener=Restarting())
    assert client.call("VolumeDriver.Get", PHOTOS, idempotent=True) == {"Back": 1}
    assert len(set(digests(client.server))) == 1


def test_a_handshake_waits_for_no_restart(short_path):
    client = Client(f"unix://{short_path}/none.sock", listener=Restarting())
    with client, ends_within(8), pytest.raises(ConnectError):
        client.call("Plugin.Activate")


def test_a_connection_that_is_closed_before_it_takes_the_request_counts_as_refused(client_of):
    client = client_of(in_turn(close_at_once, close_at_once, answer(b'{"Third": 1}')), retry=REFUSED_TWICE)
    assert client.call("VolumeDriver.Create", PHOTOS, idempotent=True) == {"Third": 1}
    assert len(client.server.requests) == 1


def test_an_error_after_attempts_says_how_many_and_how_long(short_path):
    client = Client(f"unix://{short_path}/none.sock", retry=Retry(refused=(0.01, 0.02, 0.04)))
    with pytest.raises(ConnectError, match=r"; 4 attempts in \d\.\d s$"):
        client.call("A.B")


@pytest.mark.parametrize("lost", [close_after_read, CUT, send_and_close(b"HTTP/1.1 200 OK\r\nCont")])
def test_an_idempotent_call_whose_connection_was_lost_is_repeated_with_the_same_bytes(client_of, lost):
    client = client_of(in_turn(lost, lost, answer(b'{"Third": 1}')))
    assert client.call("VolumeDriver.Create", PHOTOS, idempotent=True) == {"Third": 1}
    assert digests(client.server) == [hashlib.sha256(msgspec.json.encode(PHOTOS) + b"\n").hexdigest()] * 3


def test_an_idempotent_call_is_not_repeated_for_ever(client_of):
    client = client_of(close_after_read)
    with pytest.raises(ConnectionLost, match=r"; 3 attempts in \d\.\d s"):
        client.call("VolumeDriver.Get", PHOTOS, idempotent=True)
    assert len(set(digests(client.server))) == 1
    assert len(client.server.requests) == 3


@pytest.mark.parametrize("lost", [close_after_read, CUT])
@pytest.mark.parametrize("retry", [None, Retry.engine(), ANY_NUMBER])
def test_a_call_that_was_sent_and_is_not_idempotent_is_sent_once(client_of, lost, retry):
    client = client_of(in_turn(lost, answer()), retry=retry)
    with pytest.raises(ConnectionLost):
        client.call("VolumeDriver.Create", PHOTOS)
    assert len(client.server.requests) == 1


@pytest.mark.parametrize(
    "last", [answer(b"", status="503 Starting"), answer(b"not json"), send_and_close(b"SSH-2.0-x\r\n")]
)
def test_an_answer_is_never_a_reason_to_send_again(client_of, last):
    client = client_of(last, retry=ANY_NUMBER)
    with pytest.raises((RemoteError, ProtocolError)):
        client.call("Plugin.Activate", idempotent=True)
    assert len(client.server.requests) == 1


@pytest.mark.parametrize("announced", [True, False])
def test_a_connection_that_the_plugin_closes_after_each_answer_costs_no_call(client_of, announced):
    client = client_of(answer_and_close(announced=announced))
    for number in range(50):
        client.call("VolumeDriver.Create", {"Name": str(number)})
        if not announced:  # let the close arrive
            assert eventually(lambda: not client.server._open)
    assert len(set(digests(client.server))) == 50


def test_a_wait_that_would_pass_the_deadline_is_not_begun(short_path):
    client = Client(f"unix://{short_path}/none.sock", retry=Retry(refused=(30.0,)), timeout=20)
    with ends_within(8), pytest.raises(ConnectError):
        client.call("A.B")


def test_after_a_wait_that_took_longer_than_the_deadline_the_error_is_that_of_the_last_attempt(short_path):
    class Stalling(Restarting):
        def connection_refused(self, began: float) -> None:
            signal.setitimer(signal.ITIMER_REAL, 0.1)  # in the wait

    client = Client(
        f"unix://{short_path}/none.sock", retry=Retry(refused=(2.0,)), timeout=2.5, listener=Stalling(), plugin="x"
    )
    before = signal.signal(signal.SIGALRM, lambda number, frame: time.sleep(2.6))  # as if the machine stalled
    try:
        with pytest.raises(ConnectError, match="no such socket"):
            client.call("A.B")
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)
        signal.signal(signal.SIGALRM, before)


def test_closing_the_client_ends_a_wait(short_path):
    client = Client(f"unix://{short_path}/none.sock", retry=Retry(refused=(30.0,)), timeout=60)
    threading.Timer(0.1, client.close).start()
    with ends_within(8), pytest.raises(ConnectError):
        client.call("A.B")


def test_a_refused_connection_is_reported_to_the_listener_and_a_lost_one_is_not(short_path, client_of):
    listener = Restarting()
    listener.was_active = False
    client = Client(f"unix://{short_path}/none.sock", retry=Retry(refused=(0.0,)), listener=listener)
    with client, pytest.raises(ConnectError):
        client.call("A.B")
    assert len(listener.refused) == 2
    with pytest.raises(ConnectionLost):
        client_of(close_after_read, listener=listener).call("A.B", idempotent=True)
    assert len(listener.refused) == 2
