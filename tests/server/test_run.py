"""Served plugins as processes: signals, drains, kill -9 and restart, and what they leave behind."""

from __future__ import annotations

import http.client
import os
import signal
import ssl
import threading
from types import SimpleNamespace

import pytest
from certificates import Authority
from faultserver import eventually
from lab import BOTH, AsyncLab, SyncLab, in_threads
from program import Program
from wire import Wire, post

from extframe.registry.local import LocalRegistry
from extframe.server import ServerTLS, asgi_app, serve, serving

PLUGIN = """
    import asyncio, sys, time
    from pathlib import Path
    from lab import AsyncLab, SyncLab
    from extframe.server import serve

    called, may_end = Path(sys.argv[1], "called"), Path(sys.argv[1], "may-end")

    def work():
        called.touch()
        while not may_end.exists():
            time.sleep(0.01)
        return "done"

    async def work_on_loop():
        called.touch()
        while not may_end.exists():
            await asyncio.sleep(0.01)
        return "done"

    driver = SyncLab(work) if sys.argv[2] == "SyncLab" else AsyncLab(work_on_loop)
    serve(driver, name="photos", directory=sys.argv[1], drain=float(sys.argv[3]))
    print("served to the end")
"""
"""Its calls to `work` make the file `called`, and end when there is the file `may-end`."""


@pytest.fixture
def start(short_path):
    """A function that starts the plugin `photos` and returns it and its address when it answers."""
    programs = []

    def start_plugin(lab=SyncLab, drain=5.0):
        program = Program(PLUGIN, short_path, lab.__name__, drain)
        programs.append(program)
        assert eventually(lambda: answers(f"unix://{short_path}/photos.sock"), timeout=60), program.stop(signal.SIGKILL)
        return program, f"unix://{short_path}/photos.sock"

    yield start_plugin
    for program in programs:
        program.__exit__(None, None, None)


def answers(address: str) -> bool:
    try:
        return post(address, "Plugin.Activate").status == 200
    except OSError:
        return False


# --- processes ----------------------------------------------------------------------------------------


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_a_signal_ends_it_with_0_and_the_socket_is_gone(start, short_path, number):
    program, _ = start()
    code, said = program.stop(number)
    assert code == 0
    assert said.endswith("served to the end\n")
    assert "Traceback" not in said
    assert [*short_path.iterdir()] == []


def test_it_says_where_it_listens_when_nobody_configured_logging(start):
    program, address = start()
    _, said = program.stop(signal.SIGTERM)
    assert f"plugin 'photos' (Lab) listens at {address}" in said


@pytest.mark.parametrize("lab", BOTH)
def test_a_stop_lets_calls_in_flight_end(start, short_path, lab):
    program, address = start(lab, drain=60)
    with Wire(address) as wire:
        wire.request("POST", "/Lab.Work", b"{}")
        assert eventually((short_path / "called").exists)
        program.process.send_signal(signal.SIGTERM)
        assert eventually(lambda: not (short_path / "photos.sock").exists(), timeout=30), "found while it stops"
        (short_path / "may-end").touch()
        assert wire.answer().json == {"Result": "done"}
    assert program.end()[0] == 0


@pytest.mark.parametrize("lab", BOTH)
def test_a_call_that_outlasts_the_drain_is_answered_an_error_and_the_end_is_0(start, short_path, lab):
    program, address = start(lab, drain=0.3)
    with Wire(address) as wire:
        wire.request("POST", "/Lab.Work", b"{}")
        assert eventually((short_path / "called").exists)
        program.process.send_signal(signal.SIGTERM)
        answer = wire.answer()
        assert (answer.status, answer.json["Err"]) == (500, "the plugin stopped before the call had ended")
    code, said = program.end()
    assert (code, said.endswith("served to the end\n")) == (0, True)


def test_a_client_that_says_nothing_does_not_hold_up_a_stop(start):
    program, address = start(drain=300)
    with Wire(address) as silent, Wire(address) as half, Wire(address) as idle:
        silent.connect()
        half.write(b"POST /Lab.Work HT")
        idle.post("Lab.Rest")
        assert program.stop(signal.SIGTERM, timeout=60)[0] == 0


