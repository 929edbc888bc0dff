"""AsyncPluginManager.watch: the lifecycle of plugins as data, next to the lifecycle hooks."""

from __future__ import annotations

import asyncio
import logging
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from event_loops import NEW_LOOP, eventually, run, run_in
from faultserver import eventually as soon

from extframe import (
    ActivationError,
    AsyncPlugin,
    AsyncPluginManager,
    AsyncWatch,
    LocalRegistry,
    PluginEvent,
    PluginNotFound,
    PluginSpec,
    State,
    hookimpl,
)
from extframe.testing import Error, FakePlugin, Fault


@pytest.fixture
def pm(short_path: Path) -> AsyncPluginManager:
    return AsyncPluginManager(LocalRegistry(short_path), groups=())


async def next_of(events: AsyncWatch, *kinds: str, name: str = "photos") -> list[PluginEvent]:
    """Read as many events as there are kinds, and check that they are of these kinds."""
    read = [await asyncio.wait_for(anext(events), 30) for _ in kinds]
    assert [(event.kind, event.name) for event in read] == [(kind, name) for kind in kinds]
    return read


@pytest.mark.parametrize("loop", NEW_LOOP)
def test_what_happens_to_a_plugin_is_reported_as_data(pm: AsyncPluginManager, short_path: Path, loop: str) -> None:
    async def main() -> None:
        async with pm, pm.watch() as events:
            photos = FakePlugin(short_path, "photos", ["VolumeDriver"])
            [activated] = await next_of(events, "activated")
            assert isinstance(activated.plugin, AsyncPlugin)
            assert activated.plugin is await pm.get("photos")
            photos.refuse()  # a restart
            photos.accept()
            lost, _ = await next_of(events, "lost", "activated")
            assert lost.reason == "its source changed"
            photos.answer("Plugin.Activate", Error("not today"))
            photos.refuse()
            photos.accept()
            _, failed = await next_of(events, "lost", "failed")
            assert isinstance(failed.error, ActivationError)
            assert "not today" in failed.reason
            # Not while it is being tried again, which may be at once.
            assert await eventually(lambda: events.next_try("photos") is not None)
            assert await eventually(lambda: activated.plugin.next_try is not None)
            photos.answer("Plugin.Activate", {"Implements": ["VolumeDriver"]})
            await next_of(events, "activated")  # retried without being asked
            photos.close()
            _, removed = await next_of(events, "lost", "removed")
            assert removed.plugin is None
            assert removed.when.tzinfo is not None

    run_in(loop, main)


def test_lifecycle_hooks_and_handlers_are_called_next_to_it(pm: AsyncPluginManager, short_path: Path) -> None:
    seen: list[tuple[str, str]] = []
    threads: list[threading.Thread] = []

    class Log:
        @hookimpl
        async def plugin_activated(self, name: str, plugin: AsyncPlugin) -> None:
            await asyncio.sleep(0.02)
            seen.append(("activated", name))

        @hookimpl
        def plugin_lost(self, name: str, reason: str) -> None:
            threads.append(threading.current_thread())
            seen.append(("lost", name))

        @hookimpl
        async def plugin_removed(self, name: str) -> None:
            seen.append(("removed", name))
            raise ValueError("no log")

    async def main() -> None:
        pm.register(Log(), "log")
        pm.handle("VolumeDriver", lambda name, client: seen.append(("handler", name)))
        async with pm, pm.watch():
            with FakePlugin(short_path, "photos", ["VolumeDriver"]):
                assert await eventually(lambda: len(seen) == 2)
            assert await eventually(pm.failures)
            [failure] = pm.failures()
            assert failure.what == "handler 'log' of plugin_removed on plugin 'photos'"

    run(main)
    photos = [kind for kind, name in seen if name == "photos"]
    assert [kind for kind in photos if kind != "handler"] == ["activated", "lost", "removed"]
    assert photos.count("handler") == 1
    assert threads != [threading.main_thread()]


