"""Plugins that hosts start, in ``ls``, ``inspect``, ``call`` and ``doctor``, with and without a running host."""

from __future__ import annotations

import hashlib
import json
import os
import subprocess
import sys
import venv
import zipfile
from pathlib import Path

import pytest
from supervised import Plugins, eventually, runs
from wheelhouse import write_plugin, write_wheel

import extframe
from extframe import ProcessState
from extframe.cli.exit_codes import ExitCode
from extframe.supervisor.config import PythonPlugin
from extframe.supervisor.environments.lock_file import Lock, Package
from extframe.supervisor.environments.plugin_file import write_plugin_file
from extframe.supervisor.environments.store import Store, sites_of


@pytest.fixture
def plugins(short_path: Path) -> Plugins:
    return Plugins(short_path)


def rows(result, key: str = "name") -> dict[str, dict]:
    return {row[key]: row for row in json.loads(result.stdout)}


def test_without_a_running_host_plugins_are_listed_and_started_only_for_a_call(run, plugins):
    place = ("--dir", plugins.directory)
    plugins.write("photos", "say:hello")
    plugins.write("music", "say:cannot read config.toml", "exit:3")
    (plugins.directory / "bad.toml").write_text("comand = 1")
    listed = rows(run("ls", *place, "-o", "json"))
    assert {name: row["state"] for name, row in listed.items()} == {"bad": "failed", "music": "idle", "photos": "idle"}
    assert listed["photos"]["source"] == str(plugins.directory / "photos.toml")
    assert (listed["photos"]["address"], listed["photos"]["pid"], listed["photos"]["environment"]) == (None, None, None)
    assert "key 'comand' is unknown" in listed["bad"]["reason"]
    assert run("ls", *place, "--filter", "name=films").stderr == "extframe: no plugin matches the filter\n"
    shown = run("inspect", "photos", *place)
    assert (shown.exit_code, "state         idle" in shown.stdout) == (0, True)

    called = run("call", "photos", "VolumeDriver.List", *place)
    assert (called.exit_code, json.loads(called.stdout)) == (0, {"Volumes": []})
    assert called.stderr == "extframe: no running host has started 'photos': it is started for this command\n"
    failed = run("call", "music", "VolumeDriver.List", *place)
    assert failed.exit_code == ExitCode.FAILURE
    assert "plugin 'music' exited with status 3" in failed.stderr
    assert "it said: cannot read config.toml" in failed.stderr
    late = run("call", "music", "VolumeDriver.List", *place, "--timeout", "0.01")
    assert "plugin 'music' " in late.stderr
    missing = run("call", "photo", "VolumeDriver.List", *place)
    assert missing.exit_code == ExitCode.NOT_FOUND
    assert "did you mean 'photos'?" in missing.stderr


def test_the_plugins_of_a_running_host_of_an_app_are_reached_through_it(run, short_path, monkeypatch):
    for name in ("CONFIG_HOME", "DATA_HOME", "RUNTIME_DIR"):
        monkeypatch.setenv(f"XDG_{name}", str(short_path))
    monkeypatch.setattr(os, "geteuid", lambda: 1000)  # root's directories are those of the system
    (short_path / "myhost").mkdir()
    plugins = Plugins(short_path / "myhost")
    plugins.directory.chmod(0o755)
    place = ("--app", "myhost")
    plugins.write("photos")
    plugins.write("films")
    plugins.write("music", "say:cannot read config.toml", "exit:3", give_up="1 in 60s")
    plugins.write("gone", command=["/nowhere/gone"])
    with extframe.PluginManager(extframe.Supervisor.for_app("myhost"), groups=()) as pm:
        supervisor = pm._registry
        pm.driver("photos", extframe.VolumeDriver)
        supervisor.find("films")
        supervisor.start("music")
        eventually(lambda: supervisor.status("music").state is ProcessState.FAILED)
        eventually(lambda: supervisor.status("photos").state is ProcessState.RUNNING)
        pid = supervisor.status("photos").pid

        listed = rows(run("ls", *place, "-o", "json"))
        states = {name: row["state"] for name, row in listed.items()}
        assert states == {"films": "idle", "gone": "idle", "music": "failed", "photos": "active"}
        assert (listed["photos"]["pid"], listed["photos"]["implements"]) == (pid, ["VolumeDriver"])
        assert listed["music"]["exit"].endswith("it said: cannot read config.toml")
        assert supervisor.status("films").state is ProcessState.IDLE  # a look starts nothing

        report = rows(run("doctor", *place, "-o", "json"), "subject")
        assert report["photos"]["what"] == "responds; implements VolumeDriver"
        assert report["films"]["what"] == "does not run: its host starts it on demand"
        assert (report["gone"]["verdict"], report["gone"]["what"]) == (
            "problem", "its program /nowhere/gone does not exist",
        )  # fmt: skip
        assert (report["music"]["verdict"], "exited with status 3" in report["music"]["what"]) == ("problem", True)
        assert supervisor.status("films").state is ProcessState.IDLE
        path = plugins.write("music", "say:cannot read config.toml", "exit:3", give_up="1 in 60s")
        assert report["music"]["command"].removeprefix("sudo ") == f"touch {path}"

        assert json.loads(run("call", "films", "VolumeDriver.List", *place).stdout) == {"Volumes": []}
        eventually(lambda: supervisor.status("films").state is ProcessState.RUNNING)
        shown = json.loads(run("inspect", "films", *place, "-o", "json").stdout)
        assert (shown["state"], shown["pid"]) == ("active", supervisor.status("films").pid)
        supervisor.stop("films")
        stopped = run("ls", *place, "--no-contact", "-o", "json")
        assert {name: row["state"] for name, row in rows(stopped).items()}["films"] == "stopped"
        assert runs(pid)


