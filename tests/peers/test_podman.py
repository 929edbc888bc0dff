"""Podman with a volume plugin in Python: created, inspected, used and removed by podman's command line."""

from __future__ import annotations

import json
import os
import signal
import subprocess
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from engines import EXAMPLES, PluginProcess, build_box
from wire import post

pytestmark = pytest.mark.skipif(os.geteuid() != 0, reason="podman is run as root, with directories of its own")


class Podman:
    """Podman with storage and configuration of its own, where it knows one volume plugin."""

    def __init__(self, program: str, directory: Path, plugin: PluginProcess) -> None:
        configuration = directory / "containers.conf"
        configuration.write_text(f'[engine.volume_plugins]\n{plugin.name} = "{plugin.socket}"\n')
        self._environment = {**os.environ, "CONTAINERS_CONF": str(configuration)}
        self._command = [
            program,
            *(f"--{option}={directory / option}" for option in ("root", "runroot", "tmpdir")),
            "--storage-driver=vfs",
            "--runtime=runc",  # crun refuses hybrid cgroups, which test machines may have
            "--cgroup-manager=cgroupfs",
            "--events-backend=none",
        ]

    def run(self, *arguments: str) -> subprocess.CompletedProcess[str]:
        command = [*self._command, *arguments]
        return subprocess.run(
            command, env=self._environment, capture_output=True, text=True, timeout=180, stdin=subprocess.DEVNULL
        )

    def __call__(self, *arguments: str) -> str:
        """Run a command, which must succeed, and return what it said."""
        done = self.run(*arguments)
        assert done.returncode == 0, f"podman {' '.join(arguments)}: {done.stderr}"
        return done.stdout.strip()


@pytest.fixture
def volumes(short_path: Path) -> Iterator[PluginProcess]:
    with PluginProcess(EXAMPLES / "volume_plugin.py", short_path / "volumes", sockets=short_path) as plugin:
        yield plugin


@pytest.fixture
def podman(need: Callable[[str], str], short_path: Path, volumes: PluginProcess) -> Podman:
    return Podman(need("podman"), short_path, volumes)


@pytest.fixture(scope="module")
def box(need: Callable[[str], str], tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The program of the containers."""
    return build_box(need("go"), tmp_path_factory.mktemp("box"))


def mounts(volumes: PluginProcess) -> int:
    """How often ``photos`` is mounted, as the plugin counts it."""
    volume = post(f"unix://{volumes.socket}", "VolumeDriver.Get", {"Name": "photos"}).json["Volume"]
    return volume["Status"]["mounts"]


def test_volumes_are_created_listed_inspected_and_removed(podman, volumes, short_path):
    assert podman("volume", "create", "--driver", volumes.name, "--opt", "mode=700", "photos") == "photos"
    assert podman("volume", "ls", "--format", "{{.Driver}} {{.Name}}") == f"{volumes.name} photos"
    (found,) = json.loads(podman("volume", "inspect", "photos"))
    assert (found["Driver"], found["Options"]) == (volumes.name, {"mode": "700"})
    assert (short_path / "volumes" / "photos" / "data").stat().st_mode & 0o777 == 0o700
    assert podman("volume", "rm", "photos") == "photos"
    assert [*(short_path / "volumes").iterdir()] == []


def test_what_a_driver_says_reaches_the_user(podman, volumes):
    refused = podman.run("volume", "create", "--driver", volumes.name, "--opt", "size=5G", "photos")
    assert refused.returncode != 0
    assert "unknown option 'size'; there is: mode" in refused.stderr


def test_data_is_still_there_for_the_next_container_after_the_plugin_was_killed(podman, volumes, box):
    podman("import", str(box), "box:latest")
    podman("volume", "create", "--driver", volumes.name, "photos")
    run = (
        "run",
        "--rm",
        "--network=none",
        "--ulimit=nofile=1024:1024",
        "--ulimit=nproc=1024:1024",
        "--volume=photos:/photos",
        "box",
    )
    podman(*run, "/box", "write", "/photos/one", "a picture")
    volumes.stop(signal.SIGKILL)
    volumes.start()
    assert podman(*run, "/box", "read", "/photos/one") == "a picture"
    assert mounts(volumes) == 0
    podman("volume", "rm", "photos")


def test_a_volume_is_mounted_and_unmounted_by_hand(podman, volumes):
    podman("volume", "create", "--driver", volumes.name, "photos")
    podman("volume", "mount", "photos")
    assert mounts(volumes) == 1
    podman("volume", "unmount", "photos")
    assert mounts(volumes) == 0


def test_volumes_that_the_plugin_knows_are_adopted_at_a_reload(podman, volumes, short_path):
    podman("volume", "create", "--driver", volumes.name, "photos")
    (short_path / "volumes" / "photos").rename(short_path / "photos")
    podman("volume", "reload")
    assert podman("volume", "ls", "--quiet") == ""
    (short_path / "photos").rename(short_path / "volumes" / "photos")
    podman("volume", "reload")
    assert podman("volume", "ls", "--quiet") == "photos"
