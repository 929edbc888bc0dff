"""Async plugins on real sockets: a subclass of a mirror is served and called, its streams too."""

from __future__ import annotations

from collections.abc import AsyncIterator
from pathlib import Path

import pytest

import extframe
from extframe import AsyncLogDriver, AsyncVolumeDriver, Client, LogDriver, LogEntry, LogInfo, ReadConfig, VolumeDriver
from extframe.server import serving


class Volumes(AsyncVolumeDriver):
    def __init__(self) -> None:
        self.made: dict[str, dict[str, str]] = {}

    async def create(self, name: str, opts: dict[str, str] = {}) -> None:  # noqa: B006 - as in the interface
        self.made[name] = opts

    async def mount(self, name: str, id: str) -> str:
        return Path("/volumes") / name  # type: ignore[return-value]


class Logs(AsyncLogDriver):
    async def read_logs(self, info: LogInfo, config: ReadConfig = ReadConfig()) -> AsyncIterator[LogEntry]:  # noqa: B008
        for number in range(config.tail):
            yield LogEntry(line=b"%d\n" % number)


def test_an_async_plugin_is_a_subclass_of_the_mirror(short_path):
    volumes = Volumes()
    with serving(volumes, Logs(), name="rclone", directory=short_path) as plugin, Client(plugin.address) as client:
        driver = VolumeDriver.remote(client)
        driver.create("photos", {"size": "1G"})
        assert volumes.made == {"photos": {"size": "1G"}}
        assert driver.mount("photos", id="c1") == "/volumes/photos"
        with pytest.raises(extframe.RemoteError) as caught:
            driver.remove("photos")
        assert caught.value.not_found
        entries = LogDriver.remote(client).read_logs(LogInfo(), ReadConfig(tail=3))
        assert [entry.line for entry in entries] == [b"0\n", b"1\n", b"2\n"]
