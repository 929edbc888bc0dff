"""A supervisor starts plugins when they are needed, explains their failures, restarts them and stops them."""

from __future__ import annotations

import asyncio
import errno
import gc
import hashlib
import logging
import marshal
import os
import pwd
import re
import shutil
import signal
import socket
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from itertools import count
from pathlib import Path
from types import SimpleNamespace

import pytest
from program import Program
from supervised import PATIENCE, Plugins, eventually, runs

import extframe
from extframe import ActivationError, ExtframeError, PluginNotFound, ProcessState, SpecError
from extframe.supervisor import output, plugin_socket
from extframe.supervisor.config import PluginConfig
from extframe.supervisor.launcher import Launcher
from extframe.supervisor.plugin_socket import PluginSocket
from extframe.supervisor.process_run import ProcessRun
from extframe.supervisor.run_directory import RunDirectory
from extframe.supervisor.status_files import RunningHosts


@pytest.fixture
def plugins(short_path: Path) -> Plugins:
    return Plugins(short_path)


@pytest.fixture(autouse=True)
def patience(monkeypatch: pytest.MonkeyPatch) -> None:
    """Wait for how a process ended, and for its last output, also on a machine that stalls."""
    monkeypatch.setattr("extframe.supervisor.supervisor.SETTLE", PATIENCE)
    monkeypatch.setattr("extframe.supervisor.process_run.OUTPUT_TIMEOUT", PATIENCE)


@pytest.fixture
def supervisor(plugins: Plugins) -> Iterator[extframe.Supervisor]:
    with plugins.supervisor() as supervisor:
        yield supervisor


@pytest.fixture
def pm(supervisor: extframe.Supervisor) -> Iterator[extframe.PluginManager]:
    with extframe.PluginManager(supervisor, groups=()) as manager:
        yield manager


def volumes(pm: extframe.PluginManager, name: str = "photos") -> extframe.VolumeDriver:
    return pm.driver(name, extframe.VolumeDriver)


def running(supervisor: extframe.Supervisor, name: str = "photos") -> extframe.PluginStatus:
    """Return the status of a plugin that has answered the supervisor's handshake, too."""
    eventually(lambda: supervisor.status(name).state is ProcessState.RUNNING)
    return supervisor.status(name)


# --- start ----------------------------------------------------------------------------------------------


