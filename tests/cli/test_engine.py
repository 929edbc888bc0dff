"""``--engine``: the managed plugins of Docker's engine in ls, inspect, call, check and watch."""

from __future__ import annotations

import json
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
from fake_engine import FakeEngine

SSHFS = "vieux/sshfs:latest"
STOP = "press Ctrl-C to stop\n"


@pytest.fixture
def engine(short_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[FakeEngine]:
    """An engine that DOCKER_HOST names, with one plugin that is enabled."""
    engine = FakeEngine(short_path)
    monkeypatch.setenv("DOCKER_HOST", engine.address)
    monkeypatch.setattr("extframe.registry.docker_plugins.SOCKETS", engine.sockets)
    engine.install(SSHFS, "docker.volumedriver/1.0", PropagatedMount="/mnt/volumes")
    engine.enable(SSHFS, List={"Volumes": []})
    yield engine
    engine.close()


def test_ls_lists_the_enabled_plugins_of_the_engine(run, engine):
    (row,) = json.loads(run("ls", "--engine", "-o", "json").stdout)
    assert (row["name"], row["source"], row["state"]) == (SSHFS, engine.address, "active")
    assert row["implements"] == ["VolumeDriver"]
    engine.disable(SSHFS)
    result = run("ls", f"--engine={engine.address}")
    assert (result.exit_code, result.stdout) == (0, "")
    assert result.stderr == f"extframe: no managed plugins are enabled in Docker's engine at {engine.address}\n"


def test_inspect_shows_where_the_files_of_a_plugin_are_on_the_host(run, engine):
    shown = run("inspect", "vieux/sshfs", "--engine")
    assert shown.exit_code == 0
    directory = f"/data/plugins/{'01' * 32}"
    assert f"/=/{directory[1:]}/rootfs, /mnt/volumes={directory}/propagated-mount" in shown.stdout
    engine.disable(SSHFS)
    missing = run("inspect", "vieux/sshfs", "--engine")
    assert missing.exit_code == 3
    assert f"plugin enable {SSHFS}" in missing.stderr


def test_call_and_check_use_a_plugin_without_a_handshake(run, engine):
    called = run("call", "vieux/sshfs", "VolumeDriver.List", "--engine", engine.address)
    assert json.loads(called.stdout) == {"Volumes": []}
    checked = run("check", SSHFS, "--engine", "-o", "json")
    results = {result["check"]: result["verdict"] for result in json.loads(checked.stdout)}
    assert results["VolumeDriver.List"] == "pass"


def test_an_engine_that_cannot_be_used_is_named(run, engine, monkeypatch, short_path):
    engine.stop()
    failed = run("ls", "--engine")
    assert failed.exit_code == 5
    assert f"Docker's engine at {engine.address}: no such file or directory; start the engine" in failed.stderr
    wrong = run("inspect", "--engine", "vieux/sshfs")
    assert wrong.exit_code == 2
    assert "without an address, write --engine last" in wrong.stderr
    both = run("ls", "--engine", "--dir", short_path)
    assert (both.exit_code, "--dir and --engine exclude each other" in both.stderr) == (2, True)
    monkeypatch.setenv("DOCKER_HOST", "ssh://somewhere")
    assert "its scheme is 'ssh'" in run("ls", "--engine").stderr


WATCH = """
import sys
from extframe.cli import main
from extframe.registry import docker_plugins
docker_plugins.SOCKETS = sys.argv.pop()
main()
"""


def test_watch_shows_plugins_that_are_enabled_and_disabled(engine):
    command = [sys.executable, "-c", WATCH, "watch", "--engine", engine.address, str(engine.sockets)]
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True) as process:
        assert process.stderr.readline() == f"extframe: watching Docker's engine at {engine.address}; " + STOP
        assert process.stdout.readline().split()[1:] == [SSHFS, "active", "VolumeDriver"]
        engine.disable(SSHFS)
        assert process.stdout.readline().split()[1:3] == [SSHFS, "lost"]
        assert process.stdout.readline().split()[1:3] == [SSHFS, "removed"]
        process.send_signal(signal.SIGINT)
        _, errors = process.communicate(timeout=30)
    assert (process.returncode, errors) == (130, "")
