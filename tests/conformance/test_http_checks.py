"""How a plugin speaks HTTP: each fault is found and named, and no host's tolerance is a failure."""

from __future__ import annotations

import contextlib
import re
import socket
import threading

import pytest
from conformance_runs import STEP, faults, implementing, run, with_verdict
from faultserver import Peer, Request, read_and_hang, reply
from lab import in_threads
from scripted_plugin import VOLUMES, answers, at_a_time, error, ok, scripted

from extframe.conformance import Verdict

UPGRADE, PIECES, HALF = (
    "a request with Upgrade: h2c",
    "VolumeDriver.Get: a body in two pieces",
    "a client that half-closes",
)


def test_a_scripted_plugin_passes(fault_server):
    assert faults(run(fault_server(scripted()).address)) == {}


# --- connections --------------------------------------------------------------------------------------


def close_after_response(headers: str = "", version: bytes = b"HTTP/1.1"):
    def behaviour(peer: Peer) -> None:
        if request := peer.read_request():
            peer.send(
                answers({})(request).replace(b"HTTP/1.1", version, 1).replace(b"\r\n", f"\r\n{headers}".encode(), 1)
            )

    return behaviour


def with_bare_lf(peer: Peer) -> None:
    while request := peer.read_request():
        peer.send(answers({})(request).replace(b"\r\n", b"\n"))


@pytest.mark.parametrize(
    ("behaviour", "words"),
    [
        (close_after_response("Connection: close\r\n"), "each response ends its connection, and says so"),
        (close_after_response(version=b"HTTP/1.0"), "no connection is reused: HTTP/1.0"),
        (with_bare_lf, "or a response that is not quite HTTP/1.1"),
    ],
    ids=["Connection: close", "HTTP/1.0", "bare LF"],
)
def test_responses_after_which_no_connection_is_reused_are_a_note(fault_server, behaviour, words):
    results = run(fault_server(behaviour).address)
    assert faults(results).keys() == {"two calls on one connection"}
    assert results["two calls on one connection"].verdict is Verdict.NOTE
    assert words in results["two calls on one connection"].reason


def test_closing_each_connection_without_saying_so_is_a_warning(fault_server):
    results = run(fault_server(close_after_response()).address)
    assert set(faults(results)) == {"two calls on one connection"}
    assert set(with_verdict(results, Verdict.WARN)) == {"two calls on one connection"}


class SingleThread:
    """A plugin with one thread and one connection at a time, as http.server and Flask's development server are."""

    def __init__(self, path: str) -> None:
        self.listener = socket.socket(socket.AF_UNIX)
        self.listener.bind(path)
        self.listener.listen(5)
        self.thread = threading.Thread(target=self.serve)
        self.thread.start()

    def serve(self) -> None:
        with contextlib.suppress(OSError):
            while True:
                with self.listener.accept()[0] as connection, contextlib.suppress(EOFError, ConnectionError):
                    self.respond(Peer(connection, Recorder(), 0))

    def respond(self, peer: Peer) -> None:
        if request := peer.read_request():
            peer.send(answers({})(request).replace(b"HTTP/1.1", b"HTTP/1.0", 1))

    def close(self) -> None:
        self.listener.shutdown(socket.SHUT_RDWR)
        self.thread.join(10)
        self.listener.close()


class Recorder:
    def __init__(self) -> None:
        self.requests: list[Request] = []


def test_a_plugin_with_a_single_thread_passes_the_concurrent_calls(short_path):
    plugin = SingleThread(f"{short_path}/single.sock")
    try:
        results = run(f"unix://{short_path}/single.sock", timeout=STEP)
    finally:
        plugin.close()
    assert results["concurrent calls"].reason == "8 at a time"
    assert {name: results[name].verdict.value for name in faults(results)} == {
        "two calls on one connection": "note",
        "a call during a silent connection": "warn",
    }


def test_a_plugin_that_serves_few_connections_at_a_time_fails_where_the_engine_keeps_as_many(fault_server):
    addresses = [fault_server(at_a_time(threads, scripted())).address for threads in (1, 3)]
    one, three = in_threads(*(lambda address=address: run(address, timeout=STEP) for address in addresses))
    assert set(with_verdict(one, Verdict.FAIL)) == {"a call during two idle connections"}
    assert "with 1 idle connections open" in one["a call during two idle connections"].reason
    assert faults(three) == {}


def test_a_response_with_an_error_to_one_of_several_callers_is_found(fault_server):
    callers, lock = [], threading.Lock()

    def overloaded(request) -> bytes:
        with lock:
            callers.append(request)
        try:
            threading.Event().wait(0.1)
            return error("busy", "503 Busy") if len(callers) > 2 else VOLUMES["Plugin.Activate"]
        finally:
            with lock:
                callers.pop()

    failed = with_verdict(run(fault_server(scripted({"Plugin.Activate": overloaded})).address), Verdict.FAIL)
    assert failed == {"concurrent calls": 'status 503: {"Err": "busy"}'}


# --- headers ------------------------------------------------------------------------------------------


