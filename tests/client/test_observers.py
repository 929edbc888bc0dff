"""Observers of calls: what they receive from both clients and both managers, and that they harm no call."""

from __future__ import annotations

import asyncio
import io
import logging

import pytest
from event_loops import run
from faultserver import answer, close_after_read, hang, reply, send_and_close, successively
from served_client import served_clients

import extframe
from extframe import AsyncClient, AsyncPluginManager, Breaker, Client, LocalRegistry, PluginManager
from extframe.errors import CallTimeout, ConnectError, ConnectionLost, PluginUnavailable, ProtocolError, RemoteError

PHASES = ["connect", "send", "wait", "receive", "decode"]


class Recorder:
    """Keeps the calls that started, and how they ended; adds ``headers``."""

    def __init__(self, **headers):
        self.headers = headers
        self.started = []
        self.ended = []

    def call_started(self, call):
        self.started.append(call)
        call.headers.update(self.headers)

    def call_ended(self, call, outcome):
        assert call in self.started
        self.ended.append((call, outcome))

    def last(self):
        assert len(self.started) == len(self.ended)
        return self.ended[-1]


@pytest.fixture
def client_of(fault_server):
    yield from served_clients(fault_server)


class AsyncUse:
    """Makes an AsyncClient look like a Client: each call in a loop of its own."""

    def __init__(self, address, **options):
        self._make = lambda: AsyncClient(address, **options)

    def __getattr__(self, name):
        def call(*arguments, **options):
            async def main():
                async with self._make() as client:
                    return await getattr(client, name)(*arguments, **options)

            return run(main)

        return call


BOTH = pytest.mark.parametrize("kind", [Client, AsyncUse])


@BOTH
def test_an_observer_receives_what_a_call_did(fault_server, kind):
    response = reply(b'{"Name": "photos"}')
    server = fault_server(answer(b'{"Name": "photos"}'))
    recorder = Recorder()
    client = kind(server.address, plugin="rec", observers=[recorder])
    client.call("/VolumeDriver.Get", {"Name": "photos"})
    call, outcome = recorder.last()
    assert (call.plugin, call.method, call.address) == ("rec", "VolumeDriver.Get", server.address)
    assert not call.is_stream
    request = server.requests[0]
    assert (outcome.error, outcome.status, outcome.attempt) == (None, 200, 1)
    assert outcome.bytes_sent == len(request.head + request.body)
    assert outcome.bytes_received == len(response)
    assert outcome.request_head + b"\r\n\r\n" == request.head
    assert dict(outcome.response_headers)[b"content-length"] == b"18"
    assert list(outcome.phases) == PHASES
    assert all(seconds >= 0 for seconds in outcome.phases.values())
    assert sum(outcome.phases.values()) == pytest.approx(outcome.seconds)
    assert not outcome.is_connection_reused
    assert not outcome.is_circuit_open
    assert "status 200" in str(outcome)


def test_a_kept_connection_is_seen(client_of):
    recorder = Recorder()
    client = client_of(observers=[recorder])
    for _ in range(2):
        client.call("A.B")
    assert [outcome.is_connection_reused for _, outcome in recorder.ended] == [False, True]


@BOTH
def test_retries_are_one_call_whose_headers_are_sent_each_time(fault_server, kind):
    server = fault_server(successively(close_after_read, close_after_read, answer()))
    recorder = Recorder(traceparent="00-1-2-01")
    kind(server.address, observers=[recorder]).call("A.B", idempotent=True)
    _, outcome = recorder.last()
    assert (outcome.attempt, outcome.error) == (3, None)
    assert list(outcome.phases) == ["earlier", *PHASES]
    assert sum(outcome.phases.values()) == pytest.approx(outcome.seconds)
    assert outcome.bytes_sent == sum(len(request.head) for request in server.requests)
    assert [dict(request.headers)["traceparent"] for request in server.requests] == 3 * ["00-1-2-01"]


@BOTH
@pytest.mark.parametrize(
    ("behaviour", "error", "status", "phases"),
    [
        (answer(b'{"Err": "full"}'), RemoteError, 200, PHASES),
        (answer(b'{"Err": "full"}', status="500 No"), RemoteError, 500, PHASES),
        (answer(b"no JSON"), ProtocolError, 200, PHASES),
        (close_after_read, ConnectionLost, None, PHASES),
        (send_and_close(b"HTTP/1.1 200 OK\r\n"), ConnectionLost, None, PHASES),
        (hang, CallTimeout, None, PHASES[:3]),
    ],
)
def test_errors_are_those_that_the_caller_gets(fault_server, kind, behaviour, error, status, phases):
    recorder = Recorder()
    timeout = 2.1 if error is CallTimeout else 30
    client = kind(fault_server(behaviour).address, plugin="rec", timeout=timeout, observers=[recorder])
    with pytest.raises(error) as caught:
        client.call("A.B")
    _, outcome = recorder.last()
    assert outcome.error is caught.value
    assert outcome.error.plugin == "rec"
    assert (outcome.status, outcome.attempt) == (status, 1)
    assert list(outcome.phases) == phases
    assert sum(outcome.phases.values()) == pytest.approx(outcome.seconds)


