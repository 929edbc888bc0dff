"""The example volume plugin: hostile names, counted mounts, and a state that no crash tears."""

from __future__ import annotations

import contextlib
import doctest
import http.client
import json
import os
import random
import signal
import subprocess
import sys
import threading
import time
from pathlib import Path

import pytest
from faultserver import eventually
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from wire import Wire, post

from extframe.errors import RemoteError
from extframe.server import serving

PROGRAM = Path(__file__).parents[2] / "examples" / "plugins" / "volume_plugin.py"
ROUNDS = int(os.environ.get("EXTFRAME_KILLS", "4"))

HOSTILE = [
    "../../etc/x", "..", ".", "/", "/etc/passwd", "a/b", "", " ", "a\0b", "\n", "x" * 300, "é" * 100, "%2E%2E", "data",
    ".new-x", "volume.json", "-rf", "~", "$HOME", "\u202etxt", "\U0001f600", "CON", "%name-" + "0" * 64,
]  # fmt: skip


@pytest.fixture(scope="module")
def module(example):
    return example("volume_plugin")


@pytest.fixture
def volumes(module, short_path):
    return module.DirectoryVolumes(short_path / "root")


def reopened(volumes):
    """The same volumes as a plugin finds them that was started again."""
    os.close(volumes._lock)
    return type(volumes)(volumes.root)


# --- volumes ------------------------------------------------------------------------------------------


def test_a_volume_is_a_directory_that_is_there_after_a_restart(volumes):
    volumes.create("photos", {"mode": "700"})
    mountpoint = Path(volumes.mount("photos", "c1"))
    (mountpoint / "one").write_text("a picture")
    again = reopened(volumes)
    assert (Path(again.get("photos").mountpoint) / "one").read_text() == "a picture"
    assert mountpoint.stat().st_mode & 0o777 == 0o700
    assert [volume.name for volume in again.list()] == ["photos"]
    assert again.get("photos").created is not None


def test_creating_twice_is_no_error_and_with_other_options_is_one(volumes):
    volumes.create("photos", {"mode": "700"})
    created = volumes.get("photos").created_at
    volumes.create("photos", {"mode": "700"})
    assert volumes.get("photos").created_at == created
    with pytest.raises(RemoteError, match="exists with other options"):
        volumes.create("photos", {})


def test_an_unknown_option_is_an_error_that_names_those_there_are(volumes):
    with pytest.raises(RemoteError, match="unknown option 'size'; there is: mode"):
        volumes.create("photos", {"size": "5G"})
    with pytest.raises(ValueError, match="invalid literal"):
        volumes.create("photos", {"mode": "rwx"})
    assert volumes.list() == []


@pytest.mark.parametrize("act", ["remove", "get", "path"])
def test_a_volume_that_does_not_exist_is_an_error(volumes, act):
    with pytest.raises(RemoteError, match="no such volume: 'nothing'"):
        getattr(volumes, act)("nothing")


def test_a_removed_volume_leaves_nothing(volumes):
    volumes.create("photos")
    (Path(volumes.get("photos").mountpoint) / "one").write_text("a picture")
    volumes.remove("photos")
    assert [*volumes.root.iterdir()] == []


# --- mounts -------------------------------------------------------------------------------------------


def test_one_id_may_mount_twice_and_must_then_unmount_twice(volumes):
    """What `docker cp` does to a running container."""
    volumes.create("photos")
    assert volumes.mount("photos", "x") == volumes.mount("photos", "x") == volumes.path("photos")
    volumes.unmount("photos", "x")
    with pytest.raises(RemoteError, match="in use by x"):
        volumes.remove("photos")
    volumes.unmount("photos", "x")
    assert volumes.path("photos") == ""
    volumes.remove("photos")


def test_mounts_are_counted_over_a_restart_of_the_plugin(volumes):
    volumes.create("photos")
    for user in "xxy":
        volumes.mount("photos", user)
    again = reopened(volumes)
    assert again.get("photos").status["mounts"] == 3
    again.unmount("photos", "x")
    with pytest.raises(RemoteError, match="in use by x, y"):
        again.remove("photos")


def test_mounts_do_not_outlive_the_boot_of_the_machine(volumes):
    volumes.create("photos")
    volumes.mount("photos", "x")
    volumes._boot = "another boot"
    assert volumes.path("photos") == ""
    volumes.remove("photos")


def test_an_unmount_that_nobody_counted_is_no_error(volumes):
    volumes.create("photos")
    volumes.unmount("photos", "stranger")
    assert volumes.get("photos").status["mounts"] == 0


# --- names --------------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", HOSTILE, ids=ascii)
def test_a_hostile_name_is_a_volume_like_any_other(volumes, name):
    outside = {*volumes.root.parent.iterdir()}
    volumes.create(name)
    mountpoint = Path(volumes.mount(name, "x"))
    assert mountpoint == mountpoint.resolve()
    assert mountpoint.parent.parent == volumes.root
    assert mountpoint.is_dir()
    assert [volume.name for volume in reopened(volumes).list()] == [name]
    volumes.unmount(name, "x")
    volumes.remove(name)
    assert [*volumes.root.iterdir()] == []
    assert {*volumes.root.parent.iterdir()} == outside


def test_all_hostile_names_have_directories_of_their_own(module):
    assert len({module.safe_name(name) for name in HOSTILE}) == len(HOSTILE)


