"""``extframe watch``: its output, and how it exits."""

from __future__ import annotations

import json
import re
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from extframe.testing import Error, FakePlugin

Started = Callable[..., subprocess.Popen[str]]


@pytest.fixture
def start(short_path: Path) -> Iterator[Started]:
    """Start the command as a process, and wait until it watches."""
    started: list[subprocess.Popen[str]] = []

    def start(*options: str) -> subprocess.Popen[str]:
        command = [sys.executable, "-m", "extframe.cli", "watch", "--dir", str(short_path), *options]
        process = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
        started.append(process)
        assert process.stderr is not None
        assert process.stderr.readline() == f"extframe: watching {short_path}; press Ctrl-C to stop\n"
        return process

    yield start
    for process in started:
        process.kill()
        process.communicate()


def line(process: subprocess.Popen[str]) -> str:
    assert process.stdout is not None
    text = process.stdout.readline()
    assert text.endswith("\n"), "it has exited"
    return text[:-1]


def test_each_lifecycle_event_is_a_line(start: Started, short_path: Path) -> None:
    process = start()
    with FakePlugin(short_path, "photos", ["VolumeDriver", "LogDriver"]) as plugin:
        assert re.fullmatch(r"\d\d:\d\d:\d\d  photos            active   VolumeDriver, LogDriver", line(process))
        plugin.answer("Plugin.Activate", Error("not now", status=503))
        plugin.refuse()
        plugin.accept()
        assert line(process).endswith("  photos            lost     its source changed")
        assert line(process).endswith("  photos            failed   not now")
    while not (last := line(process)).endswith("  photos            removed  -"):
        assert "photos" in last
    process.send_signal(signal.SIGINT)
    _, errors = process.communicate(timeout=30)
    assert (process.returncode, errors) == (130, "")


def test_each_line_of_json_is_an_object(start: Started, short_path: Path) -> None:
    process = start("-o", "json")
    with FakePlugin(short_path, "photos", ["VolumeDriver"]):
        event = json.loads(line(process))
    assert re.fullmatch(r"\d{4}-\d\d-\d\dT.*\+00:00", event.pop("when"))
    assert event == {"name": "photos", "state": "active", "implements": ["VolumeDriver"], "reason": None}


def test_text_from_a_plugin_is_escaped(start: Started, short_path: Path) -> None:
    with FakePlugin(short_path, "photos") as plugin:
        plugin.answer("Plugin.Activate", Error("\x1b[2Jgone\nroot", status=500))
        event = line(start())
    assert " failed " in event
    assert "\x1b" not in event
    assert "gone root" in event


def test_it_exits_quietly_once_stdout_has_no_reader(start: Started, short_path: Path) -> None:
    process = start()
    with FakePlugin(short_path, "one", ["VolumeDriver"]):
        line(process)
        assert process.stdout is not None
        process.stdout.close()
        with FakePlugin(short_path, "other", ["VolumeDriver"]):
            assert process.wait(30) in (0, 1)
    assert process.stderr is not None
    assert "Traceback" not in process.stderr.read()


def test_it_exits_without_a_reader_even_if_nothing_changes(start: Started) -> None:
    process = start()
    assert process.stdout is not None
    process.stdout.close()
    assert process.wait(30) in (0, 1)
    assert process.stderr is not None
    assert "Traceback" not in process.stderr.read()


def test_verbose_shows_the_log(start: Started, short_path: Path) -> None:
    process = start("--verbose")
    with FakePlugin(short_path, "photos", ["VolumeDriver"]):
        line(process)
    process.send_signal(signal.SIGINT)
    assert "info: extframe.host.plugin: plugin 'photos'" in process.communicate(timeout=30)[1]
