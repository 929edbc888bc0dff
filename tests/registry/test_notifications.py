"""Changes in directories: inotify and polling, and directories that are missing, removed and created again."""

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

from extframe.registry.notifications import ChangeMonitor, InotifyMonitor, PollingMonitor, monitor_changes

linux = pytest.mark.skipif(sys.platform != "linux", reason="inotify is Linux's")


@pytest.fixture(params=[PollingMonitor, pytest.param(InotifyMonitor, marks=linux)], ids=["polling", "inotify"])
def watched(request: pytest.FixtureRequest) -> Iterator[Callable[..., ChangeMonitor]]:
    made: list[ChangeMonitor] = []

    def watch(*directories: Path) -> ChangeMonitor:
        changes: ChangeMonitor = request.param([str(directory) for directory in directories])
        made.append(changes)
        return changes

    yield watch
    for changes in made:
        changes.close()


def noticed(changes: ChangeMonitor) -> bool:
    """Return whether a change is noticed; refresh the monitor, as a watch does before each scan."""
    found = eventually(changes.has_changed, 30)
    changes.refresh()
    return found


def test_files_that_appear_and_disappear_are_noticed_and_nothing_else(
    watched: Callable[..., ChangeMonitor], tmp_path: Path
) -> None:
    changes = watched(tmp_path)
    assert not changes.has_changed()
    with socket.socket(socket.AF_UNIX) as sock:
        sock.bind(str(tmp_path / "a.sock"))
    assert noticed(changes)
    os.rename(tmp_path / "a.sock", tmp_path / "b.sock")
    assert noticed(changes)
    (tmp_path / "b.sock").unlink()
    assert noticed(changes)
    os.listdir(tmp_path)
    assert not changes.has_changed()


def test_a_directory_may_be_missing_and_be_created_and_removed_again(
    watched: Callable[..., ChangeMonitor], tmp_path: Path
) -> None:
    directory = tmp_path / "run" / "app" / "plugins"
    changes = watched(directory, tmp_path / "etc")
    for _ in range(2):
        directory.mkdir(parents=True)
        # Each directory on the path may cause an event of its own.
        assert noticed(changes)
        while changes.has_changed():
            changes.refresh()
        (directory / "a.spec").write_text("unix:///a.sock")
        assert noticed(changes)
        shutil.rmtree(tmp_path / "run")
        assert noticed(changes)
        while changes.has_changed():
            changes.refresh()


@linux
def test_rewritten_files_and_changes_in_a_plugins_own_directory_are_noticed(tmp_path: Path) -> None:
    (tmp_path / "own").mkdir()
    (tmp_path / "a.spec").write_text("unix:///a.sock")
    changes = InotifyMonitor([str(tmp_path)])
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
def test_changes_next_to_a_missing_directory_are_ignored(tmp_path: Path) -> None:
    changes = InotifyMonitor([str(tmp_path / "run" / "plugins")])
    try:
        (tmp_path / "other").mkdir()
        (tmp_path / "other.pid").write_text("1")
        assert not changes.has_changed()
        (tmp_path / "run").mkdir()
        assert noticed(changes)
        (tmp_path / "more").mkdir()
        assert not changes.has_changed()
    finally:
        changes.close()


def in_a_namespace(source: str, *arguments: object) -> list[str]:
    """Run a program as root of a user namespace, where it can lower limits, and return the lines that it prints.

    Its ``limit`` takes the name of a file in /proc/sys/user and a number.
    """
    program = f"""
import logging, sys
from pathlib import Path
from extframe.registry.notifications import PollingMonitor, InotifyMonitor, monitor_changes

logging.basicConfig(stream=sys.stdout, format="%(message)s")

def limit(name, number):
    Path("/proc/sys/user", name).write_text(str(number))
{textwrap.dedent(source)}"""
    unshare = shutil.which("unshare")
    if unshare is None or subprocess.run([unshare, "-Ur", "true"], stderr=subprocess.DEVNULL).returncode:
        pytest.skip("needs user namespaces, to lower a limit in one")
    command = [unshare, "-Ur", sys.executable, "-c", program, *map(str, arguments)]
    return subprocess.run(command, stdout=subprocess.PIPE, text=True, check=True, timeout=120).stdout.splitlines()


@linux
def test_directories_are_polled_if_no_inotify_instance_is_left(tmp_path: Path) -> None:
    source = """
        limit("max_inotify_instances", 0)
        print(type(monitor_changes([sys.argv[1]])).__name__)
    """
    warning, kind = in_a_namespace(source, tmp_path)
    assert "fs.inotify.max_user_instances" in warning
    assert kind == "PollingMonitor"


@linux
def test_directories_are_scanned_more_often_if_no_inotify_watch_is_left(tmp_path: Path) -> None:
    source = """
        changes = InotifyMonitor([sys.argv[1]])
        rarely = changes.rescan_interval
        Path(sys.argv[1], "photos").mkdir()
        limit("max_inotify_watches", 0)
        changes.refresh()
        changes.refresh()
        print(changes.rescan_interval == PollingMonitor.rescan_interval)
        limit("max_inotify_watches", 1000)
        changes.refresh()
        print(changes.rescan_interval == rarely)
    """
    warning, *as_expected = in_a_namespace(source, tmp_path)
    assert "fs.inotify.max_user_watches" in warning
    assert as_expected == ["True", "True"]


def test_directories_are_polled_without_the_extra(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "inotify_simple", None)
    assert isinstance(monitor_changes([str(tmp_path)]), PollingMonitor)


@pytest.mark.parametrize(("is_notified", "rescan_interval"), [(False, 0.5), (True, 5.0)])
def test_without_directories_a_watch_only_scans(is_notified: bool, rescan_interval: float) -> None:
    monitor = monitor_changes((), is_notified=is_notified)
    assert (monitor.poll_interval, monitor.rescan_interval) == (3600.0, rescan_interval)
    assert not monitor.has_changed()