@settings(deadline=None, suppress_health_check=list(HealthCheck))
@given(names=st.lists(st.text(), min_size=2, max_size=2, unique=True))
def test_two_names_never_share_a_directory(module, names):
    first, second = map(module.safe_name, names)
    assert first != second
    assert all("/" not in each and each[0] != "." and 0 < len(each) <= 200 for each in (first, second))


def test_the_examples_in_its_docstrings_give_what_they_say(module):
    assert doctest.testmod(module).failed == 0


# --- crashes ------------------------------------------------------------------------------------------


def test_a_second_plugin_with_the_same_root_is_refused(module, volumes):
    with pytest.raises(SystemExit, match="another plugin keeps its volumes there"):
        module.DirectoryVolumes(volumes.root)


def test_what_a_crash_left_half_made_is_swept_at_the_next_start(volumes):
    (volumes.root / ".new-abc" / "data").mkdir(parents=True)
    (volumes.root / ".gone-abc" / "volume" / "data").mkdir(parents=True)
    again = reopened(volumes)
    assert [*volumes.root.iterdir()] == []
    assert again.list() == []


class Killed:
    """The example as a process that is killed again and again."""

    def __init__(self, directory: Path) -> None:
        self.address = f"unix://{directory}/sockets/directories.sock"
        self._command = [sys.executable, PROGRAM, directory / "root", "--directory", directory / "sockets"]

    def __enter__(self) -> Killed:
        self._process = subprocess.Popen(self._command, stderr=subprocess.DEVNULL)
        assert eventually(self._answers, timeout=60)
        return self

    def _answers(self) -> bool:
        try:
            return post(self.address, "Plugin.Activate").status == 200
        except OSError:
            return False

    def __exit__(self, *error: object) -> None:
        self._process.send_signal(signal.SIGKILL)
        self._process.wait()


class Client(threading.Thread):
    """Creates, mounts, unmounts and removes volumes of its own, and remembers what was answered."""

    def __init__(self, address: str, name: str, known: dict[str, int]) -> None:
        super().__init__()
        self.address, self.volume, self.known = address, name, known
        self.ending = threading.Event()

    def run(self) -> None:
        chance = random.Random(self.volume)
        with contextlib.suppress(OSError, http.client.HTTPException), Wire(self.address) as wire:
            for number in range(100_000):
                if self.ending.is_set():
                    return
                name = f"{self.volume}-{number % 5}"
                count = self.known.get(name, 0)
                if not count and chance.random() < 0.3:
                    self._call(wire, name, 0, "Remove" if name in self.known else "Create", {"Name": name})
                elif name in self.known:
                    act, change = ("Mount", 1) if chance.random() < 0.5 or not count else ("Unmount", -1)
                    self._call(wire, name, count + change, act, {"Name": name, "ID": "x"})

    def _call(self, wire: Wire, name: str, count: int, method: str, arguments: dict[str, str]) -> None:
        self.known[name] = -1  # if no answer comes, nobody knows
        answer = wire.post(f"VolumeDriver.{method}", arguments)
        assert answer.status == 200, answer.body
        if method == "Remove":
            del self.known[name]
        else:
            self.known[name] = count


def test_kill_9_loses_nothing_that_was_answered_and_leaves_nothing_half_written(short_path):
    """EXTFRAME_KILLS is how often it is killed."""
    known: dict[str, dict[str, int]] = {name: {} for name in ("a", "b", "c")}
    for round_ in range(ROUNDS):
        with Killed(short_path) as plugin:
            with Wire(plugin.address) as wire:
                found = {
                    each["Name"]: each["Status"]["mounts"] for each in wire.post("VolumeDriver.List").json["Volumes"]
                }
                certain = {name: count for each in known.values() for name, count in each.items() if count != -1}
                unknown = {name for each in known.values() for name, count in each.items() if count == -1}
                assert {name: count for name, count in found.items() if name not in unknown} == certain
                for letter, each in known.items():
                    each.clear()
                    each.update({name: count for name, count in found.items() if name.startswith(letter)})
            clients = [Client(plugin.address, name, each) for name, each in known.items()]
            for client in clients:
                client.start()
            time.sleep(random.Random(round_).uniform(0.05, 0.3))
        for client in clients:
            client.ending.set()
            client.join()
        for state in (short_path / "root").glob("[!.]*/volume.json"):
            json.loads(state.read_text())


# --- served -------------------------------------------------------------------------------------------


def test_hosts_see_it_as_any_volume_plugin(volumes):
    with serving(volumes, serialize="name") as plugin, Wire(plugin.address) as wire:
        assert wire.post("VolumeDriver.Create", {"Name": "../x", "Opts": None}).json == {}
        answer = wire.post("VolumeDriver.Mount", {"Name": "../x", "ID": "c1"}).json
        assert answer == {"Mountpoint": str(volumes.root / "%2E.%2Fx" / "data")}
        assert wire.post("VolumeDriver.Get", {"Name": "../x"}).json["Volume"]["Name"] == "../x"
        missing = wire.post("VolumeDriver.Get", {"Name": "other"})
        assert (missing.status, missing.json["Err"]) == (500, "no such volume: 'other'")


def test_many_mounts_of_one_volume_at_once_are_all_counted(volumes):
    volumes.create("photos")
    with serving(volumes, serialize="name") as plugin:

        def mount(index: int) -> None:
            with Wire(plugin.address, timeout=60) as wire:  # a call waits for others, and they for the disk
                for _ in range(10):
                    wire.post("VolumeDriver.Mount", {"Name": "photos", "ID": str(index % 2)})

        threads = [threading.Thread(target=mount, args=(index,)) for index in range(6)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
    assert volumes.get("photos").status["mounts"] == 60
