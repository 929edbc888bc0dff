"""Plugins end with the host that started them, however it ends, and no other process is touched."""

from __future__ import annotations

import logging
import os
import signal
import textwrap
from pathlib import Path

import pytest
from program import Program
from supervised import Plugins, eventually, runs

import extframe
from extframe import ProcessState
from extframe.supervisor.run_directory import live_directories

HOST = """
    import os, sys, time, extframe
    has_children = bool(int(sys.argv.pop(1)))
    directory, run, then, *names = sys.argv[1:]
    supervisor = extframe.Supervisor(directory, run_directory=run)
    pm = extframe.PluginManager(supervisor, groups=())
    for name in names:
        pm.get(name)
        while supervisor.status(name).state.value != "running":  # its process id is known
            time.sleep(0.01)
        print(supervisor.status(name).pid, flush=True)
        while not (lines := [each for each in supervisor.status(name).last_lines if each.startswith("child")]):
            if not has_children:
                break
            time.sleep(0.01)
        for line in lines:
            print(line.split()[1], flush=True)
    print(supervisor.run_directory, flush=True)
    exec(then)
"""


@pytest.fixture
def plugins(short_path: Path) -> Plugins:
    return Plugins(short_path)


def host(plugins: Plugins, then: str, *names: str, has_children: bool = False) -> Program:
    return Program(
        HOST, int(has_children), plugins.directory, plugins.run, textwrap.dedent(then), *names, measured=False
    )


def pids(program: Program) -> list[int]:
    """Return the processes that a host prints, until the line that is not a number."""
    found = []
    while (line := program.process.stdout.readline().strip()).isdigit():
        found.append(int(line))
    return found


@pytest.mark.parametrize("ending", ["SIGKILL", "SIGTERM", "exit", "exception"])
def test_nothing_is_left_of_a_host_that_ended(plugins, ending):
    plugins.write("photos", "child")
    plugins.write("music", "stray", "deaf", stop_timeout=0.3)
    then = {"exit": "sys.exit(0)", "exception": "raise SystemError"}.get(ending, "import time; time.sleep(600)")
    with host(plugins, then, "photos", "music", has_children=True) as program:
        started = pids(program)
        assert len(started) == 4
        if ending.startswith("SIG"):
            program.stop(signal.Signals[ending])
        else:
            program.end()
    eventually(lambda: not any(map(runs, started)))
    with plugins.supervisor() as supervisor:  # what a host leaves that was killed is removed by the next
        assert len([path for path in plugins.run.iterdir() if path.name.startswith("host-")]) == 1
        assert supervisor.status("photos").state is ProcessState.IDLE


def test_nothing_is_left_of_hosts_that_were_killed_while_they_started_a_plugin(plugins):
    place = plugins.directory.parent / "started"
    shell = f"echo $$ >> {place}; exec sleep 600"
    plugins.write("photos", command=["sh", "-c", shell], start="always")
    source = """
        import os, signal, sys, threading, time, extframe
        extframe.Supervisor(sys.argv[1], run_directory=sys.argv[2]).scan()
        deadline = time.monotonic() + float(sys.argv[3])
        while time.monotonic() < deadline and not os.path.exists(sys.argv[4]):
            time.sleep(0.001)
        os.kill(os.getpid(), signal.SIGKILL)
    """
    for index in range(12):  # the last ones are killed within a millisecond of the start
        with Program(source, plugins.directory, plugins.run, 0.02 * index if index < 10 else 60, place) as program:
            program.end()
    eventually(lambda: not any(runs(int(pid)) for pid in place.read_text().split()))


def test_plugins_end_with_the_process_that_starts_them_and_the_next_use_starts_them_again(plugins):
    plugins.write("photos")
    with extframe.PluginManager(plugins.supervisor(), groups=()) as pm:
        supervisor = pm._registry
        driver = pm.driver("photos", extframe.VolumeDriver)
        eventually(lambda: supervisor.status("photos").state is ProcessState.RUNNING)
        before = supervisor.status("photos").pid
        os.kill(supervisor._running._launcher.pid, signal.SIGKILL)
        eventually(lambda: supervisor.status("photos").exit is not None)
        assert "with the process that starts plugins" in str(supervisor.status("photos").exit)
        eventually(lambda: not runs(before))
        assert driver.list() == []