def test_a_plugin_that_requires_a_host_header_fails(fault_server):
    def picky(request) -> bytes:
        host = dict(request.headers).get("Host")
        return VOLUMES["Plugin.Activate"] if host else error("no Host", "400 Bad Request")

    results = run(fault_server(scripted({"Plugin.Activate": picky})).address)
    assert with_verdict(results, Verdict.FAIL) == {
        "headers as Docker's engine sends them": 'status 400: {"Err": "no Host"}'
    }


def test_a_plugin_that_rejects_podmans_content_type_fails_if_podman_can_use_it(fault_server):
    def picky(points: bytes):
        def answer(request) -> bytes:
            kind = dict(request.headers).get("Content-Type", "application/json")
            return points if kind == "application/json" else error("415", "415 Unsupported")

        return answer

    for point, verdict in {"VolumeDriver": Verdict.FAIL, "Backup": Verdict.NOTE}.items():
        results = run(fault_server(scripted({"Plugin.Activate": picky(implementing(point))})).address)
        assert results["headers as podman sends them"].verdict is verdict


def test_a_plugin_that_changes_its_handshake_fails(fault_server):
    count = iter(range(1000))
    activate = lambda request: ok({"Implements": ["VolumeDriver", "authz"][: 1 + (next(count) % 2)]})  # noqa: E731
    results = run(fault_server(scripted({"Plugin.Activate": activate})).address)
    assert "the second response differs" in with_verdict(results, Verdict.FAIL)["handshake, a second time"]


# --- unusual requests ---------------------------------------------------------------------------------


def test_a_body_is_read_although_it_arrives_in_two_pieces(fault_server):
    def behaviour(peer: Peer) -> None:
        head, end, body = b"", b"", b""
        while not end:
            data = peer.socket.recv(1 << 17)
            if not data:
                return
            head, end, body = (head + data).partition(b"\r\n\r\n")
        size = re.search(rb"(?i)content-length: (\d+)", head)
        whole = Request(head + end, body)
        response = answers({})(whole) if len(body) >= int(size[1] if size else 0) else error("EOF", "400 Bad Request")
        peer.send(response.replace(b"\r\n", b"\r\nConnection: close\r\n", 1))

    results = run(fault_server(behaviour).address, timeout=STEP)
    assert results[PIECES].verdict is Verdict.FAIL
    assert results[PIECES].reason == "status 400, but 500 if it arrives in one piece"
    assert results["a request in pieces"].verdict in (Verdict.PASS, Verdict.WARN)


def test_an_upgrade_offer_that_loses_the_request_is_a_warning_and_one_that_is_accepted_a_note(fault_server):
    def refuse(request) -> bytes:
        return error("426", "426 Upgrade") if b"Upgrade: h2c" in request.head else VOLUMES["Plugin.Activate"]

    def switch(request) -> bytes:
        if b"Upgrade: h2c" in request.head:
            return b"HTTP/1.1 101 Switching Protocols\r\nConnection: Upgrade\r\nUpgrade: h2c\r\n\r\n\0\0\6\4\0\0\0\0\0"
        return VOLUMES["Plugin.Activate"]

    assert faults(run(fault_server(scripted({"Plugin.Activate": refuse})).address)) == {
        UPGRADE: 'status 426: {"Err": "426"}'
    }
    results = run(fault_server(scripted({"Plugin.Activate": switch})).address, timeout=STEP)
    assert {name: results[name].verdict for name in faults(results)} == {UPGRADE: Verdict.NOTE}


def test_a_client_that_half_closes_without_getting_a_response_is_a_warning(fault_server):
    upgrades = []  # the next client after the one that offers an upgrade half-closes

    def behaviour(peer: Peer) -> None:
        while request := peer.read_request():
            if upgrades and peer.socket.recv(1) == b"":
                upgrades.clear()
                return  # as a server that cancels what it does for a client that is gone
            if b"Upgrade: h2c" in request.head:
                upgrades.append(request)
            peer.send(answers({})(request))

    results = run(fault_server(behaviour).address, timeout=STEP)
    assert {name: results[name].verdict for name in faults(results)} == {HALF: Verdict.WARN}


def test_get_with_the_response_of_post_is_a_note(fault_server):
    results = run(fault_server(scripted({"GET": implementing("VolumeDriver")})).address)
    assert {name: result.verdict for name, result in results.items() if name in faults(results)} == {
        "GET": Verdict.NOTE
    }


def test_a_plugin_that_dies_of_what_no_host_sends_is_warned_about_after_all_other_checks(fault_server):
    def behaviour(peer: Peer) -> None:
        while request := peer.read_request():
            if request.head.startswith(b"\x16"):
                server.behaviour = read_and_hang
                return
            peer.send(answers({})(request))

    server = fault_server(behaviour)
    results = run(server.address, timeout=STEP)
    assert {name: results[name].verdict for name in faults(results)} == {"input that is not HTTP": Verdict.WARN}
    assert "does not respond to any connection any more" in results["input that is not HTTP"].reason


def test_a_response_without_a_content_type_is_a_note(fault_server):
    results = run(fault_server(scripted({"VolumeDriver.List": reply(b"{}")})).address)
    assert faults(results) == {"content types of all responses": "VolumeDriver.List has the Content-Type (none)"}