def test_after_kill_9_in_the_middle_of_calls_it_starts_again_on_the_same_socket(start, short_path):
    for _ in range(3):
        program, address = start()
        calls = [Wire(address) for _ in range(10)]
        for wire in calls:
            wire.request("POST", "/Lab.Work", b"{}")
        program.stop(signal.SIGKILL)
        for wire in calls:
            with pytest.raises((OSError, ConnectionError)):
                wire.answer()
            wire.close()
        assert (short_path / "photos.sock").exists()
    program, address = start()
    assert post(address, "Lab.Rest").status == 200
    assert program.stop(signal.SIGTERM)[0] == 0


def test_a_second_plugin_of_the_same_name_says_why_it_cannot_start(start, short_path):
    _, address = start()
    with Program(PLUGIN, short_path, "SyncLab", 5) as second:
        code, said = second.end()
    assert code == 1
    assert "another process answers there" in said
    assert answers(address)


LAUNCHER = """
    import os, socket, sys
    opened = socket.socket(socket.AF_UNIX)
    opened.bind(sys.argv[1] + "/activated.sock")
    opened.listen()
    if sys.argv[2] == "systemd":
        os.dup2(opened.fileno(), 3)
        os.set_inheritable(3, True)
        os.environ |= {"LISTEN_PID": str(os.getpid()), "LISTEN_FDS": "1", "LISTEN_FDNAMES": "photos"}
        place = ""
    else:
        os.set_inheritable(opened.fileno(), True)
        place = f", fd={opened.fileno()}"
    plugin = "import os; from lab import AsyncLab; from extframe.server import serve; serve(AsyncLab(), name='photos'"
    os.execv(sys.executable, [sys.executable, "-c", plugin + place + "); print('LISTEN_FDS' in os.environ)"])
"""


@pytest.mark.parametrize("how", ["systemd", "descriptor"])
def test_a_socket_that_a_launcher_opened_is_served_and_stays(short_path, how):
    with Program(LAUNCHER, short_path, how, close_fds=True) as program:
        address = f"unix://{short_path}/activated.sock"
        assert eventually(lambda: answers(address), timeout=60), program.stop(signal.SIGKILL)
        assert post(address, "Lab.Work", {"Name": "a"}).json == {"Result": "a"}
        code, said = program.stop(signal.SIGTERM)
    assert code == 0
    assert said.endswith("False\n")
    assert (short_path / "activated.sock").exists()


# --- in the background --------------------------------------------------------------------------------


def test_a_plugin_in_the_background_is_gone_after_the_block():
    with serving(SyncLab(), name="photos") as plugin:
        assert plugin.address == f"unix://{plugin.directory}/photos.sock"
        assert answers(plugin.address)
    assert not plugin.directory.exists()
    assert not answers(plugin.address)


def test_what_the_block_raises_comes_out_and_the_plugin_ends():
    with pytest.raises(ZeroDivisionError), serving(SyncLab()) as plugin:
        _ = 1 / 0
    assert not answers(plugin.address)


def test_a_plugin_in_the_background_may_listen_at_tcp_and_is_found():
    with serving(AsyncLab(), name="photos", address="tcp://127.0.0.1:0") as plugin:
        found = LocalRegistry(plugin.directory / "none", [plugin.directory]).find("photos")
        assert found.address == plugin.address
        assert answers(plugin.address)


def test_a_plugin_in_the_background_leaves_a_given_directory(short_path):
    with serving(SyncLab(), directory=short_path):
        assert [path.name for path in short_path.iterdir()] == ["plugin.sock"]
    assert [*short_path.iterdir()] == []


def test_serving_leaves_no_thread_and_no_descriptor():
    with serving(SyncLab()):  # the first loads what stays
        pass
    threads, descriptors = threading.active_count(), len(os.listdir("/proc/self/fd"))
    for lab in BOTH * 3:
        with serving(lab()) as plugin:
            in_threads(*[lambda address=plugin.address: post(address, "Lab.Work", {"Seconds": 0.01})] * 20)
    assert eventually(lambda: threading.active_count() <= threads)
    assert eventually(lambda: len(os.listdir("/proc/self/fd")) <= descriptors)


