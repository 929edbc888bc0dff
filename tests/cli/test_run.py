"""``extframe run`` and ``extframe logs``: plugins of a host in the foreground, and what they wrote."""

from __future__ import annotations

import shutil
import signal
import subprocess
import sys
import threading
from collections.abc import Iterator
from contextlib import ExitStack, closing, suppress
from pathlib import Path
from types import SimpleNamespace

import pytest
from click.testing import CliRunner
from program import Program
from supervised import Plugins, eventually, runs

import extframe
from extframe.cli import logs as logs_command
from extframe.cli.program import program as extframe_program
from extframe.supervisor.directories import default_run_directory
from extframe.supervisor.output import LOG_FILE_LIMIT, append_lines
from extframe.supervisor.run_directory import RunDirectory


@pytest.fixture
def plugins(short_path: Path) -> Plugins:
    return Plugins(short_path)


@pytest.fixture
def running(plugins: Plugins) -> Iterator[subprocess.Popen[str]]:
    plugins.write("photos", "say:one", "say:\x1b[31mtwo")
    plugins.write("music", "say:cannot read config.toml", "exit:3")
    (plugins.directory / "bad.toml").write_text("comand = 1")
    process = subprocess.Popen(
        [sys.executable, "-m", "extframe.cli", "run", "--dir", str(plugins.directory)],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )
    yield process
    process.kill()
    process.communicate()


def logs(*words: str) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "extframe.cli", "logs", *words]
    return subprocess.run(command, capture_output=True, text=True, timeout=60)


def test_logs_are_those_of_the_host_with_that_directory(short_path):
    hosts = [Plugins(made) for made in (short_path / "first", short_path / "second") if made.mkdir() is None]
    with ExitStack() as stack:
        for number, each in enumerate(hosts):
            each.write("photos", f"say:line {number}", start="always")
            supervisor = extframe.Supervisor(each.directory)  # both in the default run directory
            stack.callback(supervisor.close)
            supervisor.scan()
        for number, each in enumerate(hosts):
            eventually(lambda: f"line {number}" in logs("photos", "--dir", str(each.directory)).stdout)  # noqa: B023


def test_plugins_run_in_the_foreground_until_they_are_stopped(plugins, running):
    lines: list[str] = []
    while not any(line.startswith("photos | pid ") for line in lines):
        lines.append(running.stdout.readline())
        assert lines[-1], "it has exited"
    assert {"photos | one\n", "photos | two\n"} <= set(lines)
    pid = int(next(line for line in lines if "pid" in line).split()[-1])

    directory = str(plugins.directory)
    eventually(lambda: logs("photos", "--dir", directory).stdout.count("\n") >= 3)
    assert logs("photos", "--dir", directory, "-n", "1").stdout.endswith(f" pid {pid}\n")
    missing = logs("films", "--dir", directory)
    assert (missing.returncode, missing.stdout) == (3, "")
    assert "no running host has started plugin 'films'" in missing.stderr

    (plugins.directory / "bad.toml").unlink()
    plugins.write("bad", "say:corrected")  # as one that was half written
    eventually(lambda: " corrected\n" in logs("bad", "--dir", directory).stdout)

    running.send_signal(signal.SIGTERM)
    _, errors = running.communicate(timeout=60)
    assert running.returncode == 0
    assert not runs(pid)
    assert f"extframe: plugin 'photos' was started as process {pid}" in errors
    assert "extframe: plugin 'music' exited with status 3" in errors
    assert "it said: cannot read config.toml" in errors
    assert errors.count("bad.toml: key 'comand' is unknown; did you mean 'command'?") >= 1
    assert logs("photos", "--dir", directory).returncode == 3


