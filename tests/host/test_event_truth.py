"""Lifecycle events tell the truth: their last one is what a plugin is in the end, whatever happened before."""

from __future__ import annotations

import asyncio
import random
import threading
import time
from collections.abc import Awaitable, Callable, Collection, Hashable, Iterator
from contextlib import suppress
from itertools import pairwise
from pathlib import Path
from typing import Any

import pytest
from event_loops import eventually as eventually_async
from event_loops import run
from faultserver import FaultServer, Request, answer_with, eventually, reply

from extframe import (
    AsyncPluginManager,
    ConnectError,
    ExtframeError,
    LocalRegistry,
    Plugin,
    PluginManager,
    PluginNotFound,
    PluginSpec,
    hookimpl,
)
from extframe.host.plugin import State
from extframe.host.plugin_table import PluginTable
from extframe.registry.base import never_waits
from extframe.testing import FakePlugin

AFTER = {  # the events that may follow each event of one plugin
    None: {"activated", "failed", "removed"},
    "activated": {"lost", "activated"},  # twice: after an empty manifest
    "lost": {"activated", "failed", "removed"},
    "failed": {"activated", "failed", "removed"},
    "removed": {"activated", "failed"},
}

USES = ["get", "get_all", "watch"]

SEEDS = [0, 1, *(pytest.param(seed, marks=pytest.mark.long) for seed in range(2, 12))]

EVENTS = {State.ACTIVE: "activated", State.FAILED: "failed", State.LOST: "lost"}


class EventLog:
    """A handler that keeps the events of each plugin."""

    def __init__(self) -> None:
        self.events: dict[str, list[str]] = {}

    def _add(self, name: str, event: str) -> None:
        self.events.setdefault(name, []).append(event)

    @hookimpl
    def plugin_activated(self, name: str, plugin: Plugin) -> None:
        self._add(name, "activated")

    @hookimpl
    def plugin_failed(self, name: str) -> None:
        self._add(name, "failed")

    @hookimpl
    def plugin_lost(self, name: str) -> None:
        self._add(name, "lost")

    @hookimpl
    def plugin_removed(self, name: str) -> None:
        self._add(name, "removed")


@pytest.fixture
def log() -> EventLog:
    return EventLog()


@pytest.fixture
def pm(short_path: Path, log: EventLog) -> Iterator[PluginManager]:
    with PluginManager(LocalRegistry(short_path, [short_path]), groups=()) as manager:
        manager.register(log)
        yield manager


def delivered() -> bool:
    return not any(thread.name == "extframe lifecycle events" for thread in threading.enumerate())


def test_a_plugin_that_is_removed_during_a_handshake_is_lost_and_removed_and_no_more(
    pm: PluginManager, log: EventLog, short_path: Path
) -> None:
    release = threading.Event()

    def respond(request: Request) -> bytes:
        if len(server.requests) > 1:
            release.wait(60)
        return reply(b'{"Implements": ["VolumeDriver"]}')

    server = FaultServer(answer_with(respond), path=str(short_path / "photos.sock"))
    with server:
        pm.get("photos")
        plugin = pm._activator.table.known("photos")
        assert plugin is not None
        plugin.mark_lost()
        errors: list[Exception] = []

        def renew() -> None:
            try:
                pm.get("photos")
            except Exception as error:  # noqa: BLE001 - checked below
                errors.append(error)

        renewal = threading.Thread(target=renew)
        renewal.start()
        assert eventually(lambda: len(server.requests) == 2, 30)
        (short_path / "photos.sock").unlink()
        with pytest.raises(PluginNotFound):
            pm.get("photos")
        release.set()
        renewal.join(30)
    assert [type(error) for error in errors] == [PluginNotFound]
    with pytest.raises(PluginNotFound):
        pm.get("photos")
    assert eventually(lambda: delivered() and log.events["photos"] == ["activated", "lost", "removed"], 30)
    assert plugin.state is State.FAILED


class Empty:
    """A plugin whose manifest is empty, and whose handshakes after the first are not answered."""

    def __init__(self, directory: Path, kind: str = "unix") -> None:
        self.server = FaultServer(answer_with(self._respond), kind)
        (directory / "empty.spec").write_text(self.server.address)
        self.is_silent = False

    def _respond(self, request: Request) -> bytes:
        if self.is_silent:
            self.server.closing.wait(60)
        return reply(b'{"Implements": []}')


def test_a_plugin_with_an_empty_manifest_is_not_lost_by_a_handshake_that_a_thread_has_to_make(
    pm: PluginManager, log: EventLog, short_path: Path
) -> None:
    with Empty(short_path, "tcp").server:
        plugin = pm.get("empty")
        for _ in range(2):
            assert pm.get_all("VolumeDriver") == []
        assert eventually(delivered, 30)
        assert (plugin.state, log.events["empty"]) == (State.ACTIVE, ["activated"])