def test_serve_may_run_in_a_thread_where_there_are_no_signals(short_path):
    failed = []

    def serve_a_busy_name():
        try:
            serve(SyncLab(), name="photos", directory=short_path)
        except OSError as refused:
            failed.append(refused)

    with serving(SyncLab(), name="photos", directory=short_path):
        in_threads(serve_a_busy_name)
    assert "another process answers there" in str(failed[0])


def test_a_server_that_cannot_start_raises_where_it_is_asked_for(monkeypatch):
    from extframe.server.http_server import HTTPServer

    async def fail(self, loop):
        raise OSError("no loop today")

    monkeypatch.setattr(HTTPServer, "_serve", fail)
    with pytest.raises(OSError, match="no loop today"), serving(SyncLab()):
        pass


def test_ctrl_c_while_a_server_starts_in_the_background_leaves_no_thread(monkeypatch):
    class Interrupted(threading.Event):
        def wait(self, timeout: float | None = None) -> bool:
            super().wait(timeout)
            raise KeyboardInterrupt

    interrupted = SimpleNamespace(**{**vars(threading), "Event": Interrupted})
    monkeypatch.setattr("extframe.server.http_server.threading", interrupted)
    with pytest.raises(KeyboardInterrupt), serving(SyncLab()):
        pass
    assert not [each for each in threading.enumerate() if each.name == "extframe-server"]


def test_an_application_runs_under_another_server_and_ends_with_it(short_path):
    import uvicorn

    app = asgi_app(SyncLab())
    server = uvicorn.Server(uvicorn.Config(app, uds=f"{short_path}/a.sock", log_config=None, http="h11"))
    thread = threading.Thread(target=server.run)
    thread.start()
    try:
        assert eventually(lambda: answers(f"unix://{short_path}/a.sock"), timeout=30)
        assert post(f"unix://{short_path}/a.sock", "Lab.Work", {"Name": "a"}).json == {"Result": "a"}
    finally:
        server.should_exit = True
        thread.join()
    assert eventually(lambda: not [each for each in threading.enumerate() if each.name == "extframe-worker"])


# --- TLS ----------------------------------------------------------------------------------------------


@pytest.fixture
def tls(short_path):
    authority = Authority(short_path)
    return authority, authority.issue("server", "127.0.0.1"), authority.issue("host")


def connect(authority, certificate=None) -> ssl.SSLContext:
    context = ssl.create_default_context(cafile=authority.ca_file)
    if certificate is not None:
        context.load_cert_chain(certificate.cert_file, certificate.key_file)
    return context


def test_over_tls_a_client_with_a_certificate_is_let_in_and_others_are_not(tls):
    authority, server, client = tls
    options = ServerTLS(server.cert_file, server.key_file, client_ca_file=authority.ca_file)
    with serving(AsyncLab(), address="https://127.0.0.1:0", tls=options) as plugin:
        with Wire(plugin.address, tls=connect(authority, client)) as wire:
            assert wire.post("Lab.Work", {"Name": "a"}).json == {"Result": "a"}
        with Wire(plugin.address, tls=connect(authority)) as stranger, pytest.raises((ssl.SSLError, OSError)):
            stranger.post("Lab.Rest")
        with Wire(plugin.address) as plain, pytest.raises((http.client.HTTPException, OSError)):
            plain.post("Lab.Rest")
        with Wire(plugin.address, tls=connect(authority, client)) as wire:
            assert wire.post("Lab.Rest").status == 200


def test_over_tls_without_a_client_authority_everybody_is_let_in(tls):
    authority, server, _ = tls
    with (
        serving(SyncLab(), address="https://127.0.0.1:0", tls=ServerTLS(server.cert_file, server.key_file)) as plugin,
        Wire(plugin.address, tls=connect(authority)) as wire,
    ):
        assert wire.post("Lab.Work", {"Name": "a"}).json == {"Result": "a"}


def test_a_certificate_that_cannot_be_read_is_an_error_and_leaves_nothing(short_path):
    with (
        pytest.raises(OSError, match="No such file"),
        serving(
            SyncLab(),
            address="https://127.0.0.1:0",
            spec_directory=short_path,
            tls=ServerTLS("missing.pem", "missing.key"),
        ),
    ):
        pass
    assert [*short_path.iterdir()] == []
