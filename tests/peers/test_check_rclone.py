"""``extframe check`` of ``rclone serve docker``, in Go: its known defects are found, and no others."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest


@pytest.fixture
def rclone(need: Callable[[str], str], start: Callable, short_path: Path) -> Iterator[Path]:
    """The directory of a running rclone: its socket is ``rclone.sock``, and ``mounts`` its base."""
    for name in ("files", "mounts", "cache"):
        (short_path / name).mkdir()
    (short_path / "rclone.conf").write_text("[here]\ntype = local\n")
    options = ("--base-dir", short_path / "mounts", "--cache-dir", short_path / "cache", "--no-spec", "-v")
    socket = ("--socket-addr", short_path / "rclone.sock")
    process = start(need("rclone"), "serve", "docker", *options, *socket, RCLONE_CONFIG=short_path / "rclone.conf")
    process.wait_for(r"Serving unix socket")
    yield short_path
    process.stop()
    for mount in (short_path / "mounts").iterdir():
        if os.path.ismount(mount):
            subprocess.run(["fusermount3", "-u", "-z", mount], check=True, timeout=30)


def check(directory: Path, *options: str) -> tuple[int, dict[str, dict[str, str]]]:
    command = [sys.executable, "-m", "extframe.cli", "check", "rclone", "--dir", directory, "-o", "json", *options]
    done = subprocess.run(command, capture_output=True, text=True, timeout=300, cwd=directory)
    return done.returncode, {line["check"]: line for line in json.loads(done.stdout)}


def with_verdict(results: dict[str, dict[str, str]], verdict: str) -> set[str]:
    return {name for name, result in results.items() if result["verdict"] == verdict}


TEXT_FOR_JSON = {
    "VolumeDriver.Get: truncated JSON",
    "VolumeDriver.Get: a list instead of an object",
    "VolumeDriver.Get: an object instead of a string",
    "VolumeDriver.Get: no body",
}


def test_rclone_passes_what_changes_nothing_with_notes_about_its_text_for_bad_requests(rclone):
    code, results = check(rclone)
    assert (code, with_verdict(results, "fail"), with_verdict(results, "warn"), with_verdict(results, "note")) == (
        0,
        set(),
        set(),
        TEXT_FOR_JSON,
    )
    assert with_verdict(results, "skip") == {"VolumeDriver.Create", "VolumeDriver.Mount"}
    assert results["VolumeDriver.Get"]["reason"] == "status 500: volume not found"


def test_without_its_options_rclone_refuses_a_volume_in_its_own_words(rclone):
    code, results = check(rclone, "--destructive")
    assert code == 0
    assert "volume must have either remote or backend type" in results["VolumeDriver.Create"]["reason"]


def test_a_name_that_leaves_rclones_base_directory_is_found_and_nothing_is_left(rclone):
    code, results = check(rclone, "--destructive", "--opt", f"remote=here:{rclone / 'files'}")
    assert (code, with_verdict(results, "fail")) == (1, {"VolumeDriver.Create of ../NAME"})
    assert f"outside of {rclone / 'mounts'}" in results["VolumeDriver.Create of ../NAME"]["reason"]
    assert check(rclone)[1]["VolumeDriver.List"]["reason"] == "0 volumes"


@pytest.mark.device("/dev/fuse")
def test_rclones_refusal_to_mount_with_the_same_id_is_found_and_nothing_stays_mounted(need, rclone):
    need("fusermount3")
    _, results = check(rclone, "--destructive", "--mount", "--opt", f"remote=here:{rclone / 'files'}")
    assert results["VolumeDriver.Mount"]["verdict"] == "pass"
    again = results["VolumeDriver.Mount, the same ID again"]
    assert again["verdict"] == "fail"
    assert "volume is already mounted by this id" in again["reason"]
    assert results["VolumeDriver.Unmount, twice"]["verdict"] == "pass"
    assert [path for path in (rclone / "mounts").iterdir() if os.path.ismount(path)] == []
