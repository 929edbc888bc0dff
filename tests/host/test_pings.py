"""plugin.ping and pm.watch(ping=...): a plugin that hangs is noticed before it is called."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest
from faultserver import eventually

from extframe import (
    AsyncPluginManager,
    CallTimeout,
    ConnectError,
    LocalRegistry,
    PluginManager,
    ProtocolError,
    RemoteError,
    State,
    hookimpl,
)
from extframe.testing import Error, FakePlugin, Fault

MANIFEST = {"Implements": ["VolumeDriver"]}


@pytest.fixture
def photos(short_path: Path) -> Iterator[FakePlugin]:
    with FakePlugin(short_path, "photos", ["VolumeDriver"]) as plugin:
        yield plugin


class Log:
    """Notes the lifecycle events, and wakes the test."""

    def __init__(self) -> None:
        self.reasons: list[str] = []
        self.lost, self.back = threading.Event(), threading.Event()

    @hookimpl
    def plugin_lost(self, reason: str) -> None:
        self.reasons.append(reason)
        self.lost.set()

    @hookimpl
    def plugin_activated(self) -> None:
        if self.lost.is_set():
            self.back.set()


def test_a_ping_is_a_handshake_that_changes_nothing(short_path: Path, photos: FakePlugin) -> None:
    with PluginManager(LocalRegistry(short_path)) as pm:
        plugin = pm.get("photos")
        assert 0 < plugin.ping() < 60
        photos.answer("Plugin.Activate", {"Implements": ["Other"]}, Error("busy"), b"[]", Fault.HANG)
        assert plugin.ping(timeout=30) > 0
        for timeout, kind in ((30, RemoteError), (30, ProtocolError), (0.2, CallTimeout)):
            with pytest.raises(kind, match=r"Plugin\.Activate on plugin 'photos'"):
                plugin.ping(timeout)
        assert (plugin.state, plugin.manifest.implements) == (State.ACTIVE, ("VolumeDriver",))
        photos.refuse()
        with pytest.raises(ConnectError):
            plugin.ping()
        assert plugin.state is State.LOST  # as after any call
        with pytest.raises(ValueError, match="timeout"):
            plugin.ping(0)


def test_any_response_is_enough_of_a_plugin_that_has_no_handshake(short_path: Path, photos: FakePlugin) -> None:
    photos.answer("Plugin.Activate", Error("404 page not found", 404))
    with PluginManager(LocalRegistry(short_path), implements={"photos": ["LogDriver"]}) as pm:
        assert pm.get("photos").ping() > 0


def test_a_watch_notices_that_a_plugin_hangs_and_that_it_responds_again(short_path: Path, photos: FakePlugin) -> None:
    log = Log()
    with PluginManager(LocalRegistry(short_path)) as pm:
        pm.register(log)
        with pm.watch(ping=0.05, timeout=0.5):
            plugin = pm.get("photos")
            photos.answer("Plugin.Activate", Fault.HANG)
            assert log.lost.wait(60)  # on a machine that stalls, before that
            assert eventually(lambda: plugin.state is not State.ACTIVE, 60)
            photos.answer("Plugin.Activate", MANIFEST)
            assert log.back.wait(60)
            assert eventually(lambda: plugin.state is State.ACTIVE, 60)
    assert log.reasons[0].startswith("it did not answer a ping: ")
    assert photos.calls_of("VolumeDriver.List") == []


def test_an_async_watch_does_the_same(short_path: Path, photos: FakePlugin) -> None:
    async def main() -> list[str]:
        async with AsyncPluginManager(LocalRegistry(short_path)) as pm:
            plugin = await pm.get("photos")
            assert await plugin.ping() > 0
            kinds: list[str] = []
            async with pm.watch(ping=0.05, timeout=0.5) as events:
                photos.answer("Plugin.Activate", Fault.HANG)
                async for event in events:
                    kinds.append(event.kind)
                    if event.kind == "lost":
                        assert event.reason.startswith("it did not answer a ping: ")
                        photos.answer("Plugin.Activate", MANIFEST)
                    elif event.kind == "activated":
                        return kinds
        return []

    kinds = asyncio.run(asyncio.wait_for(main(), 60))
    assert (kinds[0], kinds[-1]) == ("lost", "activated")


def test_a_plugin_that_responds_to_calls_is_not_pinged_and_an_error_is_a_response(
    short_path: Path, photos: FakePlugin
) -> None:
    photos.answer("VolumeDriver.List", {"Volumes": []})
    pinged = threading.Event()
    with PluginManager(LocalRegistry(short_path)) as pm, pm.watch(ping=0.2, timeout=30):
        plugin = pm.get("photos")

        def busy(call: object) -> Error:
            pinged.set()
            return Error("busy")

        photos.answer("Plugin.Activate", busy)
        for _ in range(20):
            plugin.client.call("VolumeDriver.List")
        assert pinged.wait(60)  # once it was silent
        assert plugin.client.call("VolumeDriver.List")
        assert plugin.state is State.ACTIVE
