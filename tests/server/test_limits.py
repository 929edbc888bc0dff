"""Hostile clients: a plugin's process stays small, and others are served meanwhile."""

from __future__ import annotations

import asyncio
import contextlib
import logging
import signal
import socket
import ssl
import threading
import time

import attacks
import pytest
from certificates import Authority
from faultserver import eventually
from lab import AsyncLab, SyncLab
from program import Program
from wire import Wire, post

from extframe.server import ServerTLS, serving

PLUGIN = """
    import logging, resource, sys, time
    from extframe.interface.declarations import Interface
    from extframe.interface.methods import rpc
    from extframe.server import serve

    class Lab(Interface, implements="Lab"):
        @rpc("Large", returns="Result")
        def large(self) -> str:
            raise NotImplementedError
        @rpc("Rest")
        def rest(self) -> None:
            raise NotImplementedError
        @rpc("Work", returns="Result")
        def work(self, name: str = "", seconds: float = 0.0, options: dict = {}) -> str:
            raise NotImplementedError

    LARGE = "x" * (10 << 20)

    class Driver(Lab):
        def large(self):
            return LARGE
        def rest(self):
            pass
        def work(self, name="", seconds=0.0, options={}):
            time.sleep(seconds)
            return name

    resource.setrlimit(resource.RLIMIT_NOFILE, (1024, resource.getrlimit(resource.RLIMIT_NOFILE)[1]))
    serve(Driver(), name="lab", directory=sys.argv[1])
"""
LIMIT = 64  # MiB over idle, under each attack


@pytest.fixture
def plugin(short_path):
    """A plugin with default limits in a process of its own, and the path of its socket."""
    path = f"{short_path}/lab.sock"
    with Program(PLUGIN, short_path, measured=False) as program:
        assert eventually(lambda: answers(path), timeout=60)
        yield program, path


def answers(path: str) -> bool:
    try:
        return post(f"unix://{path}", "Lab.Rest", timeout=10).status == 200
    except OSError:
        return False


@pytest.mark.parametrize(
    "attack",
    [attacks.header_lines, attacks.one_header, attacks.trailers, attacks.chunk_extensions, attacks.pipelined],
    ids=lambda attack: attack.__name__,
)
def test_a_request_without_end_is_cut_off_within_memory_and_cpu(plugin, attack):
    program, path = plugin
    usage = attacks.Usage(program.process.pid)
    sent = attack(path)
    assert answers(path)
    assert sent < 100 * attacks.MIB
    assert usage.grown < LIMIT
    assert usage.cpu < 15  # seconds; version 0.1 took 21 to 124 on an idle machine


@pytest.mark.parametrize("attack", [attacks.bodies_without_end, attacks.unread_responses])
def test_what_all_clients_together_hold_in_memory_is_limited(plugin, attack):
    program, path = plugin
    usage = attacks.Usage(program.process.pid)
    with attack(path):
        assert answers(path)
        assert usage.grown < LIMIT
    assert answers(path)


BUSY = """
    import asyncio, sys, time
    from extframe import Interface, rpc, serve
    from extframe.server import connections

    connections.STALLED = 0.1

    class Lab(Interface, implements="Lab"):
        @rpc("Large", returns="Result")
        def large(self) -> str:
            raise NotImplementedError
        @rpc("Rest")
        def rest(self) -> None:
            raise NotImplementedError

    LARGE = "x" * (10 << 20)

    class Driver(Lab):
        def __init__(self):
            self.waiting = []
        async def large(self):
            self.waiting.append(asyncio.get_running_loop().create_future())
            if len(self.waiting) == 30:
                for each in self.waiting[:-1]:
                    each.set_result(None)  # so that all go on in one turn of the loop
            else:
                await self.waiting[-1]
            time.sleep(0.04)
            return LARGE
        async def rest(self):
            pass

    serve(Driver(), name="lab", directory=sys.argv[1])
"""


def test_a_loop_that_is_busy_while_clients_do_not_read_holds_no_more_for_them(short_path):
    path = f"{short_path}/lab.sock"
    with Program(BUSY, short_path, measured=False) as program:
        assert eventually(lambda: answers(path), timeout=60)
        usage = attacks.Usage(program.process.pid)
        with attacks.unread_responses(path):
            assert eventually(lambda: usage.grown > 20, timeout=60)
            assert answers(path)
            assert usage.grown < LIMIT


def test_a_client_that_does_not_read_makes_room_for_others(caplog):
    statuses = []

    def ask() -> bool:
        statuses.append(post(plugin.address, "Lab.Work", {}).status)
        return statuses[-1] == 200

    driver = SyncLab(lambda: "x" * (10 << 20))
    with serving(driver, buffer=15 << 20, write_timeout=600) as plugin, Wire(plugin.address) as stalled:
        stalled.request("POST", "/Lab.Work", b"{}")
        stalled.sock.recv(1, socket.MSG_PEEK)  # the rest of the response waits
        assert eventually(ask, timeout=60)
    assert set(statuses) <= {200, 503}
    assert "its client does not read, and others need the memory" in caplog.text


