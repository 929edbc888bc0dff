"""Managed plugins of a real engine: installed, enabled, used, killed, disabled and replaced."""

from __future__ import annotations

import json
import os
import shutil
import signal
import socket
import subprocess
import sys
from collections import deque
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
from engines import Engine, build_static, running
from faultserver import eventually

if TYPE_CHECKING:
    from conftest import Program

pytestmark = pytest.mark.skipif(os.geteuid() != 0, reason="the engine runs as root")

HOST = """
import json, os, sys
import extframe

class Journal:
    @extframe.hookimpl
    def plugin_activated(self, name):
        print("activated", name, flush=True)

    @extframe.hookimpl
    def plugin_removed(self, name):
        print("removed", name, flush=True)

def driver(name):
    return pm.driver(name, extframe.VolumeDriver, timeout=60)

def mount(name):
    volumes = driver(name)
    volumes.create("photos")
    with open(volumes.mount("photos", id="1") + "/one") as file:
        return file.read()

def mountpoints(name):
    return {volume.name: volume.mountpoint for volume in driver(name).list()}

def points(name):
    return pm.get(name, timeout=60).manifest.implements

def as_nobody(name):
    os.seteuid(65534)
    pm.get(name)

pm = extframe.PluginManager(extframe.DockerPlugins(sys.argv[1]))
pm.register(Journal())
with pm, pm.watch():
    for line in sys.stdin:
        act, name = line.split()
        try:
            print("=", json.dumps(globals()[act](name)), flush=True)
        except extframe.ExtframeError as error:
            print("=", type(error).__name__, error, flush=True)
"""


@pytest.fixture(scope="module")
def engine(need: Callable[[str], str]) -> Iterator[Engine]:
    for program in ("dockerd", "docker", "unshare", "nsenter"):
        need(program)
    with running(Engine(private=True)) as engine:
        yield engine


@pytest.fixture(scope="module")
def create(need: Callable[[str], str], engine: Engine, tmp_path_factory: pytest.TempPathFactory) -> Callable[..., None]:
    """A function that installs ``go/managed`` under a name, with arguments and types; it is disabled then."""
    programs = tmp_path_factory.mktemp("managed")
    build_static(need("go"), "managed", programs)

    def create(name: str, *arguments: str, types: Sequence[str] = ("docker.volumedriver/1.0",)) -> None:
        directory = tmp_path_factory.mktemp("plugin")
        for inside in ("run/docker/plugins", "mnt/state"):
            (directory / "rootfs" / inside).mkdir(parents=True)
        shutil.copy(programs / "managed", directory / "rootfs")
        # The engine refuses a second plugin with the same files, as of two that are made within a second.
        (directory / "rootfs" / "made").write_text(directory.name)
        configuration = {
            "Description": "volumes in memory",
            "Entrypoint": ["/managed", *arguments],
            "Interface": {"Types": [*types], "Socket": arguments[0]},
            "Network": {"Type": "none"},
            "PropagatedMount": "/mnt/state",
            "Linux": {"Capabilities": ["CAP_SYS_ADMIN"]},
        }
        (directory / "config.json").write_text(json.dumps(configuration))
        engine("plugin", "create", name, str(directory))

    return create


class Host:
    """A program with a `DockerPlugins` in the engine's mount namespace. It prints events and results."""

    def __init__(self, engine: Engine) -> None:
        command = engine.inside(sys.executable, "-c", HOST, engine.address)
        self._process = subprocess.Popen(command, text=True, stdin=subprocess.PIPE, stdout=subprocess.PIPE)
        self._events: deque[str] = deque()

    def ask(self, act: str, plugin: str) -> str:
        """Return the result of an act with a plugin, or the error."""
        assert self._process.stdin is not None
        print(act, plugin, file=self._process.stdin, flush=True)
        while not (line := self._line()).startswith("= "):
            self._events.append(line)
        return line.removeprefix("= ")

    def event(self, plugin: str) -> str:
        """Return the next event of a plugin. Those of others come in any order, and are dropped."""
        while True:
            event, name = (self._events.popleft() if self._events else self._line()).split()
            if name == plugin:
                return event

    def _line(self) -> str:
        assert self._process.stdout is not None
        line = self._process.stdout.readline()
        assert line, "the host ended"
        return line.rstrip()

    def close(self) -> None:
        self._process.communicate(timeout=60)


@pytest.fixture
def host(engine: Engine) -> Iterator[Host]:
    host = Host(engine)
    yield host
    host.close()


def process_of(socket: str) -> int:
    """Return the process of the plugin that listens at a socket."""
    for directory in Path("/proc").iterdir():
        if directory.name.isdigit():
            try:
                words = (directory / "cmdline").read_bytes().split(b"\0")
            except OSError:
                continue
            if words[:2] == [b"/managed", socket.encode()]:
                return int(directory.name)
    raise AssertionError(f"no plugin listens at {socket}")


