"""``rclone serve docker``, a volume plugin in Go, used as any host would: found, activated, mounted."""

from __future__ import annotations

import contextlib
import os
import stat
import subprocess
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import printed
import pytest
from faultserver import eventually

import extframe
from extframe import DoesNotImplement, LocalRegistry, PluginManager, RemoteError, VolumeDriver


class Rclone:
    """An rclone that keeps everything in one directory: configuration, state, mounts, and what is mounted."""

    def __init__(self, program: str, directory: Path, start: Callable, transport: str) -> None:
        self._program, self._start, self._transport = program, start, transport
        self.sockets, self.specs = directory / "sockets", directory / "specs"
        self.files, self.mounts, self.cache = directory / "files", directory / "mounts", directory / "cache"
        for each in (self.sockets, self.specs, self.files, self.mounts, self.cache):
            each.mkdir()
        self._configuration = directory / "rclone.conf"
        self._configuration.write_text("[here]\ntype = local\n")
        self.remote = f"here:{self.files}"
        self.registry = LocalRegistry(sockets=self.sockets, specs=[self.specs])
        self.restart()

    @property
    def source(self) -> Path:
        return self.specs / "rclone.spec" if self._transport == "tcp" else self.sockets / "rclone.sock"

    def restart(self) -> None:
        address = "127.0.0.1:0" if self._transport == "tcp" else self.source
        options = ("--base-dir", self.mounts, "--cache-dir", self.cache, "--socket-addr", address, "--no-spec", "-v")
        self.process = self._start(self._program, "serve", "docker", *options, RCLONE_CONFIG=self._configuration)
        serving = self.process.wait_for(r"Serving (unix|TCP) socket: (\S+)")
        if self._transport == "tcp":
            # What rclone writes itself, without --no-spec, into /etc/docker/plugins.
            self.source.write_text(f"tcp://{serving[2]}")

    def let_go(self) -> None:
        """Stop it, and unmount what it left mounted: the directory is about to be removed with all below it."""
        self.process.stop()
        for mount in self.mounts.iterdir():
            if os.path.ismount(mount):
                subprocess.run(["fusermount3", "-u", "-z", mount], check=True, timeout=30)


@pytest.fixture(params=["unix", "tcp"])
def rclone(request, need, start, short_path) -> Iterator[Rclone]:
    running = Rclone(need("rclone"), short_path, start, request.param)
    yield running
    running.let_go()


@pytest.fixture
def manager(rclone) -> Iterator[PluginManager]:
    with PluginManager(rclone.registry) as manager:
        yield manager


@pytest.fixture
def volumes(manager, rclone) -> VolumeDriver:
    """The driver, with one volume: ``photos``."""
    driver = manager.driver("rclone", VolumeDriver)
    driver.create("photos", {"remote": rclone.remote})
    return driver


# --- found and activated ------------------------------------------------------------------------------


def test_rclone_is_found_by_its_name_and_says_what_it_is(manager, rclone):
    assert manager.scan() == ["rclone"]
    plugin = manager.get("rclone", VolumeDriver)
    assert plugin.manifest.implements == ("VolumeDriver",)
    assert plugin.source == str(rclone.source)


def test_the_socket_that_rclone_makes_is_one_that_others_may_not_write(rclone):
    if rclone.source.suffix == ".sock":
        assert stat.S_IMODE(rclone.source.stat().st_mode) == 0o660


def test_rclone_is_no_network_plugin(manager):
    with pytest.raises(DoesNotImplement, match="VolumeDriver"):
        manager.get("rclone", "NetworkDriver")


def test_a_handler_is_called_once_and_its_driver_is_the_one_that_the_host_gets(manager):
    class Photos(VolumeDriver):
        pass

    called = []

    class Handler:
        @extframe.hookimpl
        def volume_driver(self, name, client):
            called.append(name)
            return Photos.remote(client)

    manager.register(Handler())
    drivers = [manager.driver("rclone", VolumeDriver) for _ in range(3)]
    assert called == ["rclone"]
    assert isinstance(drivers[0], Photos)
    assert drivers[0].list() == []


