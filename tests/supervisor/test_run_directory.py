"""A host has a run directory of its own, and other programs see which hosts run."""

from __future__ import annotations

import errno
import fcntl
import os
import sys
import threading
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path

import pytest

from extframe import SpecError
from extframe.supervisor import run_directory
from extframe.supervisor.run_directory import RunDirectory, live_directories


@pytest.fixture
def paused(monkeypatch: pytest.MonkeyPatch) -> Iterator[tuple[threading.Event, threading.Event]]:
    """Let the first look at a host pause while it has the lock: the events are its begin, and when it may go on."""
    has_lock, may_continue = threading.Event(), threading.Event()
    flock = fcntl.flock

    def pause(descriptor: int, operation: int) -> None:
        flock(descriptor, operation)
        if threading.current_thread().name == "first look":
            has_lock.set()
            may_continue.wait(30)

    monkeypatch.setattr(fcntl, "flock", pause)
    yield has_lock, may_continue
    may_continue.set()


def look(base: Path) -> threading.Thread:
    thread = threading.Thread(target=live_directories, args=[str(base)], name="first look", daemon=True)
    thread.start()
    return thread


def test_a_host_starts_while_another_program_looks_which_hosts_run(short_path, monkeypatch, paused):
    has_lock, may_continue = paused
    create = run_directory._open_lock

    def create_and_pause(path: str) -> int:
        descriptor = create(path)
        if "host-" in path:
            look(short_path)
            assert has_lock.wait(30)
            threading.Timer(0.1, may_continue.set).start()
        return descriptor

    monkeypatch.setattr(run_directory, "_open_lock", create_and_pause)
    with closing(RunDirectory(str(short_path), [])) as directory:
        assert live_directories(str(short_path)) == [directory.path]


@pytest.mark.parametrize("step", ["_open_lock", "lock", "os.fsencode"])
def test_a_host_that_cannot_create_its_directory_leaves_nothing(short_path, monkeypatch, step):
    before = len(os.listdir("/proc/self/fd"))
    owner, _, name = f"extframe.supervisor.run_directory.{step}".rpartition(".")
    calls = []

    def fail(*arguments: object) -> object:
        calls.append(arguments)
        if step == "os.fsencode" or len(calls) == 2:  # the first call is for the lock of all hosts
            raise OSError(errno.ENOSPC, "no space left on device")
        return real(*arguments)

    real = getattr(sys.modules.get(owner, os), name)
    monkeypatch.setattr(f"{owner}.{name}", fail)
    with pytest.raises(SpecError, match="no space left on device"):
        RunDirectory(str(short_path), ["/etc/plugins.d"])
    assert [path.name for path in short_path.iterdir()] == [".lock"]
    assert len(os.listdir("/proc/self/fd")) == before


def test_a_host_that_has_ended_runs_for_no_program_while_another_looks(short_path, paused):
    left = short_path / "host-left"
    left.mkdir()
    (left / "lock").touch()
    has_lock, may_continue = paused
    first = look(short_path)
    assert has_lock.wait(30)
    assert live_directories(str(short_path)) == []
    may_continue.set()
    first.join(30)