def test_a_managed_plugin_is_found_used_and_restarted(engine, create, host):
    create("acme/vol", "vol.sock")
    create("acme/other:2", "other.sock", "handshake")
    engine("plugin", "enable", "acme/vol")
    assert host.event("acme/vol:latest") == "activated"
    assert host.ask("mount", "acme/vol") == '"a picture"'  # read by the host, at the host's path
    plugin_id = engine("plugin", "inspect", "--format", "{{.Id}}", "acme/vol")
    directory = engine.directory / "data" / "plugins" / plugin_id
    assert json.loads(host.ask("mountpoints", plugin_id)) == {"photos": f"{directory}/propagated-mount/photos"}
    # The engine starts it again, under the same id, with another socket.
    os.kill(process_of("vol.sock"), signal.SIGKILL)
    assert eventually(lambda: host.ask("mountpoints", "acme/vol:latest") == "{}")
    engine("plugin", "enable", "acme/other:2")
    assert host.event("acme/other:2") == "activated"
    assert host.ask("mountpoints", "acme/other") == "{}"
    refused = host.ask("as_nobody", "acme/other")
    assert refused.startswith("SpecError managed plugin acme/other:2: only root may enter /run/docker/plugins")


@pytest.fixture
def images(need: Callable[[str], str], start: Callable[..., Program], tmp_path: Path) -> str:
    """Where the engine pushes plugins to and pulls them from: Docker's registry of images."""
    with socket.create_server(("127.0.0.1", 0)) as free:
        address = f"127.0.0.1:{free.getsockname()[1]}"
    configuration = tmp_path / "registry.yml"
    storage = {"filesystem": {"rootdirectory": str(tmp_path / "images")}}
    configuration.write_text(json.dumps({"version": 0.1, "storage": storage, "http": {"addr": address}}))
    start(need("docker-registry"), "serve", configuration).wait_for("listening on")
    return address


def test_plugins_that_are_disabled_upgraded_and_replaced_are_noticed(engine, create, host, images):
    create(f"{images}/acme/up:1", "up.sock")
    create(f"{images}/acme/up:2", "new.sock", types=["docker.volumedriver/1.0", "docker.logdriver/1.0"])
    for tag in (1, 2):
        engine("plugin", "push", f"{images}/acme/up:{tag}")
        engine("plugin", "rm", f"{images}/acme/up:{tag}")
    engine("plugin", "install", "--grant-all-permissions", "--alias=acme/up", f"{images}/acme/up:1")
    assert host.event("acme/up:latest") == "activated"
    assert json.loads(host.ask("points", "acme/up")) == ["VolumeDriver"]
    engine("plugin", "disable", "acme/up")
    assert host.event("acme/up:latest") == "removed"
    command = f"docker --host {engine.address} plugin enable acme/up:latest"
    assert host.ask("mountpoints", "acme/up").endswith(f"acme/up:latest is disabled; enable it with: {command}")
    # The same id, with another configuration.
    upgrade = ("--grant-all-permissions", "--skip-remote-check", "acme/up", f"{images}/acme/up:2")
    engine("plugin", "upgrade", *upgrade)
    engine("plugin", "enable", "acme/up")
    assert host.event("acme/up:latest") == "activated"
    assert json.loads(host.ask("points", "acme/up")) == ["VolumeDriver", "LogDriver"]
    # The same name, with another id.
    engine("plugin", "disable", "acme/up")
    engine("plugin", "rm", "acme/up")
    assert host.event("acme/up:latest") == "removed"
    create("acme/up", "up.sock")
    engine("plugin", "enable", "acme/up")
    assert host.event("acme/up:latest") == "activated"
    assert host.ask("mountpoints", "acme/up") == "{}"


def test_the_command_lists_shows_calls_and_checks_a_managed_plugin(engine, create):
    create("acme/cli", "cli.sock")
    engine("plugin", "enable", "acme/cli")

    def extframe(*arguments: str) -> object:
        command = engine.inside(sys.executable, "-m", "extframe.cli", *arguments, f"--engine={engine.address}")
        done = subprocess.run(command, capture_output=True, text=True, timeout=120)
        assert not done.stderr
        return json.loads(done.stdout)

    assert "acme/cli:latest" in [row["name"] for row in extframe("ls", "-o", "json")]
    assert extframe("inspect", "acme/cli", "-o", "json")["paths"]["/mnt/state"].endswith("/propagated-mount")
    assert extframe("call", "acme/cli", "VolumeDriver.List") == {"Volumes": []}
    verdicts = {each["check"]: each["verdict"] for each in extframe("check", "acme/cli", "-o", "json")}
    assert verdicts["VolumeDriver.List"] == "pass"
    assert verdicts["VolumeDriver.Get"] == "fail"  # the plugin does not have it