def test_a_hook_call_by_the_host_gives_the_drivers_of_the_installed_handlers(manager):
    client = manager.get("rclone").client
    (driver,) = manager.hook.volume_driver(name="rclone", client=client)
    assert isinstance(driver, VolumeDriver)
    assert driver.list() == []


# --- volumes ------------------------------------------------------------------------------------------


def test_a_volume_is_created_described_listed_and_removed(volumes, rclone):
    volume = volumes.get("photos")
    assert volume.name == "photos"
    assert volume.mountpoint == str(rclone.mounts / "photos")
    assert volume.status == {"Mounts": []}
    assert abs(volume.created.timestamp() - time.time()) < 60
    assert volumes.list() == [volume]
    assert volumes.path("photos") == volume.mountpoint

    volumes.remove("photos")
    assert volumes.list() == []


def test_rclones_volumes_are_local_ones(volumes):
    assert volumes.capabilities().scope == "local"


@pytest.mark.parametrize("name", ["a b", "naïve/żółć", "<&>", 'quoted "name"', "snow\N{SNOWMAN}\N{PILE OF POO}"])
def test_a_name_reaches_rclone_and_comes_back_as_it_is(volumes, rclone, name):
    volumes.create(name, {"remote": rclone.remote})
    assert volumes.get(name).name == name


def test_many_threads_use_one_driver(volumes, rclone):
    def cycle(number: int) -> str:
        volumes.create(f"v{number}", {"remote": rclone.remote})
        found = volumes.get(f"v{number}").name
        volumes.remove(found)
        return found

    with ThreadPoolExecutor(8) as threads:
        assert list(threads.map(cycle, range(80))) == [f"v{number}" for number in range(80)]
    assert [volume.name for volume in volumes.list()] == ["photos"]


# --- mounted ------------------------------------------------------------------------------------------


@pytest.fixture
def mounted(volumes, need) -> Path:
    need("fusermount3")
    return Path(volumes.mount("photos", id="c1"))


@pytest.mark.device("/dev/fuse")
def test_a_file_written_to_a_mounted_volume_is_in_the_directory_behind_it(volumes, mounted, rclone):
    assert mounted == rclone.mounts / "photos"
    assert os.path.ismount(mounted)
    assert volumes.get("photos").status == {"Mounts": ["c1"]}

    (mounted / "letter.txt").write_text("Dear Sir")
    behind = rclone.files / "letter.txt"
    assert eventually(lambda: behind.exists() and behind.read_text() == "Dear Sir")

    volumes.unmount("photos", id="c1")
    assert not os.path.ismount(mounted)
    assert behind.read_text() == "Dear Sir"


@pytest.mark.device("/dev/fuse")
def test_a_file_in_the_directory_is_read_through_the_mounted_volume(rclone, mounted):
    (rclone.files / "answer.txt").write_text("Dear Madam")
    assert (mounted / "answer.txt").read_text() == "Dear Madam"


@pytest.mark.device("/dev/fuse")
def test_a_volume_stays_mounted_until_its_last_user_lets_go(volumes, mounted):
    assert volumes.mount("photos", id="c2") == str(mounted)
    volumes.unmount("photos", id="c1")
    assert os.path.ismount(mounted)
    volumes.unmount("photos", id="c2")
    assert not os.path.ismount(mounted)


# --- refused ------------------------------------------------------------------------------------------


def assert_refused(refusal: pytest.ExceptionInfo[RemoteError], method: str, words: str) -> None:
    error = refusal.value
    assert (error.message, error.status, error.plugin, error.method) == (words, 500, "rclone", method)
    assert words in str(error)


