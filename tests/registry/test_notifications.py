"""What happens in directories: both ways of noticing it, and directories that are missing, go and come back."""

from __future__ import annotations

import os
import shutil
import socket
import subprocess
import sys
import textwrap
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from faultserver import eventually

from extframe.registry.notifications import Changes, DirectoryTimes, Notifications, changes_in

linux = pytest.mark.skipif(sys.platform != "linux", reason="inotify is Linux's")


@pytest.fixture(params=[DirectoryTimes, pytest.param(Notifications, marks=linux)], ids=["times", "notifications"])
def watched(request: pytest.FixtureRequest) -> Iterator[Callable[..., Changes]]:
    made: list[Changes] = []

    def watch(*directories: Path) -> Changes:
        changes: Changes = request.param([str(directory) for directory in directories])
        made.append(changes)
        return changes

    yield watch
    for changes in made:
        changes.close()


def noticed(changes: Changes) -> bool:
    """Whether a change is noticed; looks again at what is there, as whoever is told does."""
    found = eventually(changes.happened, 30)
    changes.arm()
    return found


def test_what_comes_and_goes_is_noticed_and_nothing_else(watched: Callable[..., Changes], tmp_path: Path) -> None:
    changes = watched(tmp_path)
    assert not changes.happened()
    with socket.socket(socket.AF_UNIX) as sock:
        sock.bind(str(tmp_path / "a.sock"))
    assert noticed(changes)
    os.rename(tmp_path / "a.sock", tmp_path / "b.sock")
    assert noticed(changes)
    (tmp_path / "b.sock").unlink()
    assert noticed(changes)
    os.listdir(tmp_path)
    assert not changes.happened()


def test_a_directory_may_be_missing_come_go_and_come_back(watched: Callable[..., Changes], tmp_path: Path) -> None:
    directory = tmp_path / "run" / "app" / "plugins"
    changes = watched(directory, tmp_path / "etc")
    for _ in range(2):
        directory.mkdir(parents=True)
        # Each directory on the way may come with a notification of its own.
        assert noticed(changes)
        while changes.happened():
            changes.arm()
        (directory / "a.spec").write_text("unix:///a.sock")
        assert noticed(changes)
        shutil.rmtree(tmp_path / "run")
        assert noticed(changes)
        while changes.happened():
            changes.arm()


@linux
def test_a_file_that_is_written_anew_and_a_plugins_own_directory_are_noticed_at_once(tmp_path: Path) -> None:
    (tmp_path / "own").mkdir()
    (tmp_path / "a.spec").write_text("unix:///a.sock")
    changes = Notifications([str(tmp_path)])
    try:
        (tmp_path / "a.spec").write_text("unix:///b.sock")
        assert noticed(changes)
        (tmp_path / "own" / "own.spec").write_text("unix:///a.sock")
        assert noticed(changes)
        (tmp_path / "new").mkdir()
        assert noticed(changes)
        (tmp_path / "new" / "new.spec").write_text("unix:///a.sock")
        assert noticed(changes)
        (tmp_path / "a.spec").chmod(0o600)
        assert noticed(changes)
    finally:
        changes.close()


@linux
def test_what_happens_beside_a_directory_that_is_missing_is_none_of_our_business(tmp_path: Path) -> None:
    changes = Notifications([str(tmp_path / "run" / "plugins")])
    try:
        (tmp_path / "other").mkdir()
        (tmp_path / "other.pid").write_text("1")
        assert not changes.happened()
        (tmp_path / "run").mkdir()
        assert noticed(changes)
        (tmp_path / "more").mkdir()
        assert not changes.happened()
    finally:
        changes.close()


def in_a_namespace(source: str, *arguments: object) -> list[str]:
    """Return the lines that a program prints which is root of a user namespace, and may lower limits there alone.

    Its ``limit`` takes the name of one of /proc/sys/user and a number.
    """
    program = f"""
import logging, sys
from pathlib import Path
from extframe.registry.notifications import DirectoryTimes, Notifications, changes_in

logging.basicConfig(stream=sys.stdout, format="%(message)s")

def limit(name, number):
    Path("/proc/sys/user", name).write_text(str(number))
{textwrap.dedent(source)}"""
    unshare = shutil.which("unshare")
    if unshare is None or subprocess.run([unshare, "-Ur", "true"], stderr=subprocess.DEVNULL).returncode:
        pytest.skip("no user namespace can be made here, in which to lower a limit")
    command = [unshare, "-Ur", sys.executable, "-c", program, *map(str, arguments)]
    return subprocess.run(command, stdout=subprocess.PIPE, text=True, check=True, timeout=120).stdout.splitlines()


@linux
def test_where_the_system_gives_no_more_notifications_directories_are_looked_at(tmp_path: Path) -> None:
    source = """
        limit("max_inotify_instances", 0)
        print(type(changes_in([sys.argv[1]])).__name__)
    """
    warning, kind = in_a_namespace(source, tmp_path)
    assert "fs.inotify.max_user_instances" in warning
    assert kind == "DirectoryTimes"


@linux
def test_where_notifications_run_out_directories_are_looked_at_more_often(tmp_path: Path) -> None:
    source = """
        changes = Notifications([sys.argv[1]])
        rarely = changes.rescan
        Path(sys.argv[1], "photos").mkdir()
        limit("max_inotify_watches", 0)
        changes.arm()
        changes.arm()
        print(changes.rescan == DirectoryTimes.rescan)
        limit("max_inotify_watches", 1000)
        changes.arm()
        print(changes.rescan == rarely)
    """
    warning, *as_expected = in_a_namespace(source, tmp_path)
    assert "fs.inotify.max_user_watches" in warning
    assert as_expected == ["True", "True"]


def test_without_the_extra_directories_are_looked_at(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "inotify_simple", None)
    assert isinstance(changes_in([str(tmp_path)]), DirectoryTimes)
