"""Plugins in Go and TypeScript, generated from a schema: they build, and pass every check."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest
from conformance_runs import faults, run

from extframe.conformance import LifecycleOptions, Verdict


@pytest.fixture(scope="session")
def generator(need: Callable[[str], str], tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The directory of openapi-generator-cli, which needs Java."""
    need("java")
    directory = tmp_path_factory.mktemp("generator")
    command = [sys.executable, "-m", "pip", "install", "-q", "--target", directory, "openapi-generator-cli"]
    subprocess.run(command, check=True, timeout=300)
    return directory


def created(directory: Path, language: str) -> Path:
    command = [sys.executable, "-m", "extframe.cli", "new", "plugin", "photos", "--language", language]
    subprocess.run([*command, "--dir", directory], check=True, timeout=60, stdout=subprocess.DEVNULL)
    return directory / "photos"


def build(project: Path, *commands: list[str], **environment: str) -> None:
    for command in commands:
        ended = subprocess.run(
            command,
            cwd=project,
            env={**os.environ, "HOME": str(project.parent), **environment},
            capture_output=True,
            text=True,
            timeout=540,
        )
        assert ended.returncode == 0, ended.stdout + ended.stderr


def assert_passes_every_check(address: str, project: Path) -> None:
    schema = json.loads((project / "VolumeDriver.json").read_text())
    results = run(address, schema=schema, lifecycle=LifecycleOptions(mount=True))
    assert faults(results) == {}
    schemas = {name: each.verdict for name, each in results.items() if name.startswith("schema of ")}
    assert len(schemas) == 9
    assert set(schemas.values()) == {Verdict.PASS}


def test_a_plugin_in_go(need, generator, start, tmp_path, short_path):
    go, project = need("go"), created(tmp_path, "go")
    environment = {
        "PATH": f"{generator / 'bin'}{os.pathsep}{os.environ['PATH']}",
        "PYTHONPATH": str(generator),
        "GOPATH": str(tmp_path / "path"),
        "GOFLAGS": "",
        "CGO_ENABLED": "0",
    }
    build(project, [go, "generate"], [go, "vet", "./..."], [go, "build"], **environment)
    socket = short_path / "go.sock"
    start(project / "photos", "-socket", socket, "-root", tmp_path / "root").wait_for("listening at")
    assert_passes_every_check(f"unix://{socket}", project)


def test_a_plugin_in_typescript(need, start, tmp_path, short_path):
    npm, node, project = need("npm"), need("node"), created(tmp_path, "typescript")
    build(project, [npm, "install", "--no-audit", "--no-fund"], [npm, "run", "build"])
    socket = short_path / "ts.sock"
    start(node, project / "dist" / "main.js", socket, tmp_path / "root").wait_for("listening at")
    assert_passes_every_check(f"unix://{socket}", project)