@pytest.mark.parametrize(
    ("method", "arguments"),
    [("get", ()), ("path", ()), ("remove", ()), ("mount", ("c1",)), ("unmount", ("c1",))],
)
def test_a_volume_that_does_not_exist_is_refused_in_rclones_own_words(volumes, method, arguments):
    with pytest.raises(RemoteError) as refusal:
        getattr(volumes, method)("letters", *arguments)
    assert_refused(refusal, f"VolumeDriver.{method.title()}", "volume not found")


@pytest.mark.parametrize(
    ("name", "options", "words"),
    [
        ("photos", {"remote": "here:/"}, "volume already exists"),
        ("letters", {}, "volume must have either remote or backend type"),
        ("letters", {"remote": "there:/"}, "didn't find section in config file"),
        ("letters", {"remote": "here:/", "colour": "red"}, 'unsupported backend option "colour"'),
        ("", {"remote": "here:/"}, "volume name is required"),
    ],
)
def test_a_volume_that_cannot_be_is_refused_in_rclones_own_words(volumes, name, options, words):
    with pytest.raises(RemoteError) as refusal:
        volumes.create(name, options)
    assert_refused(refusal, "VolumeDriver.Create", words)


@pytest.mark.device("/dev/fuse")
@pytest.mark.parametrize(
    ("method", "arguments", "words"),
    [
        ("mount", ("photos", "c1"), "volume is already mounted by this id"),
        ("unmount", ("photos", "c2"), "volume is not mounted by this id"),
        ("remove", ("photos",), "volume is in use"),
    ],
)
def test_what_a_mounted_volume_is_not_fit_for_is_refused_in_rclones_own_words(
    volumes, mounted, method, arguments, words
):
    with pytest.raises(RemoteError) as refusal:
        getattr(volumes, method)(*arguments)
    assert_refused(refusal, f"VolumeDriver.{method.title()}", words)


def test_a_method_that_rclone_does_not_have_is_not_found(manager):
    client = manager.get("rclone").client
    with pytest.raises(RemoteError, match="404 page not found") as refusal:
        client.call("NetworkDriver.GetCapabilities")
    assert refusal.value.not_found


def test_a_session_reaches_rclone_for_what_calls_do_not_cover(manager):
    session = manager.get("rclone").client.session
    assert session.post("VolumeDriver.Create", data="not JSON").status_code == 400
    assert session.get("VolumeDriver.List").status_code == 405
    assert session.post("VolumeDriver.List").json() == {"Volumes": []}


# --- restarted ----------------------------------------------------------------------------------------


def test_a_driver_goes_on_working_when_rclone_was_killed_and_started_again(manager, volumes, rclone):
    rclone.process.kill()
    with contextlib.suppress(FileNotFoundError):
        (rclone.sockets / "rclone.sock").unlink()  # rclone does not start where its socket was left
    rclone.restart()
    again = manager.driver("rclone", VolumeDriver)
    assert [volume.name for volume in again.list()] == ["photos"]  # from rclone's own state file
    assert [volume.name for volume in volumes.list()] == ["photos"]


def test_an_rclone_that_is_stopped_is_missed(manager, rclone):
    manager.get("rclone")
    rclone.process.stop()
    with pytest.raises((extframe.PluginNotFound, extframe.ConnectError)):  # over TCP a restart is waited for
        manager.get("rclone").client.call("VolumeDriver.List", timeout=1)


# --- the README ---------------------------------------------------------------------------------------


@pytest.mark.device("/dev/fuse")
def test_the_readmes_host_of_rclone_prints_what_is_shown(need, short_path):
    need("rclone")
    need("fusermount3")
    printed.add_environment(short_path)
    printed.write_files(short_path, printed.README.read_text())
    block = printed.console("rclone serve docker")
    own = {"RCLONE_CONFIG": str(short_path / "rclone.conf"), "RCLONE_CACHE_DIR": str(short_path / "cache")}
    try:
        assert printed.run(short_path, printed.commands(block), **own) == printed.output(block)
    finally:
        assert eventually(lambda: not os.path.ismount(short_path / "volumes" / "cellar"))