def test_silent_connections_make_room_for_others(plugin):
    program, path = plugin
    with attacks.many_descriptors(), attacks.silent_connections(path) as opened:
        assert opened == 1100
        assert answers(path)
    _, said = program.stop(signal.SIGTERM)
    assert said.count("all 768 connections are taken (connections=)") == 1


def test_a_body_that_would_become_gigabytes_of_values_is_413(plugin):
    program, path = plugin
    usage = attacks.Usage(program.process.pid)
    body = b'{"options": {"a": [' + b"[]," * (5 << 20) + b"[]]}}"
    answer = post(f"unix://{path}", "Lab.Work", body)
    assert answer.status == 413
    assert "too many JSON values" in answer.json["Err"]
    assert usage.grown < LIMIT


def test_text_that_looks_like_many_values_is_accepted():
    with serving(SyncLab()) as plugin:
        assert post(plugin.address, "Lab.Work", {"Name": "[]," * 1_000_000}).status == 200


def test_without_descriptors_connections_are_accepted_again_without_a_busy_loop(short_path):
    path, source = (
        f"{short_path}/lab.sock",
        PLUGIN.replace("(1024, ", "(64, ").replace("(Driver(),", "(Driver(), connections=5000,"),
    )
    with Program(source, short_path, measured=False) as program:
        assert eventually(lambda: answers(path), timeout=60)
        with attacks.silent_connections(path, count=200) as opened:
            assert opened > 64
            usage, began = attacks.Usage(program.process.pid), time.monotonic()
            assert answers(path)
            time.sleep(2)
            assert usage.cpu < (time.monotonic() - began) / 2
        assert answers(path)
        _, said = program.stop(signal.SIGTERM)
    assert said.count("cannot accept connections: Too many open files") == 1
    assert "Traceback" not in said


# --- TLS ----------------------------------------------------------------------------------------------


@pytest.fixture
def over_tls(short_path):
    """A function that serves over TLS, and the context of its clients."""
    authority = Authority(short_path)
    server = authority.issue("server", "127.0.0.1")
    tls = ServerTLS(server.cert_file, server.key_file)

    def serve_over_tls(**limits):
        return serving(SyncLab(), address="https://127.0.0.1:0", tls=tls, **limits)

    return serve_over_tls, ssl.create_default_context(cafile=authority.ca_file)


def unfinished_handshake(address: str, begun: bytes = b"") -> socket.socket:
    host, _, port = address.rpartition("/")[2].partition(":")
    connection = socket.create_connection((host, int(port)), timeout=30)
    connection.sendall(begun)
    return connection


@pytest.mark.parametrize("begun", [b"", b"\x16\x03\x01\x02\x00\x01"], ids=["silent", "half a message"])
def test_a_tls_handshake_that_is_not_finished_ends_with_the_time_of_a_request(over_tls, begun):
    serve_over_tls, _ = over_tls
    with (
        serve_over_tls(request_timeout=0.3) as plugin,
        contextlib.suppress(ConnectionResetError),
        unfinished_handshake(plugin.address, begun) as connection,
    ):
        assert connection.recv(1) == b""


def test_tls_handshakes_count_as_connections_and_the_oldest_makes_room(over_tls, caplog):
    serve_over_tls, context = over_tls
    with serve_over_tls(connections=3) as plugin, contextlib.ExitStack() as stack:
        silent = [stack.enter_context(unfinished_handshake(plugin.address)) for _ in range(5)]
        with contextlib.suppress(ConnectionResetError):
            assert silent[0].recv(1) == b""
        with Wire(plugin.address, tls=context) as wire:
            assert wire.post("Lab.Rest").status == 200
    assert caplog.text.count("ended a TLS handshake to accept another connection") == 1


# --- time ---------------------------------------------------------------------------------------------


@pytest.mark.parametrize("begun", [b"POST /Lab.Rest HT", b"POST /Lab.Rest HTTP/1.1\r\nContent-Length: 9\r\n\r\n{"])
def test_an_incomplete_request_is_answered_with_408(begun):
    with serving(SyncLab(), request_timeout=0.3) as plugin:
        received = answered(plugin.address, begun)
    assert received.startswith(b"HTTP/1.1 408 ")
    assert b"request_timeout=" in received


def answered(address: str, begun: bytes) -> bytes:
    """Return the response to an incomplete request. A machine that stalls may send it when its connection is closed."""
    for _ in range(20):
        with Wire(address) as wire, contextlib.suppress(OSError):
            if received := wire.send_bytes(begun):
                return received
    return b""


