"""Fixtures for tests of the command: plugins in a directory, and two ways to run the command."""

from __future__ import annotations

import json
import logging
import os
import pty
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from faultserver import FaultServer, answer_with, reply
from terminals import read_terminal


def _speaks(*points: str, **answers: object):
    def function(request) -> bytes:
        method = request.path.rpartition(".")[2]
        if method == "Activate":
            return reply(json.dumps({"Implements": points}).encode())
        if method not in answers:
            return reply(b"404 page not found\n", status="404 Not Found")
        return reply(json.dumps(answers[method]).encode())

    return answer_with(function)


@pytest.fixture
def speaks():
    """Make a behaviour: these extension points in the handshake, ``List={...}`` for any method List, otherwise 404."""
    return _speaks


@pytest.fixture
def add(short_path, fault_server) -> Callable[..., FaultServer]:
    """Start a plugin with this name and behaviour on a unix socket in ``short_path``."""

    def add(name: str, behaviour=None) -> FaultServer:
        return fault_server(behaviour or _speaks("VolumeDriver"), path=str(short_path / f"{name}.sock"))

    return add


@pytest.fixture
def leave_dead_socket(short_path, fault_server) -> Callable[[str], None]:
    """Leave a socket file in ``short_path`` on which no process listens."""

    def leave(name: str) -> None:
        fault_server(_speaks(), path=str(short_path / f"{name}.sock")).close()

    return leave


def _with_timeout(*arguments: object) -> list[str]:
    """Add a long timeout to a command line without one, for busy machines."""
    words = [*map(str, arguments)]
    needs_timeout = words[:1] in (["ls"], ["doctor"], ["check"]) and "--timeout" not in words
    return [*words, "--timeout", "30"] if needs_timeout else words


@pytest.fixture
def run():
    """Run the command in this process."""
    from click.testing import CliRunner

    from extframe.cli.program import program

    logger = logging.getLogger("extframe")
    before = logger.level, list(logger.handlers)
    yield lambda *arguments, **options: CliRunner().invoke(
        program, _with_timeout(*arguments), prog_name="extframe", **options
    )
    # click does not close the context of a command with a mistake in its arguments.
    logger.setLevel(before[0])
    logger.handlers[:] = before[1]


Popen = Callable[..., "subprocess.Popen[str]"]


@pytest.fixture
def start(tmp_path) -> Iterator[Popen]:
    """Start the command as a process. ``env`` is added to the environment; None removes a variable."""
    processes: list[subprocess.Popen[str]] = []

    def start(*arguments: object, env: dict[str, str | None] | None = None, **options) -> subprocess.Popen[str]:
        changed = {**os.environ, "NO_COLOR": None, **(env or {})}
        command = [sys.executable, "-m", "extframe.cli", *_with_timeout(*arguments)]
        options = {"stdin": subprocess.DEVNULL, "stdout": subprocess.PIPE, "stderr": subprocess.PIPE} | options
        environment = {key: value for key, value in changed.items() if value is not None}
        processes.append(subprocess.Popen(command, text=True, cwd=tmp_path, env=environment, **options))
        return processes[-1]

    yield start
    for process in processes:
        process.kill()
        process.wait()
        for pipe in filter(None, (process.stdin, process.stdout, process.stderr)):
            pipe.close()


@pytest.fixture
def extframe(start) -> Callable[..., subprocess.CompletedProcess[str]]:
    """Run the command as a process."""

    def extframe(*arguments: object, input: str = "", **options) -> subprocess.CompletedProcess[str]:
        process = start(*arguments, stdin=subprocess.PIPE, **options)
        out, err = process.communicate(input, timeout=60)
        return subprocess.CompletedProcess(process.args, process.returncode, out, err)

    return extframe


@pytest.fixture
def on_terminal(start):
    """Run the command with a terminal as its stdout; return what arrived there."""

    def on_terminal(*arguments, **environment) -> str:
        primary, terminal = pty.openpty()
        environment = {"TERM": "xterm-256color", "COLUMNS": "60", **environment}
        process = start(*arguments, stdout=terminal, env=environment)
        os.close(terminal)
        shown = b""
        while chunk := read_terminal(primary):
            shown += chunk
        os.close(primary)
        assert process.wait(30) == 0
        return shown.decode().replace("\r\n", "\n")

    return on_terminal


@pytest.fixture
def script() -> Path:
    """The ``extframe`` script that pip installed."""
    return Path(sys.executable).with_name("extframe")