def test_what_a_plugin_starts_ends_with_it_where_there_are_control_groups(plugins, caplog):
    """Also a child that left the process group, and also if the process that starts plugins is killed."""
    caplog.set_level(logging.DEBUG, "extframe.supervisor")
    plugins.write("photos", "stray")

    def stray() -> int:
        lines = supervisor.status("photos").last_lines
        eventually(lambda: any("child" in line for line in supervisor.status("photos").last_lines))
        lines = supervisor.status("photos").last_lines
        return next(int(line.split()[1]) for line in lines if "child" in line)

    with extframe.PluginManager(plugins.supervisor(), groups=()) as pm:
        supervisor = pm._registry
        driver = pm.driver("photos", extframe.VolumeDriver)
        eventually(lambda: "control groups" in caplog.text or "control group in" in caplog.text)
        if "plugins have no control groups" in caplog.text:
            pytest.skip("this system has none for this process")
        groups = Path(caplog.text.partition("control group in ")[2].splitlines()[0])
        first = stray()
        supervisor.restart("photos")
        eventually(lambda: not runs(first))
        assert driver.list() == []
        second = stray()
        os.kill(supervisor._running._launcher.pid, signal.SIGKILL)
        eventually(lambda: "ended unexpectedly" in caplog.text)
        assert driver.list() == []
        eventually(lambda: not runs(second))
        assert not groups.exists()
        last = stray()
    eventually(lambda: not runs(last))
    assert not [path for path in groups.parent.glob("extframe-*") if str(os.getpid()) in path.name]


def test_a_fork_of_the_host_does_not_keep_its_plugins(plugins):
    plugins.write("photos")
    plugins.write("music")
    then = """
        import signal, threading, time, warnings
        warnings.simplefilter("ignore")  # Python 3.12 on: this process has threads
        plugin_pid = supervisor.status("photos").pid
        spec = supervisor.find("photos")
        supervisor.find("music")  # waits for a connection
        listening = supervisor._running.plugins["music"]._socket.listening
        mine = {os.readlink(f"/proc/self/fd/{listening.fileno()}"), supervisor._running._directory.path + "/lock"}
        held = threading.Event()

        def hold():
            with supervisor._reading, supervisor._lock:
                held.set()
                time.sleep(100)

        threading.Thread(target=hold, daemon=True).start()
        held.wait()
        if os.fork() == 0:
            signal.alarm(20)  # instead of waiting forever for a lock that no thread here releases
            with os.scandir("/proc/self/fd") as descriptors:
                found = {os.readlink(each) for each in descriptors}
            mine.add(os.readlink(f"/proc/{plugin_pid}/fd/1"))
            try:
                supervisor.scan()
            except extframe.ExtframeError as error:
                supervisor.why(spec, ConnectionResetError())
                print(os.getpid(), mine & found or "nothing", error, flush=True)
            pm.close()
            print("closed", flush=True)
            os.closerange(1, 3)  # which the test reads to their end
            signal.alarm(0)
        time.sleep(100)
    """
    with host(plugins, then, "photos") as program:
        started = pids(program)
        child, _, message = program.process.stdout.readline().partition(" ")
        assert message.startswith("nothing this Supervisor belongs to the process that created it")
        try:
            assert program.process.stdout.readline() == "closed\n"
            assert all(map(runs, started))  # the child closed nothing
            program.process.kill()
            eventually(lambda: not any(map(runs, started)))
            assert runs(int(child))
            eventually(lambda: live_directories(str(plugins.run)) == [])
        finally:
            os.kill(int(child), signal.SIGKILL)


def test_two_hosts_of_one_application_have_plugins_of_their_own(plugins):
    plugins.write("photos")
    with host(plugins, "import time; time.sleep(600)", "photos") as program:
        other = pids(program)
        with extframe.PluginManager(plugins.supervisor(), groups=()) as pm:
            assert pm.driver("photos", extframe.VolumeDriver).list() == []
            mine = pm._registry.status("photos").pid
            assert mine not in other
            assert len([path for path in plugins.run.iterdir() if path.name.startswith("host-")]) == 2
        assert all(map(runs, other))
