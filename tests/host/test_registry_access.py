"""Registries of a host's own: deadlines hold, errors are ours, active plugins stay usable."""

from __future__ import annotations

import errno
import threading
import time
from collections.abc import Callable, Hashable, Iterator
from pathlib import Path
from typing import Any

import pytest
from faultserver import eventually

from extframe import CallTimeout, ExtframeError, LocalRegistry, PluginManager, PluginNotFound, PluginSpec, hookimpl
from extframe.testing import FakePlugin

HANGS = 60.0  # seconds, or until the test ends
SOON = 20.0  # seconds: less than HANGS by far, and more than any deadline below
ended = threading.Event()


class Etcd:
    """A registry whose methods do what a test says, and otherwise what a LocalRegistry's do."""

    def __init__(self, directory: Path) -> None:
        self.local = LocalRegistry(directory, [])
        self.faults: dict[str, Callable[[], object]] = {}

    def _do(self, method: str) -> None:
        self.faults.get(method, lambda: None)()

    def scan(self) -> list[str]:
        self._do("scan")
        return self.local.scan()

    def find(self, name: str) -> PluginSpec:
        self._do("find")
        self._do(f"find {name}")
        return self.local.find(name)

    def stamp(self, spec: PluginSpec) -> Hashable:
        self._do("stamp")
        return self.local.stamp(spec)


def raising(error: BaseException) -> Callable[[], object]:
    def fail() -> object:
        raise error

    return fail


def hang() -> None:
    ended.wait(HANGS)


@pytest.fixture
def registry(short_path: Path) -> Iterator[Etcd]:
    ended.clear()
    yield Etcd(short_path)
    ended.set()


@pytest.fixture
def photos(short_path: Path) -> Iterator[FakePlugin]:
    with FakePlugin(short_path, "photos", ["VolumeDriver"]) as plugin:
        yield plugin


@pytest.fixture
def pm(registry: Etcd, photos: FakePlugin) -> Iterator[PluginManager]:
    with PluginManager(registry, groups=()) as manager:
        yield manager


@pytest.mark.parametrize("use", ["get", "driver", "get_all"])
def test_a_deadline_holds_although_the_registry_hangs(pm: PluginManager, registry: Etcd, use: str) -> None:
    registry.faults["scan" if use == "get_all" else "find"] = hang
    arguments = {"get": ("photos",), "driver": ("photos", "VolumeDriver"), "get_all": ("VolumeDriver",)}[use]
    began = time.monotonic()
    with pytest.raises(CallTimeout, match=r"registry Etcd did not .* in time; its (find|scan)\(\) is still") as caught:
        getattr(pm, use)(*arguments, timeout=0.5)
    assert time.monotonic() - began < SOON
    assert caught.value.phase == "registry"


@pytest.mark.parametrize(
    "error", [RuntimeError("no leader"), OSError(errno.EMFILE, "Too many open files"), TimeoutError()]
)
def test_what_a_registry_raises_is_ours_with_its_name_and_the_cause(
    pm: PluginManager, registry: Etcd, error: Exception
) -> None:
    registry.faults["find"] = registry.faults["scan"] = raising(error)
    with pytest.raises(ExtframeError, match="registry Etcd could not find plugin 'photos'") as caught:
        pm.get("photos")
    assert (caught.value.__cause__, caught.value.plugin) == (error, "photos")
    for use in (pm.scan, lambda: pm.get_all("VolumeDriver")):
        with pytest.raises(ExtframeError, match="registry Etcd could not list plugins") as caught:
            use()
        assert caught.value.__cause__ is error


def test_what_the_package_raises_is_not_wrapped(pm: PluginManager, registry: Etcd) -> None:
    with pytest.raises(PluginNotFound):
        pm.get("missing")
    registry.faults["find"] = raising(PluginNotFound("nothing under /plugins/photos"))
    with pytest.raises(PluginNotFound, match="nothing under"):
        pm.get("photos")


@pytest.mark.parametrize("fault", [raising(RuntimeError("no leader")), hang], ids=["raises", "hangs"])
def test_an_active_plugin_stays_usable_while_its_registry_fails(
    pm: PluginManager, registry: Etcd, photos: FakePlugin, fault: Callable[[], object]
) -> None:
    events: list[str] = []

    class EventLog:
        @hookimpl
        def plugin_lost(self) -> None:
            events.append("lost")

        @hookimpl
        def plugin_removed(self) -> None:
            events.append("removed")

    pm.register(EventLog())
    plugin = pm.get("photos")
    for method in ("stamp", "find"):
        registry.faults[method] = fault
    assert pm.get("photos", timeout=0.5) is plugin
    [failure] = pm.failures()
    assert "registry Etcd " in str(failure)
    assert [call.method for call in photos.calls] == ["Plugin.Activate"]
    registry.faults.clear()
    photos.refuse()
    photos.accept()
    assert pm.get("photos") is plugin
    assert pm.failures() == []
    assert eventually(lambda: events == ["lost"])  # by the restart


def test_a_search_that_hangs_for_one_plugin_costs_get_all_this_plugin_only(
    pm: PluginManager, registry: Etcd, short_path: Path
) -> None:
    registry.faults["find bad"] = hang
    with FakePlugin(short_path, "bad", ["VolumeDriver"]):
        began = time.monotonic()
        assert [plugin.name for plugin in pm.get_all("VolumeDriver", timeout=3)] == ["photos"]
        assert time.monotonic() - began < SOON
    assert [failure.what for failure in pm.failures()] == ["plugin 'bad'"]


def test_a_watch_loses_no_plugin_while_the_registry_cannot_be_searched(
    pm: PluginManager, registry: Etcd, photos: FakePlugin, short_path: Path
) -> None:
    events: list[str] = []

    class EventLog:
        @hookimpl
        def plugin_activated(self, name: str) -> None:
            events.append(f"{name} activated")

        @hookimpl
        def plugin_lost(self, name: str) -> None:
            events.append(f"{name} lost")

        @hookimpl
        def plugin_removed(self, name: str) -> None:
            events.append(f"{name} removed")

    pm.register(EventLog())
    searches: list[object] = []

    def fail() -> object:
        searches.append(None)
        raise OSError(errno.ESTALE, "Stale file handle")

    with pm.watch():
        assert eventually(lambda: events == ["photos activated"], 30)
        registry.faults.update(dict.fromkeys(["scan", "find", "stamp"], fail))
        assert eventually(lambda: len(searches) >= 3, 30)
        assert events == ["photos activated"]
        registry.faults.clear()
        with FakePlugin(short_path, "music", ["VolumeDriver"]):
            assert eventually(lambda: "music activated" in events, 30)
        assert "photos lost" not in events


def test_a_local_registry_is_searched_in_the_callers_thread(short_path: Path, photos: Any, monkeypatch: Any) -> None:
    with PluginManager(LocalRegistry(short_path, []), groups=()) as pm:
        monkeypatch.setattr("extframe.host.registry_access.Worker", None)
        assert pm.get("photos").name == "photos"
        assert len(pm.get_all("VolumeDriver")) == 1