def test_fifty_threads_that_need_a_plugin_at_once_start_it_once(plugins, supervisor, pm):
    plugins.write("photos")
    assert supervisor.scan() == ["photos"]
    assert supervisor.status("photos").state is ProcessState.IDLE
    results: list[object] = []
    threads = [threading.Thread(target=lambda: results.append(volumes(pm).list())) for _ in range(50)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert results == [[]] * 50
    status = running(supervisor)
    assert (status.state, status.restarts, status.exit) == (ProcessState.RUNNING, 0, None)
    assert list(status.last_lines) == [f"pid {status.pid}"]
    assert status.started is not None
    assert status.source == str(plugins.directory / "photos.toml")


def test_a_plugin_runs_once_its_process_has_answered_and_is_known(plugins, supervisor, monkeypatch):
    """The process that starts plugins may be held up before it reports the process id."""
    kept: list[dict] = []
    receive = Launcher.receive

    def receive_and_keep(launcher: Launcher) -> list[dict] | None:
        messages = receive(launcher)
        kept.extend(each for each in messages or () if "pid" in each)
        return None if messages is None else [each for each in messages if each not in kept]

    with monkeypatch.context() as patch:
        patch.setattr(Launcher, "receive", receive_and_keep)
        plugins.write("photos", start="always")
        supervisor.scan()
        processes = supervisor._running
        eventually(lambda: kept and processes.plugins["photos"]._policy.is_good)
        assert (supervisor.status("photos").state, supervisor.status("photos").pid) == (ProcessState.STARTING, None)
    processes.loop.call(lambda: processes.plugins["photos"].started(kept[0]["pid"]))
    status = supervisor.status("photos")
    assert (status.state, status.pid) == (ProcessState.RUNNING, kept[0]["pid"])


@pytest.mark.parametrize(("actions", "socket_mode"), [([], "inherited"), (["own:{socket}"], "own")])
def test_a_plugin_that_answers_with_errors_until_it_is_ready_runs_then(plugins, supervisor, actions, socket_mode):
    plugins.write("photos", "unready:2", *actions, socket=socket_mode, start="always")
    supervisor.scan()
    assert running(supervisor).restarts == 0


def test_a_plugin_runs_although_there_was_no_descriptor_for_the_first_handshake(plugins, supervisor, monkeypatch):
    def refuse_once(*arguments: object) -> socket.socket:
        refused.append(arguments)
        if len(refused) == 1:
            raise OSError(errno.EMFILE, "too many open files")
        return socket.socket(*arguments)

    refused: list[tuple[object, ...]] = []
    refusing = SimpleNamespace(**{**vars(socket), "socket": refuse_once})
    monkeypatch.setattr("extframe.supervisor.handshake_probe.socket", refusing)
    plugins.write("photos", start="always")
    supervisor.scan()
    assert running(supervisor).restarts == 0
    assert len(refused) == 2


def test_a_failed_start_is_reported_with_status_and_last_line(plugins, pm):
    plugins.write("photos", "say:cannot read config.toml", "exit:3")
    with pytest.raises(ActivationError) as caught:
        pm.get("photos")
    text = str(caught.value)
    assert text.startswith("plugin 'photos' exited with status 3 ")
    assert text.endswith(" s after its start; it said: cannot read config.toml")
    assert isinstance(caught.value.__cause__, ExtframeError)


@pytest.mark.parametrize(
    ("keys", "expected"),
    [
        (
            {"command": ["/nowhere/photos"]},
            "was not started: cannot run .*/nowhere/photos.*: No such file or directory",
        ),
        ({"cwd": "/nowhere"}, "was not started: cannot enter the directory /nowhere: No such file"),
        ({"sha256": 64 * "0"}, "was not started: cannot run .*: its SHA-256 digest is [0-9a-f]{64}; expected 000"),
        ({"limits": {"nofile": 2**40}}, "was not started: cannot set the limit nofile to 1099511627776: "),
    ],
)
def test_a_program_that_cannot_be_run_is_reported_at_once(plugins, pm, keys, expected):
    plugins.write("photos", **keys)
    with pytest.raises(ActivationError, match=f"^plugin 'photos' {expected}"):
        pm.get("photos")


@pytest.mark.parametrize(
    ("keys", "expected"),
    [
        ({"command": ["no-such-program"]}, "photos.toml: key 'command' is 'no-such-program', which is not in PATH"),
        ({"user": "no-such-user"}, "photos.toml: key 'user' is 'no-such-user'; expected a user of this system"),
        ({"restart": "sometimes"}, "photos.toml: key 'restart' is 'sometimes'; expected"),
    ],
)
def test_a_mistake_in_the_file_is_a_spec_error(plugins, pm, keys, expected):
    path = plugins.write("photos", **keys)
    with pytest.raises(SpecError, match=expected) as caught:
        pm.get("photos")
    assert caught.value.source == str(path)
    with pytest.raises(PluginNotFound, match=f"looked for music.toml in {plugins.directory}"):
        pm.get("music")
    with pytest.raises(SpecError, match="cannot be a plugin's name"):
        pm.get("../photos")


def test_a_process_that_never_accepts_is_an_error_that_says_so(plugins, supervisor, pm):
    plugins.write("photos", "say:I think", "sleep:600")
    supervisor.start("photos")
    eventually(lambda: supervisor.status("photos").last_lines)
    with pytest.raises(ActivationError, match="runs as process .* has not accepted a connection .*LISTEN_FDS"):
        pm.get("photos", timeout=2.5)
    own = [sys.executable, "-c", "import time; print('mine is {socket}', flush=True); time.sleep(600)"]
    plugins.write("music", command=own, socket="own")
    supervisor.start("music")
    eventually(lambda: supervisor.status("music").last_lines)
    with pytest.raises(
        ActivationError, match=r"has not accepted a connection .*\{socket\} in 'command'.*it said: mine"
    ):
        pm.get("music", timeout=2.5)


def test_a_program_may_make_its_socket_itself(plugins, supervisor, pm):
    plugins.write("photos", "own:{socket}", socket="own")
    assert volumes(pm).list() == []
    pid = running(supervisor).pid
    os.kill(pid, signal.SIGKILL)
    pm.get("photos", wait=30)  # until the next process has made its socket
    assert volumes(pm).list() == []
    assert supervisor.status("photos").pid not in (None, pid)


def test_the_program_is_verified_through_the_descriptor_that_is_executed(plugins, pm):
    true = shutil.which("true")
    digest = hashlib.sha256(Path(true).read_bytes()).hexdigest()
    plugins.write("photos", command=[true], sha256=digest)
    with pytest.raises(ActivationError, match="exited with status 0"):
        pm.get("photos")
    script = plugins.directory / "script"
    script.write_text("#!/bin/sh\n")
    script.chmod(0o755)
    plugins.write("music", command=[str(script)], sha256=hashlib.sha256(b"#!/bin/sh\n").hexdigest())
    with pytest.raises(ActivationError, match="sha256 can verify a program, not a script"):
        pm.get("music")


# --- what a process is given ----------------------------------------------------------------------------


def reported(pm: extframe.PluginManager, path: Path) -> dict:
    volumes(pm)
    return marshal.loads(path.read_bytes())


def test_the_environment_of_a_process_is_a_literal_list(plugins, pm, monkeypatch, short_path):
    kept = {"PATH": "/usr/bin", "HOME": "/h", "LANG": "C.UTF-8", "LC_ALL": "C.UTF-8", "TZ": "UTC", "TMPDIR": "/t"}
    kept |= {"XDG_CONFIG_HOME": "/c", "SSL_CERT_FILE": "/s", "https_proxy": "http://p", "AWS_REGION": "eu"}
    for name in list(os.environ):
        if "COV" not in name:
            monkeypatch.delenv(name)
    for name, value in {**kept, "SECRET": "s", "LD_PRELOAD": "", "PYTHONPATH": "/x", "LISTEN_FDS": "7"}.items():
        monkeypatch.setenv(name, value)
    place = short_path / "report"
    plugins.write(
        "photos", f"report:{place}", env={"LEVEL": "info"}, pass_env=["AWS_*"], limits={"nofile": 99}, cwd="/usr"
    )
    found = reported(pm, place)
    pid = str(found["pid"])
    expected = {**kept, "LEVEL": "info", "LISTEN_FDS": "1", "LISTEN_PID": pid, "LISTEN_FDNAMES": "photos"}
    expected["EXTFRAME_LIFELINE"] = "1"
    assert found["environment"] == expected
    assert found["descriptors"] == [0, 1, 2, 3]
    assert (found["nofile"], found["cwd"], found["session"]) == ((99, 99), "/usr", found["pid"])


def test_a_process_ignores_and_blocks_no_signal(plugins, pm):
    plugins.write("photos", command=["grep", "-E", "SigIgn|SigBlk", "/proc/self/status"])
    with pytest.raises(ActivationError) as caught:
        pm.get("photos")
    blocked, ignored = (int(mask, 16) for mask in re.findall(r"Sig(?:Blk|Ign):\s([0-9a-f]{16})", str(caught.value)))
    # Signals 32 and 33 belong to glibc: its posix_spawn can leave them ignored, and no program can reset them.
    assert (blocked, ignored & ~(0b11 << 31)) == (0, 0)


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can change the user")
def test_the_user_is_dropped(plugins, pm, short_path):
    nobody = pwd.getpwnam("nobody")
    short_path.chmod(0o755)
    place = short_path / "report"
    directory = short_path / "reports"
    directory.mkdir()
    os.chown(directory, nobody.pw_uid, nobody.pw_gid)
    place = directory / "report"
    program = directory / "tiny_plugin.py"
    shutil.copy(Path(__file__).parent.parent / "tiny_plugin.py", program)
    python = shutil.which("python3", path="/usr/local/bin:/usr/bin:/bin")
    if python is None:
        pytest.skip("no interpreter that another user may run")
    command = [python, "-I", "-S", str(program), f"report:{place}", "own:{socket}"]
    plugins.write("photos", command=command, socket="own", user="nobody")
    found = reported(pm, place)
    groups = sorted(os.getgrouplist("nobody", nobody.pw_gid))
    assert found["ids"] == (nobody.pw_uid, nobody.pw_gid, nobody.pw_uid, groups)
    assert found["environment"]["HOME"] == nobody.pw_dir
    assert not [name for name in found["environment"] if name.startswith("XDG_")]


def test_a_python_class_is_served_from_its_environment(plugins, short_path):
    environment = short_path / "environments" / "photos"
    subprocess.run([sys.executable, "-m", "venv", "--without-pip", environment], check=True, timeout=120)
    packages = next((environment / "lib").glob("python*/site-packages"))
    (packages / "host.pth").write_text("\n".join([str(Path(extframe.__file__).parent.parent), *sys.path]))
    (packages / "acme_photos.py").write_text(
        "import extframe, sys\n\n\nclass Photos(extframe.VolumeDriver):\n"
        "    def get(self, name):\n        return extframe.Volume(name=sys.prefix)\n"
    )
    path = plugins.directory / "photos.toml"
    path.write_text('python = { plugin = "acme_photos:Photos", environment = "photos" }')
    supervisor = plugins.supervisor(environments=short_path / "environments")
    with extframe.PluginManager(supervisor, groups=()) as pm:
        assert volumes(pm).get("a").name == str(environment)
        path.write_text('python = { plugin = "acme_photos:Photos", environment = "music" }')
        with pytest.raises(SpecError, match=r"environment 'music' is not installed in .*extframe sync music"):
            pm.get("photos")
    assert "acme_photos" not in sys.modules


# --- what it says ---------------------------------------------------------------------------------------


def test_what_a_process_says_is_logged_line_by_line(plugins, pm, caplog):
    caplog.set_level(logging.INFO, "extframe.plugin.photos")
    plugins.write("photos", "say:one\n\x1b[31mtwo\x1b[0m\a", "say:" + 10_000 * "x")
    volumes(pm)

    def logged() -> list[str]:
        return [record.getMessage() for record in caplog.records if record.name == "extframe.plugin.photos"]

    eventually(lambda: len(logged()) >= 4)
    lines = logged()
    assert lines[:2] == ["one", "two"]
    assert (len(lines[2]), lines[2][-4:]) == (8196, " ...")


def test_a_flood_is_limited_and_its_end_is_known(plugins, supervisor, pm, caplog):
    caplog.set_level(logging.INFO, "extframe.plugin.photos")
    plugins.write("photos", "flood:100000", "exit:1")
    with pytest.raises(ActivationError, match="exited with status 1 .*the flood is over$"):
        pm.get("photos")
    lines = [record.getMessage() for record in caplog.records if record.name == "extframe.plugin.photos"]
    assert any("lines were dropped" in line for line in lines)
    assert len(lines) < 100_000
    assert supervisor.status("photos").last_lines[-1] == "the flood is over"


def test_lines_over_the_limit_are_counted_and_the_last_ones_kept(monkeypatch):
    monkeypatch.setattr(output, "LINES_PER_SECOND", 3)
    monkeypatch.setattr(output, "LAST_LINES", 2)
    lines = output.LineFilter()
    assert lines.feed(b"one\ntwo\nthree\nfour\nfive\nsix\nsev", 1.0) == ["one", "two", "three"]
    assert (list(lines.last)[-2:], lines.has_dropped) == (["five", "six"], True)
    assert lines.feed(b"en\n", 1.5) == []
    assert lines.last[-1] == "seven"
    assert lines.feed(b"eight\n", 2.5) == ["(4 lines were dropped: more than 3 in a second)", "eight"]
    assert lines.feed(b"x" * 9000, 2.6) == ["x" * 8192 + " ..."]
    assert lines.feed(b"the rest of it", 2.7) == []
    assert lines.feed(b" is cut\nnine", 2.8) == []
    assert lines.end() == ["nine"]


def test_a_reader_that_is_closed_closes_no_other_file_after_a_fork(short_path):
    reader = output.OutputReader()
    end, stray = os.pipe()  # a process that left the plugin's group may keep it open
    process = output.ProcessOutput("photos", end, str(short_path / "log"))
    reader.add(process)
    reader.close(30)
    assert process.ended.is_set()
    os.dup2(stray, end)  # another file with its number
    reader.forget()
    os.close(end)
    os.close(stray)


# --- restart --------------------------------------------------------------------------------------------


def test_idempotent_calls_go_on_while_the_process_is_killed_again_and_again(plugins, supervisor, pm):
    plugins.write("photos")
    driver = volumes(pm)
    for _ in range(10):
        before = running(supervisor).pid
        os.kill(before, signal.SIGKILL)
        while supervisor.status("photos").pid in (None, before):
            assert driver.list() == []
        assert driver.list() == []
    status = supervisor.status("photos")
    assert (status.restarts, status.exit.status, status.exit.is_failure) == (10, -signal.SIGKILL, True)
    assert str(status.exit).startswith("was killed by SIGKILL ")


def test_connections_that_wait_end_with_the_process_and_idempotent_calls_go_on(plugins, supervisor, pm):
    plugins.write("photos")
    driver = volumes(pm)
    address = supervisor.find("photos").address.removeprefix("unix://")
    for _ in range(5):
        pid = running(supervisor).pid
        with connected(address) as served, connected(address) as waiting:  # the plugin serves one at a time
            os.kill(pid, signal.SIGKILL)
            assert [ended(each) for each in (served, waiting)] == [True, True]
        assert driver.list() == []


def test_a_process_that_is_forked_while_a_socket_is_made_does_not_keep_it(short_path, monkeypatch):
    def chmod_in_child(path: str, mode: int) -> None:
        plugin_socket._forget()  # as in a process that is forked now

    place = PluginSocket(f"{short_path}/photos.sock")
    monkeypatch.setattr(os, "chmod", chmod_in_child)
    with pytest.raises(OSError, match="Bad file descriptor"):
        place.listen()
    assert place.listening is None


def test_a_socket_is_replaced_at_once(short_path):
    place = PluginSocket(str(short_path / "photos.sock"))
    waiting = place.listen() and connected(place.path)
    outcomes: set[int] = set()
    done = threading.Event()

    def connect_again_and_again() -> None:
        while not done.is_set():
            with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as probe:
                outcomes.add(probe.connect_ex(place.path))

    prober = threading.Thread(target=connect_again_and_again)
    prober.start()
    for _ in range(1000):
        place.listen()
    done.set()
    prober.join()
    place.release()
    assert outcomes <= {0, errno.ECONNREFUSED, errno.ECONNRESET}  # and never ENOENT
    with waiting:
        assert ended(waiting)


def connected(address: str) -> socket.socket:
    made = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
    made.settimeout(30)
    made.connect(address)
    return made


def ended(connection: socket.socket) -> bool:
    """Wait for the end of a connection."""
    try:
        return connection.recv(1) == b""
    except ConnectionResetError:
        return True


def test_restarts_end_after_too_many_failures_until_the_file_changes(plugins, supervisor, pm):
    plugins.write("photos", "exit:1", give_up="3 in 60s", start="always")
    supervisor.scan()
    eventually(lambda: supervisor.status("photos").state is ProcessState.FAILED)
    assert supervisor.status("photos").restarts == 2
    with pytest.raises(ActivationError, match=r"exited with status 1 .*not started again until .*photos.toml changes"):
        pm.get("photos", wait=30)
    supervisor.start("photos")  # once more
    eventually(lambda: supervisor.status("photos").restarts == 5)
    eventually(lambda: supervisor.status("photos").state is ProcessState.FAILED)
    plugins.write("photos", give_up="3 in 60s")
    assert volumes(pm).list() == []


def test_a_call_of_a_plugin_that_is_not_restarted_says_how_it_ended(plugins, supervisor):
    plugins.write("photos", restart="never")
    with extframe.PluginManager(supervisor, groups=(), timeout=2.5) as pm:
        pm.get("photos", timeout=30)
        driver = volumes(pm)
        os.kill(running(supervisor).pid, signal.SIGKILL)
        eventually(lambda: supervisor.status("photos").state is ProcessState.FAILED)
        with pytest.raises(
            ExtframeError, match="VolumeDriver.List on plugin 'photos' .*: the plugin was killed by SIGKILL"
        ):
            driver.list()


@pytest.fixture
def stalling(monkeypatch) -> None:
    """Let ten seconds pass between any two looks at the clock."""
    times = count(1000, 10)
    for module in ("supervisor", "process_run"):
        monkeypatch.setattr(f"extframe.supervisor.{module}.monotonic", lambda: next(times))


def test_the_end_of_a_process_explains_a_failure_also_after_a_stall(plugins, supervisor, request, monkeypatch):
    plugins.write("photos", start="always", restart="never")
    spec = supervisor.find("photos")
    pid = running(supervisor).pid
    held = threading.Event()
    supervisor._running.loop.submit(lambda: held.wait(5))  # the end of the process is noted after that
    os.kill(pid, signal.SIGKILL)
    wait = supervisor._changed.wait

    def release_and_wait(timeout: float) -> bool:
        held.set()
        return wait(timeout)

    monkeypatch.setattr(supervisor._changed, "wait", release_and_wait)
    request.getfixturevalue("stalling")
    assert "was killed by SIGKILL" in supervisor.why(spec, ConnectionResetError())


def test_the_last_output_of_a_process_is_awaited_after_a_stall(stalling, monkeypatch):
    monkeypatch.setattr("extframe.supervisor.process_run.OUTPUT_TIMEOUT", 0.1)
    looks: list[Callable[[], object]] = []
    loop = SimpleNamespace(later=lambda seconds, look: looks.append(look))
    run = ProcessRun(0, PluginConfig("photos"), None, SimpleNamespace(loop=loop, run="/run"), lambda: None)
    run._output = SimpleNamespace(ended=threading.Event())
    ended: list[float] = []
    run.finish(ended.append)
    for _ in range(40):
        looks.pop()()
    assert not ended
    run._output.ended.set()
    looks.pop()()
    assert (len(ended), looks) == (1, [])
    run.finish(ended.append)
    run._output.ended = threading.Event()  # a log handler may take long
    run.finish(ended.append)
    while looks:
        looks.pop(0)()
    assert len(ended) == 3


def test_a_process_that_exits_well_is_started_by_the_next_connection(plugins, supervisor, pm):
    plugins.write("photos", "polite")
    driver = volumes(pm)
    pid = running(supervisor).pid
    os.kill(pid, signal.SIGTERM)
    eventually(lambda: supervisor.status("photos").state is ProcessState.IDLE)
    assert supervisor.status("photos").exit.status == 0
    assert driver.list() == []
    assert running(supervisor).pid != pid


def test_a_changed_file_restarts_the_process_and_a_removed_one_stops_it(plugins, supervisor, pm):
    path = plugins.write("photos")
    volumes(pm)
    first = running(supervisor).pid
    plugins.write("photos", "say:version 2")
    volumes(pm)
    second = running(supervisor).pid
    assert second != first
    eventually(lambda: "version 2" in supervisor.status("photos").last_lines)
    assert not runs(first)
    os.utime(path)
    supervisor.scan()
    assert supervisor.status("photos").pid == second
    path.unlink()
    assert supervisor.scan() == []
    eventually(lambda: not runs(second))
    with pytest.raises(PluginNotFound):
        pm.get("photos")


def test_a_plugin_that_is_found_while_its_process_ends_has_the_stamp_of_the_next_one(plugins, supervisor):
    plugins.write("photos", "deaf", start="always")
    before = supervisor.find("photos")
    running(supervisor)
    plugins.write("photos", "say:version 2", start="always", stop_timeout=0.1)
    found = supervisor.find("photos")
    with extframe.Client(found.address) as client:
        client.handshake(PATIENCE)
    eventually(lambda: "version 2" in supervisor.status("photos").last_lines)
    assert supervisor.stamp(found) == found.stamp == supervisor.find("photos").stamp
    assert supervisor.stamp(before) == found.stamp


def test_a_process_that_ends_is_the_same_until_it_has_ended(plugins, supervisor):
    plugins.write("photos", start="always", stop_timeout=PATIENCE)
    before = supervisor.find("photos")
    pid = running(supervisor).pid
    os.kill(pid, signal.SIGSTOP)
    restarting = threading.Thread(target=supervisor.restart, args=("photos",))
    restarting.start()
    eventually(lambda: supervisor.status("photos").state is ProcessState.STOPPING)
    found = supervisor.find("photos")
    assert supervisor.stamp(before) == before.stamp
    assert supervisor.stamp(found) == found.stamp != before.stamp
    os.kill(pid, signal.SIGCONT)
    restarting.join()
    running(supervisor)
    assert supervisor.stamp(found) == supervisor.stamp(before) == found.stamp


@pytest.fixture
def paused(supervisor, monkeypatch) -> Callable[[str, Callable[[], object]], None]:
    """Call a method of the supervisor's files, and pause: do something else, in another thread, before it returns."""

    def pause(method: str, meanwhile: Callable[[], object]) -> None:
        read = getattr(supervisor._files, method)
        other = threading.Thread(target=meanwhile)

        def read_and_pause(*arguments: object) -> object:
            found = read(*arguments)
            if threading.current_thread() is not other:
                monkeypatch.undo()
                other.start()
                other.join(1)  # the other one waits until what was read is used
            return found

        monkeypatch.setattr(supervisor._files, method, read_and_pause)
        joined.append(other)

    joined: list[threading.Thread] = []
    yield pause
    for thread in joined:
        thread.join(30)


def test_a_plugin_that_is_created_while_the_files_are_listed_is_not_stopped(plugins, supervisor, paused, caplog):
    caplog.set_level(logging.INFO, "extframe.supervisor")

    def create() -> None:
        plugins.write("photos", start="always")
        supervisor.find("photos")

    paused("scan", create)
    assert supervisor.scan() == []
    running(supervisor)
    assert "is stopped" not in caplog.text


def test_a_file_that_was_read_before_it_changed_is_not_used_after_that(plugins, supervisor, paused):
    def change() -> None:
        plugins.write("photos", "say:version 2", start="always")
        eventually(lambda: "version 2" in supervisor.status("photos").last_lines)
        running(supervisor)

    plugins.write("photos", "say:version 1", start="always")
    supervisor.scan()
    paused("read", change)
    supervisor.find("photos")
    eventually(lambda: "version 2" in supervisor.status("photos").last_lines)
    assert supervisor._running.plugins["photos"].generation == 1
    assert running(supervisor).restarts == 1


def test_stop_returns_although_the_file_is_removed_meanwhile(plugins, supervisor, monkeypatch):
    path = plugins.write("photos", "deaf", start="always", stop_timeout=1)
    supervisor.scan()
    pid = running(supervisor).pid
    do = supervisor._do

    def do_and_remove(*arguments: object) -> object:
        result = do(*arguments)
        path.unlink()
        supervisor.scan()
        return result

    monkeypatch.setattr(supervisor, "_do", do_and_remove)
    supervisor.stop("photos")
    assert not runs(pid)


def test_a_file_that_cannot_be_read_now_is_read_again(plugins, supervisor, monkeypatch, caplog):
    def refuse(path: str, status: object) -> object:
        raise OSError(errno.EMFILE, os.strerror(errno.EMFILE), path)

    plugins.write("photos", start="always")
    with monkeypatch.context() as patch:
        patch.setattr("extframe.supervisor.config_files.content_of", refuse)
        assert supervisor.scan() == ["photos"]
    assert "too many open files" in caplog.text
    assert not supervisor._running.plugins
    supervisor.scan()
    assert list(supervisor._running.plugins) == ["photos"]


def test_a_watch_starts_nothing_that_starts_on_demand(plugins, supervisor, pm):
    plugins.write("photos")
    plugins.write("music", start="always")
    activated: list[str] = []

    class Listener:
        @extframe.hookimpl
        def plugin_activated(self, name: str) -> None:
            activated.append(name)

    pm.register(Listener())
    with pm.watch():
        eventually(lambda: activated == ["music"])
        os.kill(running(supervisor, "music").pid, signal.SIGKILL)
        eventually(lambda: activated == ["music", "music"])
        assert supervisor.status("photos").state is ProcessState.IDLE
        supervisor.start("photos")  # the watch notices that it runs
        eventually(lambda: activated[2:] == ["photos"])


def test_an_async_host_has_the_same(plugins, supervisor):
    plugins.write("photos")
    plugins.write("music", "say:cannot read config.toml", "exit:3")
    plugins.write("films", start="always")

    async def use() -> None:
        async with extframe.AsyncPluginManager([supervisor], groups=()) as pm:
            async with pm.watch() as events:
                async for event in events:
                    assert event.name == "films"
                    break
                driver = await pm.driver("photos", extframe.AsyncVolumeDriver)
                os.kill(running(supervisor).pid, signal.SIGKILL)
                assert await driver.list() == []
                assert (await pm.get("photos")).name == "photos"
            with pytest.raises(ActivationError, match="exited with status 3 .*it said: cannot read config.toml"):
                await pm.get("music")

    asyncio.run(use())
    with pytest.raises(ExtframeError, match="this Supervisor is closed"):
        supervisor.find("photos")


# --- stop -----------------------------------------------------------------------------------------------


def test_stop_ends_the_whole_group_and_kills_what_ignores_it(plugins, supervisor, pm):
    plugins.write("photos", "deaf", "child", stop_timeout=0.2)
    volumes(pm)
    status = running(supervisor)
    eventually(lambda: any("child" in line for line in supervisor.status("photos").last_lines))
    child = next(int(line.split()[1]) for line in supervisor.status("photos").last_lines if "child" in line)
    supervisor.stop("photos")
    assert not runs(status.pid)
    eventually(lambda: not runs(child))
    stopped = supervisor.status("photos")
    assert (stopped.state, stopped.pid, stopped.exit.status) == (ProcessState.STOPPED, None, -signal.SIGKILL)
    with pytest.raises(ActivationError, match=r"plugin 'photos' was stopped; start it with Supervisor.start\(\)"):
        pm.get("photos")
    supervisor.restart("photos")
    assert volumes(pm).list() == []


def test_a_second_stop_does_not_spare_a_process_that_ignores_the_first(plugins, supervisor, pm):
    plugins.write("photos", "deaf", stop_timeout=1)
    volumes(pm)
    pid = running(supervisor).pid
    first = threading.Thread(target=supervisor.stop, args=("photos",))
    first.start()
    stop = ProcessState.STOPPING, ProcessState.STOPPED
    eventually(lambda: supervisor.status("photos").state in stop)
    supervisor.stop("photos")
    first.join()
    assert not runs(pid)
    assert supervisor.status("photos").exit.status == -signal.SIGKILL


def test_a_stop_is_not_undone_by_a_change_of_the_file_while_the_process_ends(plugins, supervisor, pm):
    plugins.write("photos", "deaf", stop_timeout=1)
    volumes(pm)
    stopping = threading.Thread(target=supervisor.stop, args=("photos",))
    stopping.start()
    stop = ProcessState.STOPPING, ProcessState.STOPPED
    eventually(lambda: supervisor.status("photos").state in stop)
    plugins.write("photos", "deaf", "say:version 2", stop_timeout=1)
    supervisor.scan()
    stopping.join()
    assert supervisor.status("photos").state is ProcessState.STOPPED
    supervisor.start("photos")
    eventually(lambda: "version 2" in supervisor.status("photos").last_lines)


def test_a_file_that_is_created_again_while_its_process_ends_is_served_after_it(plugins, supervisor, pm):
    path = plugins.write("photos", "deaf", stop_timeout=PATIENCE)
    driver = volumes(pm)
    pid = running(supervisor).pid
    path.unlink()
    assert supervisor.scan() == []
    plugins.write("photos", start="always")
    supervisor.scan()
    os.kill(pid, signal.SIGKILL)
    eventually(lambda: not runs(pid))
    assert driver.list() == []
    status = running(supervisor)
    assert (status.restarts, runs(status.pid)) == (1, True)
    assert RunningHosts(str(plugins.run)).report("photos").status.state is ProcessState.RUNNING


def test_closing_the_manager_stops_everything_and_leaves_nothing(plugins, short_path):
    before = (len(os.listdir("/proc/self/fd")), threading.active_count())
    for _ in range(3):
        for name in ("a", "b", "c"):
            plugins.write(name)
        supervisor = plugins.supervisor()
        with extframe.PluginManager([supervisor, extframe.LocalRegistry(short_path / "none")], groups=()) as pm:
            assert [plugin.name for plugin in pm.get_all("VolumeDriver")] == ["a", "b", "c"]
            pids = [running(supervisor, name).pid for name in "abc"]
        assert not any(map(runs, pids))
        with pytest.raises(ExtframeError, match="this Supervisor is closed"):
            supervisor.find("a")
        supervisor.close()
    assert [path.name for path in plugins.run.iterdir()] == [".lock"]
    eventually(lambda: (len(os.listdir("/proc/self/fd")), threading.active_count()) <= before)
    assert not [line for line in children() if "Z" in line.split()[2:3]]


@pytest.mark.parametrize("missing", ["output", "event_loop"])
@pytest.mark.parametrize("error", [ExtframeError, KeyboardInterrupt])
def test_a_supervisor_that_could_not_begin_leaves_nothing(plugins, supervisor, monkeypatch, missing, error):
    before = (len(os.listdir("/proc/self/fd")), threading.active_count())

    def start(thread: threading.Thread) -> None:
        if error is KeyboardInterrupt:  # it may come after the start of the thread
            thread.start()
        raise error("no thread")

    other = plugins.supervisor()
    with monkeypatch.context() as patch:
        patch.setattr(f"extframe.supervisor.{missing}.start", start)
        with pytest.raises(error, match="no thread"):
            other.scan()
    assert len(list(plugins.run.glob("host-*"))) == 1  # of the fixture
    gc.collect()
    eventually(lambda: (len(os.listdir("/proc/self/fd")), threading.active_count()) <= before)
    with other:
        assert other.scan() == []


def test_a_supervisor_that_a_signal_handler_closes_as_it_begins_leaves_nothing(plugins, monkeypatch):
    before = (len(os.listdir("/proc/self/fd")), threading.active_count())

    def begin(*arguments: object) -> RunDirectory:
        supervisor.close()
        return RunDirectory(*arguments)

    supervisor = plugins.supervisor()
    monkeypatch.setattr("extframe.supervisor.plugin_processes.RunDirectory", begin)
    with pytest.raises(ExtframeError, match="this Supervisor is closed"):
        supervisor.scan()
    assert [path.name for path in plugins.run.iterdir()] == [".lock"]
    eventually(lambda: (len(os.listdir("/proc/self/fd")), threading.active_count()) <= before)


def test_a_stop_right_after_the_start_is_not_lost_and_starts_and_stops_leave_nothing(plugins, supervisor):
    plugins.write("photos", command=["sleep", "600"], stop_timeout=2)

    def resources() -> tuple[object, ...]:
        launcher = supervisor._running._launcher.pid
        files = tuple(sorted(path.name for path in plugins.run.rglob("*")))
        children = Path(f"/proc/{launcher}/task/{launcher}/children").read_text()
        return len(os.listdir("/proc/self/fd")), len(os.listdir(f"/proc/{launcher}/fd")), children, files

    found: set[tuple[object, ...]] = set()
    for _ in range(20):
        supervisor.start("photos")
        supervisor.stop("photos")
        report = RunningHosts(str(plugins.run)).report("photos")  # what other programs see, at once
        assert report is not None
        assert report.status.state is ProcessState.STOPPED
        assert supervisor.status("photos").exit.status == -signal.SIGTERM
        if not found:
            found.add(resources())
    eventually(lambda: resources() in found)


def children() -> list[str]:
    found = Path(f"/proc/self/task/{os.getpid()}/children").read_text().split()
    return [Path(f"/proc/{pid}/stat").read_text() for pid in found]


def test_docker_and_shared_directories_are_refused(plugins, short_path):
    with pytest.raises(SpecError, match="is Docker's"):
        extframe.Supervisor(["/run/docker/plugins"])
    shared = short_path / "shared"
    shared.mkdir()
    shared.chmod(0o777)
    supervisor = extframe.Supervisor(plugins.directory, run_directory=shared / "run")
    with pytest.raises(SpecError, match="run directory .*is world-writable; fix with: chmod o-w"):
        supervisor.scan()


def test_a_host_that_starts_no_plugins_imports_nothing_of_it(short_path):
    source = """
        import sys, extframe

        class Volumes(extframe.VolumeDriver):
            def list(self):
                return []

        with extframe.serving(Volumes(), name="photos", directory=sys.argv[1]):
            with extframe.PluginManager(extframe.LocalRegistry(sys.argv[1]), groups=()) as pm, pm.watch():
                pm.driver("photos", extframe.VolumeDriver).list()
        print([name for name in sys.modules if "supervisor" in name])
    """
    with Program(source, short_path) as program:
        assert program.end() == (0, "[]\n")


def test_the_process_that_starts_plugins_imports_little():
    """What it imports delays the first start of a plugin."""
    program = (
        "import sys; sys.path.insert(0, sys.argv[1]); import launcher_main; launcher_main._prctl(1, 0); "
        "print(*{'array', 'collections', 'ctypes', 'enum', 're', 'resource', 'socket', 'typing'} & {*sys.modules})"
    )
    place = Path(extframe.__file__).parent / "supervisor"
    command = [sys.executable, "-I", "-S", "-c", program, str(place)]
    assert subprocess.run(command, capture_output=True, text=True, check=True).stdout == "\n"


def test_serving_an_inherited_socket_imports_nothing_that_only_other_sockets_need(short_path):
    source = """
        import os, socket, sys, threading, extframe

        class Volumes(extframe.VolumeDriver):
            pass

        with socket.socket(socket.AF_UNIX) as made:
            made.bind(sys.argv[1])
            made.listen()
            with extframe.serving(Volumes(), name="photos", fd=made.fileno(), directory=os.path.dirname(sys.argv[1])):
                print({"tempfile", "difflib"} & {*sys.modules})
            made.detach()
    """
    with Program(source, short_path / "photos.sock") as program:
        assert program.end() == (0, "set()\n")