def test_a_lifecycle_hook_that_hangs_delays_neither_events_nor_later_hooks_for_long(
    pm: AsyncPluginManager, short_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("extframe.handlers.async_lifecycle.TIMEOUT", 0.7)
    seen: list[str] = []
    release = threading.Event()

    class Stuck:
        @hookimpl(tryfirst=True)
        async def plugin_activated(self) -> None:
            await asyncio.Event().wait()

        @hookimpl
        def plugin_lost(self) -> None:
            release.wait(60)

    class Log:
        @hookimpl
        async def plugin_removed(self, name: str) -> None:
            seen.append(name)

    async def main() -> None:
        pm.register(Stuck(), "stuck")
        pm.register(Log(), "log")
        async with pm, pm.watch() as events:
            with FakePlugin(short_path, "photos"):
                await next_of(events, "activated")
            await next_of(events, "lost", "removed")
            assert await eventually(lambda: seen == ["photos"])
            assert {failure.what for failure in pm.failures()} == {
                f"handler 'stuck' of plugin_{event} on plugin 'photos'" for event in ("activated", "lost")
            }

    try:
        run(main)
    finally:
        release.set()


def test_a_hung_handshake_delays_no_other_plugin_and_is_abandoned_when_its_source_changes(
    pm: AsyncPluginManager, short_path: Path
) -> None:
    async def main() -> None:
        with FakePlugin(short_path, "hung") as hung:
            hung.answer("Plugin.Activate", Fault.HANG, {"Implements": ["VolumeDriver"]})
            async with pm, pm.watch(timeout=300.0) as events:
                assert await eventually(lambda: hung.calls)
                with FakePlugin(short_path, "photos"):
                    await next_of(events, "activated")
                    hung.refuse()
                    hung.accept()
                    await next_of(events, "activated", name="hung")

    run(main)


def test_a_loss_that_a_sync_client_notices_in_a_thread_is_reported_and_repaired(
    pm: AsyncPluginManager, short_path: Path
) -> None:
    async def main() -> None:
        with FakePlugin(short_path, "photos", ["VolumeDriver"]) as photos:
            async with pm, pm.watch() as events:
                [event] = await next_of(events, "activated")
                photos.refuse()
                client = event.plugin.client.sync
                calling = asyncio.ensure_future(asyncio.to_thread(client.call, "VolumeDriver.List"))
                lost, _ = await next_of(events, "lost", "failed")
                assert lost.reason == "it refused a connection"
                photos.answer("VolumeDriver.List", {"Volumes": []})
                photos.accept()
                await next_of(events, "activated")
                await asyncio.gather(calling, return_exceptions=True)

    run(main)


class Sources:
    """A registry without directories."""

    def __init__(self) -> None:
        self.specs: dict[str, PluginSpec] = {}
        self.is_broken = False

    def scan(self) -> list[str]:
        if self.is_broken:
            raise OSError("no answer from the server")
        return sorted(self.specs)

    def find(self, name: str) -> PluginSpec:
        if name not in self.specs:
            raise PluginNotFound(f"no plugin {name!r}")
        return self.specs[name]

    def stamp(self, spec: PluginSpec) -> object:
        return self.specs[spec.name].stamp if spec.name in self.specs else None


def test_a_registry_without_directories_is_scanned_and_one_that_cannot_be_loses_no_plugin(
    short_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    sources = Sources()

    async def main() -> None:
        with FakePlugin(short_path, "photos") as photos:
            async with AsyncPluginManager(sources, groups=()) as pm, pm.watch() as events:
                sources.specs["photos"] = PluginSpec("photos", photos.address, stamp=1)
                [event] = await next_of(events, "activated")
                sources.is_broken = True
                assert await eventually(lambda: "no answer from the server" in caplog.text)
                assert event.plugin.state is State.ACTIVE
                sources.is_broken = False
                sources.specs.clear()
                await next_of(events, "lost", "removed")

    with caplog.at_level(logging.ERROR):
        run(main)


def test_several_tasks_may_read_one_watch_and_all_end_with_it(pm: AsyncPluginManager, short_path: Path) -> None:
    async def main() -> None:
        async with pm:
            async with pm.watch() as events:
                readers: list[Any] = [asyncio.ensure_future(anext(events)) for _ in range(3)]
                await asyncio.sleep(0)
                readers.pop().cancel()
                with FakePlugin(short_path, "photos"):
                    done, waiting = await asyncio.wait(readers, timeout=30, return_when=asyncio.FIRST_COMPLETED)
                    assert [reader.result().kind for reader in done] == ["activated"]
                await asyncio.wait(waiting, timeout=30)
                assert [reader.result().kind for reader in waiting] == ["lost"]
                await next_of(events, "removed")
                readers = [asyncio.ensure_future(anext(events)) for _ in range(2)]
                await asyncio.sleep(0)
            await asyncio.wait(readers, timeout=30)
            assert [type(reader.exception()) for reader in readers] == [StopAsyncIteration] * 2

    run(main)


class SlowRegistry(LocalRegistry):
    """One whose scans return when they are released."""

    def __init__(self, directory: Path) -> None:
        super().__init__(directory, [])
        self.has_looked, self.release = threading.Event(), threading.Event()

    def scan(self) -> list[str]:
        names = super().scan()
        self.has_looked.set()
        self.release.wait(30)
        return names


def test_what_changes_while_the_registry_is_scanned_is_not_lost(
    short_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("extframe.host.watch_plan.REST_AFTER_CHANGE", 0)
    registry = SlowRegistry(short_path)

    async def main() -> None:
        async with AsyncPluginManager(registry, groups=()) as pm, pm.watch() as events:
            assert await eventually(registry.has_looked.is_set)
            with FakePlugin(short_path, "photos"):
                await asyncio.sleep(0.3)  # the next scan without a reason would come 150 times later
                registry.release.set()
                await next_of(events, "activated")

    run(main)


def test_a_watch_is_entered_once_ends_with_its_block_and_keeps_the_last_events(
    pm: AsyncPluginManager, short_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr("extframe.host.async_watch.REMEMBERED", 2)

    async def main() -> None:
        async with pm:
            watch = pm.watch()
            with pytest.raises(RuntimeError, match="enter the watch first: async with"):
                await anext(watch)
            async with watch as unread, pm.watch() as events:
                with FakePlugin(short_path, "photos"):
                    await next_of(events, "activated")
                    reading: Any = asyncio.ensure_future(anext(events))
                    await asyncio.sleep(0)
                    reading.cancel()  # nothing is lost with it
                await next_of(events, "lost", "removed")
            assert [event.kind async for event in unread] == ["lost", "removed"]
            with pytest.raises(RuntimeError, match="can be entered once"):
                await watch.__aenter__()
            with FakePlugin(short_path, "music"):
                await asyncio.sleep(0.1)
                assert pm._activator.table.plugins()[0].name == "photos"
        assert "the oldest is dropped" in caplog.text

    run(main)


@pytest.fixture(autouse=True)
def _no_thread_is_left() -> Iterator[None]:
    yield
    assert soon(lambda: not [thread for thread in threading.enumerate() if thread.name.startswith("extframe watch")])
