"""Plugins with a root file system of their own: typed drivers return the host's paths, in both kinds of host."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from pathlib import Path

import pytest

from extframe import (
    AsyncPluginManager,
    AsyncVolumeDriver,
    Interface,
    Manifest,
    PluginManager,
    PluginSpec,
    VolumeDriver,
    rpc,
)
from extframe.testing import FakePlugin

VOLUMES = [{"Name": "photos", "Mountpoint": "/mnt/state/photos"}, {"Name": "new"}]
PATHS = (("/", "/plugin/rootfs"), ("/mnt/state", "/plugin/mounts"))


class Backup(Interface, implements="Backup"):
    @rpc("Archives", returns="Archives", paths=lambda found, host_path: [host_path(path) for path in found])
    def archives(self) -> list[str]:
        raise NotImplementedError


class Contained:
    """A registry with one plugin, whose file system is elsewhere on the host."""

    def __init__(self, address: str) -> None:
        self.spec = PluginSpec("vol", address, manifest=Manifest(("VolumeDriver", "Backup")), paths=PATHS, stamp=1)

    def scan(self) -> list[str]:
        return ["vol"]

    def find(self, name: str) -> PluginSpec:
        return self.spec

    def stamp(self, spec: PluginSpec) -> object:
        return self.spec.stamp


@pytest.fixture
def registry(short_path: Path) -> Iterator[Contained]:
    with FakePlugin(short_path, "vol", ["VolumeDriver"]) as plugin:
        plugin.answer("VolumeDriver.Mount", {"Mountpoint": "/mnt/state/photos"})
        plugin.answer("VolumeDriver.Path", {"Mountpoint": ""}, {"Mountpoint": "/elsewhere/photos"})
        plugin.answer("VolumeDriver.Get", {"Volume": VOLUMES[0]})
        plugin.answer("VolumeDriver.List", {"Volumes": VOLUMES})
        plugin.answer("Backup.Archives", {"Archives": ["/mnt/state/a.tar", "b.tar"]})
        yield Contained(plugin.address)


def test_a_typed_driver_returns_the_hosts_paths_and_a_plain_call_the_plugins(registry):
    with PluginManager(registry) as pm:
        volumes = pm.driver("vol", VolumeDriver)
        assert volumes.mount("photos", id="c1") == "/plugin/mounts/photos"
        assert [volumes.path("photos"), volumes.path("photos")] == ["", "/plugin/rootfs/elsewhere/photos"]
        assert volumes.get("photos").mountpoint == "/plugin/mounts/photos"
        assert [volume.mountpoint for volume in volumes.list()] == ["/plugin/mounts/photos", ""]
        assert pm.driver("vol", Backup).archives() == ["/plugin/mounts/a.tar", "b.tar"]
        client = pm.get("vol").client
        assert client.call("VolumeDriver.Get")["Volume"] == VOLUMES[0]
        assert client.host_path("/run/docker/logging/1") == "/plugin/rootfs/run/docker/logging/1"
        # The plugin is installed again, elsewhere: drivers that are held follow.
        registry.spec = PluginSpec("vol", registry.spec.address, manifest=registry.spec.manifest, stamp=2)
        pm.get("vol")
        assert volumes.mount("photos", id="c1") == "/mnt/state/photos"


def test_an_async_driver_returns_the_hosts_paths_too(registry):
    async def main() -> None:
        async with AsyncPluginManager(registry) as pm:
            volumes = await pm.driver("vol", AsyncVolumeDriver)
            assert await volumes.mount("photos", id="c1") == "/plugin/mounts/photos"
            assert [volume.mountpoint for volume in await volumes.list()] == ["/plugin/mounts/photos", ""]

    asyncio.run(main())