@BOTH
def test_a_refused_connection_and_an_open_circuit_are_calls_too(tmp_path, kind):
    recorder = Recorder()
    observers = [recorder]
    address = f"unix://{tmp_path}/none.sock"

    def use(client):
        for error in (ConnectError, PluginUnavailable):
            with pytest.raises(error):
                client("A.B")

    breaker = Breaker(failures=1, initial_delay=60, max_delay=60)
    if kind is Client:
        use(Client(address, breaker=breaker, observers=observers).call)
    else:

        async def main():
            async with AsyncClient(address, breaker=breaker, observers=observers) as client:
                for error in (ConnectError, PluginUnavailable):
                    with pytest.raises(error):
                        await client.call("A.B")

        run(main)
    (_, refused), (_, unavailable) = recorder.ended
    assert (refused.attempt, list(refused.phases), refused.is_circuit_open) == (1, ["connect"], True)
    assert (unavailable.attempt, dict(unavailable.phases), unavailable.request_head) == (0, {}, b"")


def test_a_cancelled_call_ends_with_its_cancellation(fault_server):
    recorder = Recorder()
    server = fault_server(hang)

    async def main():
        async with AsyncClient(server.address, observers=[recorder]) as client:
            call = asyncio.create_task(client.call("A.B"))
            while not server.connections:
                await asyncio.sleep(0.005)
            call.cancel()
            await asyncio.wait({call})

    run(main)
    assert isinstance(recorder.last()[1].error, asyncio.CancelledError)


def test_files_get_requests_and_handshakes_are_observed(client_of):
    recorder = Recorder()
    client = client_of(answer(b'{"Implements": []}'), observers=[recorder])
    client.send_file("A.B", io.BytesIO(b"x" * 100_000))
    request = client.server.requests[0]
    assert recorder.last()[1].bytes_sent > len(request.head) + 100_000
    client.get("/health")
    assert recorder.last()[0].method == "GET /health"
    call = client.begin("Plugin.Activate")
    while call.advance() is None:
        pass
    assert recorder.last()[0].method == "Plugin.Activate"
    assert [outcome.error for _, outcome in recorder.ended] == 3 * [None]


@BOTH
def test_a_stream_ends_when_it_is_closed_and_counts_its_body(fault_server, kind):
    server = fault_server(answer(b"x" * 100_000))
    recorder = Recorder()

    def use():
        with Client(server.address, observers=[recorder]) as client, client.stream("A.B") as stream:
            assert not recorder.ended
            return stream.read()

    async def use_async():
        async with AsyncClient(server.address, observers=[recorder]) as client, client.stream("A.B") as stream:
            assert not recorder.ended
            return b"".join([piece async for piece in stream])

    assert len(use() if kind is Client else run(use_async)) == 100_000
    call, outcome = recorder.last()
    assert call.is_stream
    assert (outcome.status, outcome.error) == (200, None)
    assert outcome.bytes_received > 100_000
    assert list(outcome.phases) == PHASES[:-1]


@pytest.mark.parametrize("follow", [False, True])
def test_what_the_reader_of_a_stream_raises_is_not_an_error_of_the_call_and_a_lost_connection_is(client_of, follow):
    recorder = Recorder()
    client = client_of(answer(b"x"), observers=[recorder])
    with pytest.raises(KeyError), client.stream("A.B", follow=follow):
        raise KeyError
    assert recorder.last()[1].error is None
    client = client_of(send_and_close(reply(b"half", length=100)), observers=[recorder])
    with client.stream("A.B", follow=follow) as stream, pytest.raises(ConnectionLost):
        stream.read()
    assert isinstance(recorder.last()[1].error, ConnectionLost)


# --- harm ---------------------------------------------------------------------------------------------


class Broken:
    def call_started(self, call):
        raise RuntimeError("no space left")

    def call_ended(self, call, outcome):
        raise RuntimeError("no space left")