def add_environment(directory: Path, wheels: Path) -> None:
    """Make what ``extframe install photos acme-photos`` makes, which takes seconds."""
    paths = [write_wheel(wheels, "extframe", "0.1.0", {"extframe.py": b""}), write_plugin(wheels, "photos")]
    hashes = [(f"sha256:{hashlib.sha256(path.read_bytes()).hexdigest()}",) for path in paths]
    packages = [Package("extframe", "0.1.0", hashes[0]), Package("acme-photos", "1.0", hashes[1])]
    lock = Lock(f"{sys.version_info[0]}.{sys.version_info[1]}", ("acme-photos",), tuple(packages))
    store = Store(str(directory / "environments"))
    with store.draft("photos") as draft:
        venv.create(draft, with_pip=False, symlinks=True)
        (site,) = sites_of(draft)
        for path in paths:
            zipfile.ZipFile(path).extractall(site)
        store.adopt("photos", draft, lock.key, lock.text)
    store.switch("photos", lock.key)
    write_plugin_file(directory / "photos.toml", "photos", PythonPlugin("acme_photos:Plugin", "photos"))
    (directory / "photos.lock").write_text(lock.text)


def test_environments_are_shown_and_the_commands_of_doctor_repair_them(run, tmp_path, monkeypatch):
    wheels, place = tmp_path / "wheels", ("--dir", tmp_path / "plugins.d")
    tmp_path.chmod(0o755)
    wheels.mkdir()
    add_environment(place[1], wheels)
    version = ".".join(map(str, sys.version_info[:3]))
    environment = (tmp_path / "plugins.d" / "environments" / "photos" / "current").resolve()
    assert f"photos (Python {version})" in run("ls", *place).stdout
    shown = json.loads(run("inspect", "photos", *place, "-o", "json").stdout)
    assert shown["environment"] == {"name": "photos", "path": str(environment), "python": version}
    lock = tmp_path / "plugins.d" / "photos.lock"
    monkeypatch.setenv("PATH", f"{Path(sys.executable).parent}:{os.environ['PATH']}")

    def diagnosed() -> dict[str, str]:
        found = json.loads(run("doctor", *place, "--no-contact", "-o", "json").stdout)
        (row,) = [each for each in found if each["group"] == "environments"]
        return row

    def is_repaired(verdict: str, what: str) -> None:
        row = diagnosed()
        assert (row["subject"], row["verdict"]) == ("photos", verdict)
        assert what in row["what"]
        subprocess.run(["sh", "-c", row["command"]], check=True, timeout=120)
        assert diagnosed()["what"] == f"Python {version}, 2 packages; used by photos"

    good = diagnosed()
    assert (good["verdict"], good["what"]) == ("ok", f"Python {version}, 2 packages; used by photos")
    lock.unlink()
    is_repaired("warning", "has no lock file")
    lock.write_text("acme==1\n")
    is_repaired("problem", "has a lock file that cannot be used: line 1 is 'acme==1'; expected NAME==VERSION")
    environment.parent.chmod(0o777)
    is_repaired("problem", "unsafe, because ")
    python = environment / "bin" / "python"
    python.rename(environment / "bin" / "lost")
    assert "environment 'photos' has lost" in rows(run("ls", *place, "-o", "json"))["photos"]["reason"]
    row = diagnosed()
    assert (row["verdict"], row["command"]) == ("problem", f"extframe sync --dir {place[1]} photos")
    (environment / "bin" / "lost").rename(python)
    text = lock.read_text()
    lock.write_text(text.replace("acme-photos==1.0", "acme-photos==1.1"))
    assert "is not what its lock file says: its packages are others" in diagnosed()["what"]
    lock.write_text(text)
    (environment / "lib").rename(environment / "lib.old")
    assert "does not have extframe" in diagnosed()["what"]
    (environment / "lib.old").rename(environment / "lib")
    (tmp_path / "plugins.d" / "photos.toml").unlink()
    assert "is not used" in diagnosed()["what"]
    subprocess.run(["sh", "-c", diagnosed()["command"]], check=True, timeout=120)
    assert not environment.exists()
