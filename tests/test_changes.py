"""What happens in directories: both ways of noticing it, and directories that are missing, go and come back."""

from __future__ import annotations

import logging
import os
import shutil
import socket
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from faultserver import eventually

from extframe.changes import Changes, DirectoryTimes, Notifications, changes_in

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
    found = eventually(changes.happened, 2.0)
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


@linux
def test_where_the_system_gives_no_more_notifications_directories_are_looked_at(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    limit = Path("/proc/sys/fs/inotify/max_user_instances")
    if os.geteuid() != 0 or not os.access(limit, os.W_OK):
        pytest.skip("only root may lower the limit")
    before = limit.read_text()
    try:
        limit.write_text("0")
    except OSError as refused:
        pytest.skip(f"the limit cannot be lowered here: {refused.strerror}")
    try:
        with caplog.at_level(logging.WARNING, "extframe"):
            changes = changes_in([str(tmp_path)])
    finally:
        limit.write_text(before)
    assert isinstance(changes, DirectoryTimes)
    assert "fs.inotify.max_user_instances" in caplog.text


@linux
def test_where_notifications_run_out_directories_are_looked_at_more_often(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    limit = Path("/proc/sys/fs/inotify/max_user_watches")
    if os.geteuid() != 0 or not os.access(limit, os.W_OK):
        pytest.skip("only root may lower the limit")
    changes = Notifications([str(tmp_path)])
    rarely = changes.rescan
    before = limit.read_text()
    (tmp_path / "photos").mkdir()
    try:
        limit.write_text("0")
    except OSError as refused:
        pytest.skip(f"the limit cannot be lowered here: {refused.strerror}")
    try:
        with caplog.at_level(logging.WARNING, "extframe"):
            changes.arm()
            changes.arm()
    finally:
        limit.write_text(before)
    assert changes.rescan == DirectoryTimes.rescan
    assert len(caplog.records) == 1
    assert "fs.inotify.max_user_watches" in caplog.text
    changes.arm()
    assert changes.rescan == rarely
    changes.close()


def test_without_the_extra_directories_are_looked_at(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "inotify_simple", None)
    assert isinstance(changes_in([str(tmp_path)]), DirectoryTimes)
