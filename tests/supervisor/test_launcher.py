"""The process that starts plugins: what may come between two of its steps."""

from __future__ import annotations

import os
from pathlib import Path

import pytest
from program import Program

from extframe.supervisor import launcher_main
from extframe.supervisor.launcher_main import ControlGroups


@pytest.mark.parametrize("is_open", [False, True], ids=["before it is opened", "before it is locked"])
def test_a_control_group_that_another_launcher_takes_for_one_that_was_left_is_created_again(monkeypatch, is_open):
    existing = ControlGroups()
    if not existing.path:
        pytest.skip(f"this system has none for this process: {existing.fault}")
    existing.close()
    monkeypatch.setattr(launcher_main, "GROUP_PREFIX", f"extframe-test-{os.getpid()}-")  # those of no launcher
    locked = launcher_main._locked
    removed = []

    def locked_late(path: str) -> int:
        if removed:
            return locked(path)
        removed.append(path)
        if not is_open:
            launcher_main._remove_stale_group(path)
            return locked(path)
        descriptor = locked(path)
        os.rmdir(path)
        return descriptor

    monkeypatch.setattr(launcher_main, "_locked", locked_late)
    groups = ControlGroups()
    assert groups.fault == ""
    assert os.path.isdir(groups.create())
    groups.close()
    assert not os.path.exists(groups.path)


def test_the_group_of_a_child_that_has_not_entered_it_is_kept_when_another_child_ends(monkeypatch, tmp_path):
    monkeypatch.setattr(launcher_main, "_kill_group", lambda path: None)
    groups = ControlGroups()
    groups.close()
    groups.path = str(tmp_path)  # directories, with files in place of processes
    first, second, third = groups.create(), groups.create(), groups.create()
    Path(first, "process").touch()
    groups.end(first)
    groups.end(second)
    assert [os.path.isdir(each) for each in (first, second, third)] == [True, False, True]
    Path(first, "process").unlink()
    groups.end(third)
    assert not os.listdir(tmp_path)


def test_a_process_that_is_forked_while_the_launcher_starts_holds_up_nothing():
    source = """
        import os, signal, sys, threading, time, warnings
        from extframe.supervisor.launcher import Launcher
        warnings.simplefilter("ignore")  # Python 3.12 on: this process has threads

        def fork():
            if os.fork() == 0:
                signal.alarm(20)
                time.sleep(600)

        def pipe():  # subprocess makes one, and waits until its other end is closed
            os.pipe = real
            ends = os.pipe()
            forking.start()
            forking.join(1)
            return ends

        forking = threading.Thread(target=fork)
        real, os.pipe = os.pipe, pipe
        launcher = Launcher(sys.executable)
        forking.join()
        os.kill(launcher.pid, signal.SIGKILL)
        while launcher.receive() is not None:
            pass
        print(os.waitid(os.P_ALL, 0, os.WEXITED | os.WNOWAIT).si_pid == launcher.pid, flush=True)
        signal.signal(signal.SIGTERM, signal.SIG_IGN)
        os.killpg(0, signal.SIGTERM)
    """
    with Program(source, start_new_session=True) as program:
        assert program.process.stdout.readline() == "True\n"
        assert program.end()[0] == 0
