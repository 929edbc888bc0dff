"""extframe install, upgrade, sync, uninstall: options, messages and exit codes. What they do: test_environments.py."""

from __future__ import annotations

import contextlib
import os
import pty
import subprocess
import sys
from pathlib import Path

import pytest
from wheelhouse import write_plugin, write_wheel

from extframe.cli.exit_codes import ExitCode

VERSION = f"{sys.version_info[0]}.{sys.version_info[1]}"


@pytest.fixture
def wheels(tmp_path) -> Path:
    directory = tmp_path / "wheels"
    directory.mkdir()
    write_wheel(directory, "extframe", "0.1.0", {"extframe.py": b""})
    write_plugin(directory, "photos")
    return directory


def test_a_plugin_comes_and_goes(run, wheels, tmp_path):
    place = ("--dir", tmp_path / "plugins.d")
    sources = ("--find-links", wheels, "--offline")
    installed = run("install", "photos", "acme-photos>=1", *place, *sources)
    said = f"extframe: installed 'photos': acme_photos:Plugin with Python {VERSION}, 2 packages\n"
    assert (installed.exit_code, installed.stderr, installed.stdout) == (0, said, "")
    up_to_date = f"extframe: 'photos' is up to date with Python {VERSION}\n"
    assert run("sync", *place, *sources).stderr == up_to_date
    assert run("upgrade", "photos", *place, *sources).stderr == up_to_date
    assert run("uninstall", "photos", *place).stderr == "extframe: uninstalled 'photos'\n"
    missing = run("upgrade", "photos", *place, *sources)
    assert missing.exit_code == ExitCode.NOT_FOUND
    assert missing.stderr.startswith("extframe: no plugin 'photos' was installed: looked for ")
    assert run("sync", *place).stderr == "extframe: no plugins are installed\n"


def test_an_app_has_its_own_directories(run, wheels, tmp_path, monkeypatch):
    monkeypatch.setattr(os, "geteuid", lambda: 1000)
    monkeypatch.setenv("XDG_CONFIG_HOME", str(tmp_path / "config"))
    monkeypatch.setenv("XDG_DATA_HOME", str(tmp_path / "data"))
    done = run("install", "photos", "acme-photos", "--app", "myhost", "--find-links", wheels, "--offline")
    assert done.exit_code == 0
    assert (tmp_path / "config" / "myhost" / "plugins.d" / "photos.toml").exists()
    assert (tmp_path / "data" / "myhost" / "environments" / "photos" / "current").is_symlink()


@pytest.mark.parametrize(
    ("arguments", "code", "said"),
    [
        (["photos", "acme-photos"], ExitCode.USAGE, "expected --app NAME, the host to install for, or --dir DIR."),
        (["photos", "--dir", "x"], ExitCode.USAGE, "Missing argument 'REQUIREMENT...'"),
        (["photos", "acme-photos", "--app", "../x"], ExitCode.USAGE, "'--app'"),
        (["../x", "acme-photos", "--dir", "x"], ExitCode.FAILURE, "is invalid: expected letters, digits"),
        (["photos", "./nothing", "--dir", "x"], ExitCode.FAILURE, "/nothing does not exist"),
    ],
)
def test_a_mistake_in_the_arguments_changes_nothing(run, tmp_path, monkeypatch, arguments, code, said):
    monkeypatch.chdir(tmp_path)
    done = run("install", *arguments)
    assert (done.exit_code, said in done.stderr) == (code, True)
    assert not list(tmp_path.rglob("*.toml"))


def test_a_terminal_shows_the_step(wheels, tmp_path):
    primary, terminal = pty.openpty()
    command = [sys.executable, "-m", "extframe.cli", "install", "photos", "acme-photos", "--offline"]
    arguments = ["--dir", tmp_path / "plugins.d", "--find-links", wheels]
    environment = {**os.environ, "TERM": "xterm"}
    with subprocess.Popen([*command, *arguments], stderr=terminal, env=environment) as process:
        os.close(terminal)
        shown = b""
        with contextlib.suppress(OSError):  # the process has closed it
            while True:
                shown += os.read(primary, 4096)
    os.close(primary)
    assert process.returncode == 0
    assert b"resolving" in shown
    assert b"installed 'photos'" in shown