@BOTH
def test_an_observer_that_raises_breaks_no_call_and_is_logged_once(fault_server, kind, caplog):
    server = fault_server(answer(b'{"a": 1}'))
    recorder = Recorder(name="value")
    client = kind(server.address, observers=[Broken(), recorder])
    if kind is AsyncUse:
        observers = extframe.client.observers.Observers([Broken(), recorder])  # shared, as in a manager
        client = kind(server.address, observers=observers)
    for _ in range(3):
        assert client.call("A.B") == {"a": 1}
    assert len(recorder.ended) == 3
    messages = [record.getMessage() for record in caplog.records]
    assert len(messages) == 2
    assert "Broken.call_started" in messages[0]
    assert "no space left" in messages[0]
    assert all(record.levelno == logging.ERROR for record in caplog.records)


def test_headers_of_the_caller_win_and_invalid_ones_of_an_observer_are_left_out(client_of, caplog):
    recorder = Recorder(**{"X-Id": "observer", "X-More": "1", "Content-Length": "7", "Bad Name": "s3cret"})
    client = client_of(observers=[recorder])
    for _ in range(2):
        client.call("A.B", headers={"x-id": "caller"})
    sent = dict(client.server.requests[1].headers)
    assert (sent["x-id"], sent["X-More"], sent["Content-Length"]) == ("caller", "1", "0")
    assert "X-Id" not in sent
    assert len(caplog.records) == 2
    assert "s3cret" not in caplog.text


@pytest.mark.parametrize("observers", [[object()], [Recorder], 5])
def test_an_object_without_the_two_methods_is_refused(observers):
    for make in (Client, AsyncClient):
        with pytest.raises(TypeError):
            make("unix:///x", observers=observers)
    for make in (PluginManager, AsyncPluginManager):
        with pytest.raises(TypeError):
            make(groups=(), observers=observers)


# --- managers and the log -------------------------------------------------------------------------------


def test_managers_observe_the_calls_of_all_plugins(tmp_path, fault_server):
    for name in ("one", "two"):
        server = fault_server(answer(b'{"Implements": ["VolumeDriver"], "Volumes": []}'))
        (tmp_path / f"{name}.spec").write_text(server.address)
    recorder = Recorder()
    with PluginManager(LocalRegistry(tmp_path), observers=[recorder]) as pm:
        for driver in pm.drivers(extframe.VolumeDriver).values():
            driver.list()
    calls = sorted((call.method, call.plugin) for call, _ in recorder.ended)
    expected = [(method, name) for method in ("Plugin.Activate", "VolumeDriver.List") for name in ("one", "two")]
    assert calls == expected
    recorder.ended.clear()

    async def main():
        async with AsyncPluginManager(LocalRegistry(tmp_path), observers=[recorder]) as pm:
            for driver in (await pm.drivers(extframe.AsyncVolumeDriver)).values():
                await driver.list()

    run(main)
    assert sorted((call.method, call.plugin) for call, _ in recorder.ended) == expected


@BOTH
def test_of_several_instances_the_one_that_answered_is_seen_and_each_handshake(fault_server, tmp_path, kind):
    server = fault_server(answer(b'{"Implements": ["VolumeDriver"]}'))
    gone = f"unix://{tmp_path}/gone.sock"
    recorder = Recorder()
    endpoints = [extframe.Endpoint(gone), extframe.Endpoint(server.address)]

    def use():
        with Client(gone, endpoints=endpoints, observers=[recorder]) as client:
            client.handshake(30)
            client.call("VolumeDriver.List", idempotent=True)
            client.call_each("VolumeDriver.Clean")

    async def use_async():
        async with AsyncClient(gone, endpoints=endpoints, observers=[recorder]) as client:
            await client.handshake(30)
            await client.call("VolumeDriver.List", idempotent=True)
            await client.call_each("VolumeDriver.Clean")

    use() if kind is Client else run(use_async)
    ended = {(call.method, call.address, type(outcome.error)) for call, outcome in recorder.ended}
    assert ended >= {
        ("Plugin.Activate", gone, ConnectError),
        ("Plugin.Activate", server.address, type(None)),
        ("VolumeDriver.List", server.address, type(None)),
        ("VolumeDriver.Clean", server.address, type(None)),
    }
    assert len(recorder.started) == len(recorder.ended)


def test_each_call_is_one_debug_line_without_arguments_and_headers(client_of, caplog):
    client = client_of(successively(answer(b"{}"), close_after_read), keep_alive=False)
    with caplog.at_level(logging.DEBUG, "extframe.client"):
        client.call("A.B", {"password": "s3cret"}, headers={"Authorization": "s3cret"})
        with pytest.raises(ConnectionLost):
            client.call("A.B", {"password": "s3cret"})
    first, second = (record.getMessage() for record in caplog.records)
    assert first.startswith(f"A.B on plugin 'rec' at {client.address}: status 200, ")
    assert "ms (connect " in first
    assert ": ConnectionLost, no response, " in second
    assert "s3cret" not in caplog.text