def test_a_plugin_with_an_empty_manifest_is_not_lost_by_the_end_of_a_watch_that_asks_it_again(
    pm: PluginManager, log: EventLog, short_path: Path
) -> None:
    empty = Empty(short_path)
    with empty.server:
        plugin = pm.get("empty")
        empty.is_silent = True
        with pm.watch():
            assert eventually(lambda: len(empty.server.requests) == 2, 30)
        assert eventually(delivered, 30)
        assert (plugin.state, log.events["empty"]) == (State.ACTIVE, ["activated"])


def test_nor_by_the_end_of_one_in_a_task(log: EventLog, short_path: Path) -> None:
    empty = Empty(short_path)

    async def main() -> None:
        async with AsyncPluginManager(LocalRegistry(short_path, [short_path]), groups=()) as pm:
            pm.register(log)
            plugin = await pm.get("empty")
            empty.is_silent = True
            async with pm.watch():
                assert await eventually_async(lambda: len(empty.server.requests) == 2)
            assert await eventually_async(lambda: not pm._activator.events._is_delivering)
            assert (plugin.state, log.events["empty"]) == (State.ACTIVE, ["activated"])

    with empty.server:
        run(main)


class RestartedBeforeTheHandshake(LocalRegistry):
    """A registry whose plugin, once it has crashed, is back between the last look for it and the handshake."""

    def __init__(self, fake: FakePlugin) -> None:
        super().__init__(fake.path.parent, [])
        self._fake = fake
        self._looks = 0
        self._lock = threading.Lock()

    def crash(self, looks: int) -> None:
        """Have the plugin refuse connections, until the manager has looked for it so often."""
        with self._lock:
            self._fake.refuse()
            self._looks = looks

    @never_waits
    def stamp(self, spec: PluginSpec) -> Hashable:
        with self._lock:
            stamp = super().stamp(spec)
            self._looks -= 1
            if self._looks == 0:
                self._fake.accept()
            return stamp


def watch_for_a_while(pm: PluginManager) -> None:
    with pm.watch():
        assert eventually(lambda: all(plugin.is_made for plugin in pm._activator.table.plugins()), 30)


@pytest.mark.parametrize(
    ("use", "looks"),
    [(lambda pm: pm.get("fake"), 1), (lambda pm: pm.get_all("VolumeDriver"), 2), (watch_for_a_while, 2)],
    ids=USES,
)
def test_a_restart_between_the_search_and_the_handshake_is_reported_once(
    short_path: Path, log: EventLog, use: Callable[[PluginManager], object], looks: int
) -> None:
    fake = FakePlugin(short_path, implements=["VolumeDriver"])
    registry = RestartedBeforeTheHandshake(fake)
    with fake, PluginManager(registry, groups=()) as pm:
        pm.register(log)
        plugin = pm.get("fake")
        registry.crash(looks)
        with pytest.raises(ConnectError):
            plugin.ping()
        use(pm)
        assert [pm.get("fake"), *pm.get_all("VolumeDriver")] == [plugin, plugin]
        assert eventually(delivered, 30)
        assert log.events["fake"] == ["activated", "lost", "activated"]
        # A watch on a busy machine may give up the first one before the plugin has read it.
        assert eventually(lambda: len(fake.calls_of("Plugin.Activate")) == 3, 30)
    fake.assert_called("Plugin.Activate", times=3)  # twice, as the first may have been with the process before


async def watch_for_a_while_in_a_task(pm: AsyncPluginManager) -> None:
    async with pm.watch():
        assert await eventually_async(lambda: all(plugin.is_made for plugin in pm._activator.table.plugins()))


@pytest.mark.parametrize(
    ("use", "looks"),
    [(lambda pm: pm.get("fake"), 1), (lambda pm: pm.get_all("VolumeDriver"), 2), (watch_for_a_while_in_a_task, 2)],
    ids=USES,
)
def test_a_restart_between_the_search_and_the_handshake_is_reported_once_to_tasks(
    short_path: Path, log: EventLog, use: Callable[[AsyncPluginManager], Awaitable[object]], looks: int
) -> None:
    async def main() -> None:
        fake = FakePlugin(short_path, implements=["VolumeDriver"])
        registry = RestartedBeforeTheHandshake(fake)
        with fake:
            async with AsyncPluginManager(registry, groups=()) as pm:
                pm.register(log)
                plugin = await pm.get("fake")
                registry.crash(looks)
                with pytest.raises(ConnectError):
                    await plugin.ping()
                await use(pm)
                assert [await pm.get("fake"), *await pm.get_all("VolumeDriver")] == [plugin, plugin]
                assert await eventually_async(lambda: not pm._activator.events._is_delivering)
                assert log.events["fake"] == ["activated", "lost", "activated"]
                assert await eventually_async(lambda: len(fake.calls_of("Plugin.Activate")) == 3)
            fake.assert_called("Plugin.Activate", times=3)

    run(main)


