"""A plugin of three instances, real processes: one is killed under load, and all are restarted one after the other.

EXTFRAME_RESTARTS=100 restarts that often; with -s the figures are printed.
"""

from __future__ import annotations

import asyncio
import json
import math
import os
import signal
import threading
from collections import Counter
from contextlib import ExitStack, suppress
from pathlib import Path
from typing import Any

import pytest
from event_loops import eventually as eventually_async
from faultserver import Request, answer_with, eventually
from program import Program
from scripted_plugin import answers, ok, scripted

from extframe import (
    AsyncLogDriver,
    AsyncPluginManager,
    AsyncVolumeDriver,
    DoesNotImplement,
    LeastOutstanding,
    LocalRegistry,
    LogDriver,
    PluginManager,
    VolumeDriver,
    hookimpl,
)
from extframe.client.instances import Instances

ROUNDS = int(os.environ.get("EXTFRAME_RESTARTS", "1"))
CALLERS = 3  # threads, and as many tasks

SERVED = """
    import sys, time
    import extframe

    class Photos(extframe.VolumeDriver):
        def create(self, name, opts=None):
            time.sleep(0.002)

        def get(self, name):
            time.sleep(0.002)
            return extframe.Volume(name=name)

    extframe.serve(Photos(), name="photos", directory=sys.argv[1])
"""


class Fleet:
    """Three instances, and the spec file that lists them."""

    def __init__(self, directory: Path) -> None:
        self.sockets = [directory / name / "photos.sock" for name in "abc"]
        self.registry = LocalRegistry(directory / "specs")
        self._programs: dict[int, Program] = {}
        (directory / "specs").mkdir()
        for socket in self.sockets:
            socket.parent.mkdir()
        addresses = [f"unix://{socket}" for socket in self.sockets]
        (directory / "specs" / "photos.json").write_text(json.dumps({"Addrs": addresses}))

    def start(self, *numbers: int) -> None:
        for number in numbers:
            self._programs[number] = Program(SERVED, self.sockets[number].parent, measured=False)
        for number in numbers:
            assert eventually(self.sockets[number].exists, 60), self._programs[number].end()

    def stop(self, number: int, how: int) -> None:
        self._programs.pop(number).stop(how)
        self.sockets[number].unlink(missing_ok=True)

    def close(self) -> None:
        for program in self._programs.values():
            program.__exit__(None, None, None)


class Load:
    """Callers that use drivers of a sync and an async host until the block ends: every other call is idempotent."""

    def __init__(self, registry: LocalRegistry) -> None:
        self.errors: dict[str, list[BaseException]] = {"get": [], "create": []}
        self.calls: Counter[str] = Counter()
        self.instances: dict[str, Instances] = {}
        self._registry = registry
        self._end = threading.Event()
        self._threads = [
            threading.Thread(target=self._run_sync),
            threading.Thread(target=asyncio.run, args=[self._run_async()]),
        ]

    def __enter__(self) -> Load:
        for thread in self._threads:
            thread.start()
        self.go_on()
        return self

    def __exit__(self, *exception: object) -> None:
        self._end.set()
        for thread in self._threads:
            thread.join(60)
        assert not any(thread.is_alive() for thread in self._threads)

    def go_on(self, calls: int = 60) -> None:
        """Wait for as many more calls of each kind and host."""
        seen = +self.calls
        assert eventually(
            lambda: all(self.calls[key] >= seen[key] + calls for key in ("get", "create", "async get", "async create")),
            60,
        ), (self.calls, self.errors)

    def all_ready(self) -> bool:
        return len(self.instances) == 2 and all(each.is_ready for some in self.instances.values() for each in some)

    def _run_sync(self) -> None:
        with PluginManager(self._registry, groups=()) as pm:
            driver = pm.driver("photos", VolumeDriver)
            self.instances["sync"] = pm.get("photos").client.endpoint.instances
            threads = [threading.Thread(target=self._call, args=[driver]) for _ in range(CALLERS)]
            for thread in threads:
                thread.start()
            for thread in threads:
                thread.join()

    def _call(self, driver: VolumeDriver) -> None:
        while not self._end.wait(0.005):
            for method in ("get", "create"):
                try:
                    getattr(driver, method)("x")
                except BaseException as error:  # noqa: BLE001 - looked at in the end
                    self.errors[method].append(error)
                self.calls[method] += 1

    async def _run_async(self) -> None:
        async with AsyncPluginManager(self._registry, groups=()) as pm:
            driver = await pm.driver("photos", AsyncVolumeDriver)
            self.instances["async"] = (await pm.get("photos")).client.endpoint.instances
            await asyncio.gather(*(self._call_async(driver) for _ in range(CALLERS)))

    async def _call_async(self, driver: AsyncVolumeDriver) -> None:
        while not self._end.is_set():
            await asyncio.sleep(0.005)
            for method in ("get", "create"):
                try:
                    await getattr(driver, method)("x")
                except BaseException as error:  # noqa: BLE001 - looked at in the end
                    self.errors[method].append(error)
                self.calls[f"async {method}"] += 1


def test_callers_of_three_instances_notice_neither_a_killed_one_nor_a_rolling_restart(tmp_path):
    fleet = Fleet(tmp_path)
    with ExitStack() as stack:
        stack.callback(fleet.close)
        fleet.start(0, 1, 2)
        load = stack.enter_context(Load(fleet.registry))
        for _ in range(ROUNDS):
            fleet.stop(0, signal.SIGKILL)
            load.go_on()
            assert load.errors["get"] == []
            assert len(load.errors["create"]) <= 2 * CALLERS  # those that were under way
            load.errors["create"].clear()
            fleet.start(0)
            assert eventually(load.all_ready, 60)
            for number in range(3):
                fleet.stop(number, signal.SIGTERM)
                load.go_on(10)
                fleet.start(number)
                assert eventually(load.all_ready, 60)
        print(load.calls)
    assert load.errors == {"get": [], "create": []}