def test_lines_are_followed_until_the_host_ends(plugins, running):
    while "photos | pid " not in (line := running.stdout.readline()):
        assert line, "it has exited"
    directory = str(plugins.directory)
    eventually(lambda: logs("photos", "--dir", directory).returncode == 0)
    following = subprocess.Popen(
        [sys.executable, "-m", "extframe.cli", "logs", "-f", "photos", "--dir", directory],
        stdout=subprocess.PIPE,
        text=True,
    )
    assert following.stdout.readline().endswith(" one\n")
    threading.Thread(target=running.stdout.read, daemon=True).start()
    wide = LOG_FILE_LIMIT // 8000 + 10  # lines: more than one file holds
    plugins.write("photos", *(f"say:{8000 * 'x'}" for _ in range(wide)), "say:the end")
    last = ""
    while not last.endswith(" the end\n"):
        last = following.stdout.readline()
        assert last, "it has exited"
    running.send_signal(signal.SIGINT)
    assert running.wait(timeout=60) == 130
    following.communicate(timeout=60)
    assert following.returncode == 0


def test_a_signal_while_the_command_begins_to_wait_stops_it(plugins):
    """The signal handler runs in the thread that waits, and may do so while that holds the event's lock."""
    source = """
        import signal, sys, threading
        from extframe.cli import main

        def trace(frame, event, argument):
            if frame.f_code is threading.Condition.wait.__code__ and caller(frame).endswith("cli/run.py"):
                sys.settrace(None)
                signal.raise_signal(signal.SIGTERM)

        def caller(frame):
            while frame.f_code.co_filename.endswith(("threading.py", "event.py")):
                frame = frame.f_back
            return frame.f_code.co_filename

        sys.settrace(trace)
        sys.argv[:] = ["extframe", "run", "--dir", sys.argv[1]]
        main()
    """
    with Program(source, plugins.directory, measured=False) as program:
        assert program.end(30)[0] == 0


@pytest.fixture
def log(plugins: Plugins) -> Iterator[Path]:
    """The path of a log of a host that runs."""
    directory = RunDirectory(default_run_directory(), [str(plugins.directory)])
    with suppress(OSError), closing(directory):  # OSError: the test closes it
        yield Path(directory.path) / "photos.log"


def printed(log: Path, *options: str) -> str:
    directory = (log.parent / "configuration").read_bytes().rstrip(b"\0").decode()
    return CliRunner().invoke(extframe_program, ["logs", "photos", "--dir", directory, *options]).stdout


def test_the_last_lines_before_the_host_ends_are_followed_too(log, monkeypatch):
    append_lines(str(log), ["one"])

    def end_host(seconds: float) -> None:
        append_lines(str(log), ["the last"])
        shutil.rmtree(log.parent)

    monkeypatch.setattr("extframe.cli.logs.time", SimpleNamespace(sleep=end_host))
    assert [line.split(" ", 1)[1] for line in printed(log, "-f").splitlines()] == ["one", "the last"]


def test_lines_are_printed_while_a_full_file_is_replaced(log, monkeypatch):
    monkeypatch.setattr("extframe.supervisor.output.LOG_FILE_LIMIT", 1)  # each line fills a file
    append_lines(str(log), ["one"])
    assert not log.exists()
    assert printed(log).endswith(" one\n")
    older = logs_command._older_lines

    def replace(*arguments: object) -> list[bytes]:
        append_lines(str(log), ["two"])
        return older(*arguments)

    log.touch()  # the next one, before its first line is written
    with monkeypatch.context() as patch:
        patch.setattr(logs_command, "_older_lines", replace)
        assert printed(log).count(" two\n") == 1
    steps = iter([["three"], ["four", "five"], []])

    def write(seconds: float) -> None:
        for line in (lines := next(steps)):
            append_lines(str(log), [line])
        if not lines:
            shutil.rmtree(log.parent)

    monkeypatch.setattr("extframe.cli.logs.time", SimpleNamespace(sleep=write))
    words = [line.split(" ", 1)[1] for line in printed(log, "-f").splitlines()]
    assert words == ["two", "three", "five"]  # of two files between two looks, only the last is kept


def test_a_host_has_to_be_named():
    failed = logs("photos")
    assert failed.returncode == 2
    assert "Missing option '--app' or '--dir'" in failed.stderr