def test_connections_that_never_send_a_request_and_idle_ones_are_closed():
    with serving(SyncLab(), request_timeout=0.3) as plugin, Wire(plugin.address) as silent:
        silent.connect()
        assert silent.read_until_closed() == b""
    with serving(SyncLab(), keep_alive=0.3) as plugin, Wire(plugin.address) as idle:
        assert idle.post("Lab.Rest").status == 200
        assert idle.read_until_closed() == b""


def test_a_client_that_does_not_read_is_disconnected(caplog):
    with serving(SyncLab(lambda: "x" * (4 << 20)), write_timeout=0.4) as plugin, Wire(plugin.address) as wire:
        wire.request("POST", "/Lab.Work", b"{}")
        assert eventually(lambda: "the client read nothing" in caplog.text, timeout=30)
        received = wire.read_until_closed()
        assert len(received) < 4 << 20


def test_when_all_connections_are_busy_another_is_answered_with_503(caplog):
    blocked = threading.Event()
    driver = SyncLab(lambda: blocked.wait(60) and "")
    with serving(driver, connections=2) as plugin, contextlib.ExitStack() as stack:
        busy = [stack.enter_context(Wire(plugin.address)) for _ in range(2)]
        for wire in busy:
            wire.request("POST", "/Lab.Work", b"{}")
        assert eventually(lambda: len(driver.log) == 2)
        for _ in range(3):
            with Wire(plugin.address) as wire:
                wire.connect()
                answer = wire.read_until_closed()
                assert answer.startswith(b"HTTP/1.1 503 ")
                assert b"connections=" in answer
        blocked.set()
        assert [wire.answer().status for wire in busy] == [200, 200]
    assert caplog.text.count("refused a connection") == 1


def test_when_all_threads_are_busy_a_call_is_answered_with_503_and_activation_says_so(caplog):
    blocked = threading.Event()
    driver = SyncLab(lambda: blocked.wait(60) and "")
    with serving(driver, threads=1, queue_timeout=0.3) as plugin, Wire(plugin.address) as stuck:
        stuck.request("POST", "/Lab.Work", b"{}")
        assert eventually(lambda: driver.log)
        for _ in range(2):
            answer = post(plugin.address, "Lab.Rest")
            assert (answer.status, "all 1 threads" in answer.json["Err"]) == (503, True)
        answer = post(plugin.address, "Plugin.Activate")
        assert (answer.status, "stuck" in answer.json["Err"]) == (503, True)
        blocked.set()
        assert stuck.answer().status == 200
        assert eventually(lambda: post(plugin.address, "Plugin.Activate").status == 200)
        assert eventually(lambda: post(plugin.address, "Lab.Rest").status == 200)
    assert caplog.text.count("refused a call") == 1


@pytest.mark.parametrize("lab", [SyncLab, AsyncLab])
def test_a_call_that_waits_too_long_for_another_with_the_same_name_is_answered_with_503(lab, caplog):
    released = threading.Event()

    async def wait_on_loop() -> str:
        while not released.is_set():
            await asyncio.sleep(0.01)
        return "done"

    driver = lab(wait_on_loop if lab is AsyncLab else lambda: released.wait(60) and "done")
    with serving(driver, serialize="name", queue_timeout=0.3) as plugin, Wire(plugin.address) as first:
        first.request("POST", "/Lab.Work", b'{"Name": "a"}')
        assert eventually(lambda: driver.log)
        for _ in range(2):
            answer = post(plugin.address, "Lab.Work", {"Name": "a"})
            assert (answer.status, "calls with the same name have taken 0.3 seconds" in answer.json["Err"]) == (
                503,
                True,
            )
        assert eventually(lambda: post(plugin.address, "Lab.Rest").status == 200)  # if its thread starts in time
        released.set()
        assert first.answer().status == 200
        assert eventually(lambda: post(plugin.address, "Lab.Work", {"Name": "a"}).status == 200)
    assert len(driver.log) == 2
    assert caplog.text.count("refused a call") == 1


@pytest.mark.parametrize("name", ["head_limit", "limit", "request_timeout", "connections", "buffer", "write_timeout"])
def test_a_limit_is_more_than_0(name):
    with pytest.raises(ValueError, match=f"{name} is 0; expected more than 0"), serving(SyncLab(), **{name: 0}):
        pass


def test_an_option_that_does_not_exist_is_a_type_error():
    with pytest.raises(TypeError, match="no option 'conections'"), serving(SyncLab(), conections=5):
        pass


# --- HTTP ---------------------------------------------------------------------------------------------