class Churn:
    """Plugins that come, refuse, respond slowly, fail and go at random."""

    def __init__(self, directory: Path, seed: int) -> None:
        self.random = random.Random(seed)
        self.fakes = {name: FakePlugin(directory, name, ["VolumeDriver"]) for name in ("a", "b", "c")}

    def step(self) -> None:
        fake = self.random.choice(list(self.fakes.values()))
        self.random.choice([self._go, self._come, self._come, self._restart, self._respond])(fake)

    def _go(self, fake: FakePlugin) -> None:
        fake.refuse()
        fake.path.unlink(missing_ok=True)

    def _come(self, fake: FakePlugin) -> None:
        fake.refuse()
        fake.accept()

    def _restart(self, fake: FakePlugin) -> None:
        fake.refuse()
        time.sleep(self.random.uniform(0, 0.01))
        fake.accept()

    def _respond(self, fake: FakePlugin) -> None:
        pause = self.random.choice([0, 0, 0.01])
        points = self.random.choice([["VolumeDriver"], ["VolumeDriver", "Backup"], []])

        def respond(arguments: Any) -> dict[str, object]:
            time.sleep(pause)
            return {"Implements": points}

        fake.answer("Plugin.Activate", respond)

    def close(self) -> None:
        for fake in self.fakes.values():
            fake.close()


@pytest.mark.parametrize("seed", SEEDS)
def test_whatever_happened_the_last_event_says_what_a_plugin_is(
    pm: PluginManager, log: EventLog, short_path: Path, seed: int
) -> None:
    churn = Churn(short_path, seed)
    use_at_random(pm, churn)
    for name in churn.fakes:  # a last look, now that nothing changes any more
        with suppress(ExtframeError):
            pm.get(name, timeout=30)
    present = pm.scan()
    assert eventually(delivered, 30)
    check(log, pm._activator.table, present)
    churn.close()


def check(log: EventLog, table: PluginTable[Any], present: Collection[str]) -> None:
    """Check the order of the events of each plugin, and that the last one says what it is."""
    for name, events in log.events.items():
        wrong = [(before, after) for before, after in pairwise([None, *events]) if after not in AFTER[before]]
        assert wrong == [], (name, events)
        plugin = table.known(name)
        assert events[-1] == (EVENTS[plugin.state] if plugin and name in present else "removed"), (name, events)


def use_at_random(pm: PluginManager, churn: Churn) -> None:
    """Use plugins in four threads and a watch, while they come and go."""
    ended = threading.Event()

    def use(own: random.Random) -> None:
        while not ended.is_set():
            with suppress(ExtframeError):
                if own.random() < 0.2:
                    pm.get_all("VolumeDriver", timeout=0.5)
                else:
                    pm.get(own.choice("abc"), timeout=0.5)

    users = [threading.Thread(target=use, args=(random.Random(churn.random.random()),)) for _ in range(4)]
    for user in users:
        user.start()
    with pm.watch():
        for _ in range(80):
            churn.step()
            time.sleep(churn.random.uniform(0, 0.02))
    ended.set()
    for user in users:
        user.join(60)


@pytest.mark.parametrize("seed", SEEDS)
def test_the_same_holds_for_tasks_and_for_the_events_that_a_watch_yields(
    log: EventLog, short_path: Path, seed: int
) -> None:
    churn, yielded = Churn(short_path, seed), EventLog()

    async def main() -> None:
        async with AsyncPluginManager(LocalRegistry(short_path, []), groups=()) as pm:
            pm.register(log)
            async with pm.watch() as events:
                await use_in_tasks(pm, churn)
            async for event in events:
                yielded._add(event.name, event.kind)
            present = await pm.scan()
            assert await eventually_async(lambda: not pm._activator.events._is_delivering)
            assert log.events == yielded.events
            check(log, pm._activator.table, present)

    run(main)
    churn.close()


async def use_in_a_task(pm: AsyncPluginManager, own: random.Random) -> None:
    """Use plugins until it is cancelled."""
    while True:
        with suppress(ExtframeError):
            if own.random() < 0.2:
                await pm.get_all("VolumeDriver", timeout=0.5)
            else:
                await pm.get(own.choice("abc"), timeout=0.5)
        await asyncio.sleep(0)


async def use_in_tasks(pm: AsyncPluginManager, churn: Churn) -> None:
    """Use plugins in four tasks, while they come and go."""
    users = [asyncio.ensure_future(use_in_a_task(pm, random.Random(churn.random.random()))) for _ in range(4)]
    for _ in range(80):
        await asyncio.to_thread(churn.step)
        await asyncio.sleep(churn.random.uniform(0, 0.02))
    for user in users:
        user.cancel()
    await asyncio.wait(users)
    for name in churn.fakes:
        with suppress(ExtframeError):
            await pm.get(name, timeout=30)