class Events:
    """A handler that keeps the lifecycle events."""

    def __init__(self) -> None:
        self.seen: list[str] = []

    @hookimpl
    def plugin_activated(self) -> None:
        self.seen.append("activated")

    @hookimpl
    def plugin_lost(self, reason: str) -> None:
        self.seen.append(reason)


def test_a_plugin_is_not_lost_while_one_of_its_instances_remains(fault_server, tmp_path):
    servers = [fault_server(scripted()) for _ in range(3)]
    addresses = [each.address for each in servers]
    spec = tmp_path / "photos.json"
    spec.write_text(json.dumps({"Addrs": addresses[:2]}))
    events = Events()
    with PluginManager(LocalRegistry(tmp_path), groups=(), choose=LeastOutstanding()) as pm:
        pm.register(events)
        driver = pm.driver("photos", VolumeDriver)
        spec.write_text(json.dumps({"Addrs": [{"Addr": addresses[1], "Weight": 2}, addresses[2]]}))
        assert pm.driver("photos", VolumeDriver).list() == []
        assert eventually(lambda: driver.list() == [] and len(servers[2].requests) > 1, 30)
        seen = len(servers[0].requests)
        for _ in range(6):
            driver.list()
        assert len(servers[0].requests) == seen
        assert events.seen == ["activated"]
        spec.write_text(json.dumps({"Addr": addresses[0]}))
        assert pm.driver("photos", VolumeDriver).list() == []
        assert driver.list() == []
        assert eventually(lambda: events.seen == ["activated", "its source changed", "activated"], 30)


class SlowDecision:
    """Decides about a plugin only when all of its instances have answered their handshakes."""

    def __init__(self, late: threading.Event) -> None:
        self.plugin: Any = None
        self._late = late

    @hookimpl
    def plugin_activating(self) -> None:
        self._late.set()
        instances = self.plugin.client.endpoint.instances
        assert eventually(lambda: all(each.is_ready for each in instances), 30)


@pytest.mark.parametrize("kind", ["sync", "async"])
def test_an_instance_that_answers_late_but_before_the_plugin_is_active_counts(fault_server, tmp_path, kind):
    late = threading.Event()

    def answer_late(request: Request) -> bytes:
        assert late.wait(60)
        return ok({"Implements": ["VolumeDriver", "LogDriver"]})

    servers = [fault_server(scripted()), fault_server(scripted({"Plugin.Activate": answer_late}))]
    spec = tmp_path / "photos.json"
    spec.write_text(json.dumps({"Addrs": [each.address for each in servers]}))
    decision = SlowDecision(late)
    events = Events()

    async def use() -> None:
        async with AsyncPluginManager(LocalRegistry(tmp_path), groups=()) as pm:
            for handler in (decision, events):
                pm.register(handler)
            decision.plugin = await pm._activator.find("photos", math.inf)
            assert (await pm.get("photos")).implements("VolumeDriver")
            assert (await pm.get("photos", "LogDriver")) is decision.plugin
            assert await eventually_async(lambda: len(events.seen) == 3)

    if kind == "async":
        asyncio.run(use())
    else:
        with PluginManager(LocalRegistry(tmp_path), groups=()) as pm:
            for handler in (decision, events):
                pm.register(handler)
            decision.plugin = pm._activator.find("photos", math.inf)
            assert pm.get("photos").implements("VolumeDriver")
            assert pm.get("photos", "LogDriver") is decision.plugin
            assert eventually(lambda: len(events.seen) == 3, 30)
    assert events.seen == ["activated", "its instances implement something else now", "activated"]


@pytest.mark.parametrize("kind", ["sync", "async"])
def test_what_a_new_version_implements_is_found_as_soon_as_one_instance_has_it(fault_server, tmp_path, kind):
    changes: dict[str, bytes] = {}
    servers = [fault_server(scripted()), fault_server(answer_with(lambda request: answers(changes)(request)))]
    spec = tmp_path / "photos.json"
    spec.write_text(json.dumps({"Addrs": [each.address for each in servers]}))
    registry = LocalRegistry(tmp_path)
    upgraded = {
        "Plugin.Activate": ok({"Implements": ["VolumeDriver", "LogDriver"]}),
        "LogDriver.StopLogging": ok({"Err": ""}),
    }

    def upgrade() -> None:
        changes.update(upgraded)
        os.utime(spec)

    async def use() -> None:
        async with AsyncPluginManager(registry, groups=()) as pm:
            with pytest.raises(DoesNotImplement):
                await pm.get("photos", "LogDriver")
            upgrade()
            driver = await pm.driver("photos", AsyncVolumeDriver)
            for _ in range(3000):
                await driver.list()
                with suppress(DoesNotImplement):
                    await (await pm.driver("photos", AsyncLogDriver)).stop_logging("/x")
                    return
                await asyncio.sleep(0.01)
            raise AssertionError("LogDriver was not found")

    if kind == "async":
        asyncio.run(use())
        return
    with PluginManager(registry, groups=()) as pm:
        with pytest.raises(DoesNotImplement):
            pm.get("photos", "LogDriver")
        upgrade()
        driver = pm.driver("photos", VolumeDriver)

        def is_found() -> bool:
            assert driver.list() == []
            with suppress(DoesNotImplement):
                pm.driver("photos", LogDriver).stop_logging("/x")
                return True
            return False

        assert eventually(is_found, 30)