UPGRADES = [
    b"Connection: Upgrade, HTTP2-Settings\r\nUpgrade: h2c\r\nHTTP2-Settings: AAMAAABkAAQAoAAAAAIAAAAA\r\n",
    b"Connection: Upgrade\r\nUpgrade: websocket\r\nSec-WebSocket-Version: 13\r\n",
]


@pytest.mark.parametrize("upgrade", UPGRADES)
def test_an_upgrade_is_ignored_and_bytes_in_a_body_are_never_a_request(upgrade):
    inner = b"POST /Lab.Rest HTTP/1.1\r\nContent-Length: 0\r\n\r\n"
    body = b'{"Name":"ab"}' + b" " * 10
    smuggling = b"POST /Lab.Work HTTP/1.1\r\n%bContent-Length: %d\r\n\r\n%b" % (upgrade, len(inner), inner)
    good = b"POST /Lab.Work HTTP/1.1\r\n%bContent-Length: %d\r\n\r\n%b" % (upgrade, len(body), body)
    driver = SyncLab()
    with serving(driver) as plugin, Wire(plugin.address) as wire:
        wire.write(good + smuggling)
        wire.sock.shutdown(1)
        received = wire.read_until_closed()
    assert received.count(b"\r\ncontent-length: ") == 2
    assert b'{"Result":"ab"}' in received
    assert b"HTTP/1.1 400 " in received


@pytest.mark.parametrize("place", [{}, {"address": "tcp://127.0.0.1:0"}])
@pytest.mark.parametrize("lab", [SyncLab, AsyncLab])
def test_a_client_that_closes_its_side_gets_its_answer(lab, place):
    with serving(lab(), **place) as plugin, Wire(plugin.address) as wire:
        wire.write(b'POST /Lab.Work HTTP/1.1\r\nContent-Length: 28\r\n\r\n{"Name":"a", "Seconds": 0.2}')
        wire.sock.shutdown(1)
        assert wire.read_until_closed().endswith(b'{"Result":"a"}\n')


@pytest.mark.parametrize("header", ["Origin", "Sec-Fetch-Site", "sec-fetch-mode"])
def test_requests_of_web_pages_are_403_and_one_log_line(header, caplog):
    with serving(SyncLab()) as plugin, Wire(plugin.address) as wire:
        assert [wire.post("Lab.Work", {}, **{header: "null"}).status for _ in range(3)] == [403] * 3
        assert wire.post("Lab.Work", {}).status == 200
    assert caplog.text.count("web page") == 1


def test_clients_that_pipeline_and_leave_cost_no_traceback(caplog):
    caplog.set_level(logging.DEBUG)
    with serving(SyncLab()) as plugin:
        for _ in range(50):
            with Wire(plugin.address) as wire:
                wire.write(b'POST /Lab.Work HTTP/1.1\r\nContent-Length: 17\r\n\r\n{"Seconds": 0.01}' * 20)
        assert eventually(lambda: post(plugin.address, "Lab.Rest").status == 200)
    assert not [record for record in caplog.records if record.exc_info or record.levelno >= logging.WARNING]


# --- logs and signals ---------------------------------------------------------------------------------


def test_a_plugin_whose_stderr_nobody_reads_goes_on_and_ends_with_sigterm(short_path):
    program = """
        import sys
        from lab import SyncLab
        from extframe.server import serve
        def fail():
            raise ValueError("x" * 2000)
        serve(SyncLab(fail), name="lab", directory=sys.argv[1])
    """
    with Program(program, short_path) as started:
        address = f"unix://{short_path}/lab.sock"
        assert eventually(lambda: answers(f"{short_path}/lab.sock"), timeout=60)
        with Wire(address) as wire:
            assert {wire.post("Lab.Work", {}).status for _ in range(200)} == {500}
        started.process.send_signal(signal.SIGTERM)
        assert started.process.wait(timeout=30) == 0


def test_sighup_ends_it_as_sigterm_does(plugin, short_path):
    program, _ = plugin
    code, said = program.stop(signal.SIGHUP)
    assert code == 0
    assert "plugin 'lab' has stopped" in said
    assert [*short_path.iterdir()] == []


def test_a_second_signal_ends_the_wait_for_calls(short_path):
    program = """
        import sys, time
        from lab import SyncLab
        from extframe.server import serve
        serve(SyncLab(lambda: time.sleep(300)), name="lab", directory=sys.argv[1], drain=300)
    """
    with Program(program, short_path) as started, Wire(f"unix://{short_path}/lab.sock") as wire:
        assert eventually(lambda: answers(f"{short_path}/lab.sock"), timeout=60)
        wire.request("POST", "/Lab.Work", b"{}")
        time.sleep(0.3)
        started.process.send_signal(signal.SIGTERM)
        assert eventually(lambda: not (short_path / "lab.sock").exists(), timeout=30)
        assert started.stop(signal.SIGTERM)[0] == 0
