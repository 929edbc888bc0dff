"""The lifecycle hooks: which events there are, in which order, and what handlers that misbehave cost."""

from __future__ import annotations

import logging
import threading
from collections.abc import Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from faultserver import eventually

from extframe import (
    ActivationError,
    ConnectError,
    ExtframeError,
    LocalRegistry,
    Plugin,
    PluginManager,
    PluginNotFound,
    Retry,
    SpecError,
    VolumeDriver,
    hookimpl,
)
from extframe.concurrency import deadlines
from extframe.handlers import lifecycle
from extframe.testing import FakePlugin


def is_delivering() -> bool:
    return any(thread.name == "extframe lifecycle events" for thread in threading.enumerate())


class EventLog:
    """A handler that keeps the lifecycle events."""

    def __init__(self) -> None:
        self.entries: list[tuple[Any, ...]] = []

    @hookimpl
    def plugin_activated(self, name: str, plugin: Plugin) -> None:
        self.entries.append(("activated", name, plugin.manifest.implements))

    @hookimpl
    def plugin_failed(self, name: str, error: ExtframeError) -> None:
        self.entries.append(("failed", name, type(error)))

    @hookimpl
    def plugin_lost(self, name: str, plugin: Plugin, reason: str) -> None:
        self.entries.append(("lost", name, reason))

    @hookimpl
    def plugin_removed(self, name: str) -> None:
        self.entries.append(("removed", name))

    def contains_only(self, *entries: tuple[Any, ...]) -> bool:
        """Whether these are the events, once all are delivered; clears them."""
        if not eventually(lambda: len(self.entries) >= len(entries) and not is_delivering(), 30):
            return False
        entries_so_far, self.entries = self.entries, []
        return entries_so_far == list(entries)


@pytest.fixture
def event_log() -> EventLog:
    return EventLog()


@pytest.fixture
def pm(short_path: Path, event_log: EventLog) -> Iterator[PluginManager]:
    with PluginManager(LocalRegistry(short_path, [short_path]), groups=()) as manager:
        manager.register(event_log)
        yield manager


ACTIVATED = ("activated", "photos", ("VolumeDriver",))


def test_the_life_of_a_plugin_is_reported_in_order(pm: PluginManager, event_log: EventLog, short_path: Path) -> None:
    with FakePlugin(short_path, "photos", ["VolumeDriver"]) as plugin:
        client = pm.get("photos").client
        assert event_log.contains_only(ACTIVATED)
        plugin.refuse()
        client.endpoint.retry = Retry(restart=0)
        with pytest.raises(ConnectError):
            client.call("VolumeDriver.List")
        assert event_log.contains_only(("lost", "photos", "it refused a connection"))
        with pytest.raises(ActivationError):
            pm.get("photos")
        assert event_log.contains_only(("failed", "photos", ActivationError))
        plugin.accept()
        pm.get("photos")
        assert event_log.contains_only(ACTIVATED)
    with pytest.raises(PluginNotFound):
        pm.get("photos")
    assert event_log.contains_only(("lost", "photos", "its source is gone"), ("removed", "photos"))


def test_a_plugin_whose_source_others_may_write_by_now_has_not_gone(
    pm: PluginManager, event_log: EventLog, short_path: Path
) -> None:
    with FakePlugin(short_path, "photos") as plugin:
        pm.get("photos")
        plugin.path.chmod(0o777)
        with pytest.raises(SpecError):
            pm.get("photos")
    said = ("lost", "photos", "its source cannot be used"), ("failed", "photos", SpecError)
    assert event_log.contains_only(("activated", "photos", ()), *said)


def test_an_event_is_not_repeated_while_nothing_changes(
    pm: PluginManager, event_log: EventLog, short_path: Path
) -> None:
    (short_path / "photos.spec").write_text("nonsense")
    for _ in range(3):
        with pytest.raises(SpecError):
            pm.get("photos")
        assert pm.get_all("VolumeDriver") == []
    assert event_log.contains_only(("failed", "photos", SpecError))
    (short_path / "photos.spec").unlink()
    for _ in range(3):
        with pytest.raises(PluginNotFound):
            pm.get("photos")
    assert event_log.contains_only(("removed", "photos"))
    assert pm.failures() == []


def test_a_name_that_never_existed_has_no_event(pm: PluginManager, event_log: EventLog) -> None:
    with pytest.raises(PluginNotFound):
        pm.get("missing")
    assert event_log.contains_only()


def test_a_plugin_whose_manifest_is_empty_is_reported_once_until_it_has_one(
    pm: PluginManager, event_log: EventLog, short_path: Path
) -> None:
    with FakePlugin(short_path, "photos") as plugin:
        for _ in range(3):
            pm.get("photos")
        assert event_log.contains_only(("activated", "photos", ()))
        plugin.answer("Plugin.Activate", {"Implements": ["VolumeDriver"]})
        pm.get("photos")
        assert event_log.contains_only(ACTIVATED)


def test_a_handler_of_an_event_may_use_the_plugin_which_its_handlers_have_then(
    pm: PluginManager, short_path: Path
) -> None:
    drivers: list[object] = []
    made = threading.Event()

    class Own(VolumeDriver):
        pass

    def make(name: str, client: Any) -> VolumeDriver:
        made.wait(30)
        return Own.remote(client)

    class User:
        @hookimpl
        def plugin_activated(self, name: str) -> None:
            drivers.append(pm.driver(name, VolumeDriver))

    pm.handle("VolumeDriver", make)
    pm.register(User())
    with FakePlugin(short_path, "photos", ["VolumeDriver"]):
        threading.Timer(0.1, made.set).start()
        pm.get("photos")
        assert eventually(lambda: drivers, 30)
        assert isinstance(drivers[0], Own)


def test_a_handler_that_raises_stops_no_other_and_is_in_failures(
    pm: PluginManager, event_log: EventLog, short_path: Path
) -> None:
    class Broken:
        @hookimpl
        def plugin_activated(self) -> None:
            raise RuntimeError("oh")

    pm.register(Broken(), "broken")
    with FakePlugin(short_path, "photos", ["VolumeDriver"]):
        pm.get("photos")
        assert event_log.contains_only(ACTIVATED)
        assert eventually(pm.failures)
        [failure] = pm.failures()
        assert str(failure) == "handler 'broken' of plugin_activated on plugin 'photos': RuntimeError: oh"
        pm.unregister(name="broken")
        assert pm.failures() == []


def test_a_handler_that_hangs_is_left_behind(
    pm: PluginManager, event_log: EventLog, short_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(lifecycle, "TIMEOUT", 0.1)
    begun, release = threading.Event(), threading.Event()

    class Hung:
        @hookimpl(trylast=True)
        def plugin_activated(self, name: str) -> None:
            if name == "photos":
                begun.set()
                release.wait(60)

    def after(seconds: float) -> deadlines.Deadline:
        assert begun.wait(60)  # the time is that of the handler that hangs, however busy the machine
        return deadlines.after(seconds)

    monkeypatch.setattr(lifecycle, "deadlines", SimpleNamespace(after=after))

    pm.register(Hung(), "hung")
    with FakePlugin(short_path, "photos", ["VolumeDriver"]), FakePlugin(short_path, "music", ["VolumeDriver"]):
        pm.get("photos")
        assert eventually(pm.failures, 30)
        monkeypatch.setattr(lifecycle, "TIMEOUT", 30.0)  # the others return, however busy the machine
        pm.get("music")
        assert event_log.contains_only(ACTIVATED, ("activated", "music", ("VolumeDriver",)))
        [failure] = pm.failures()
        assert "'hung' of plugin_activated on plugin 'photos'" in str(failure)
        assert "has not returned" in str(failure)
        release.set()


def test_no_thread_exists_before_an_event_nor_after(short_path: Path) -> None:
    assert eventually(lambda: not is_delivering(), 30)  # of another test
    before = threading.active_count()
    with PluginManager(LocalRegistry(short_path, []), groups=()) as pm:
        with FakePlugin(short_path, "photos", ["VolumeDriver"]) as plugin:
            pm.get("photos")
            assert not is_delivering()
            pm.register(EventLog())
            plugin.refuse()
            plugin.accept()
            pm.get("photos")
        assert eventually(lambda: threading.active_count() <= before, 30)


def test_monitors_see_lifecycle_events(pm: PluginManager, event_log: EventLog, short_path: Path) -> None:
    seen: list[str] = []
    undo = pm.add_hookcall_monitoring(lambda hook, impls, kwargs: seen.append(hook), lambda *_: None)
    with FakePlugin(short_path, "photos", ["VolumeDriver"]):
        pm.get("photos")
        assert event_log.contains_only(ACTIVATED)
    assert seen == ["plugin_activated"]
    undo()


def test_a_manifest_cannot_reach_a_lifecycle_hook(pm: PluginManager, event_log: EventLog, short_path: Path) -> None:
    with FakePlugin(short_path, "photos", ["PluginRemoved", "PluginFailed"]):
        pm.get("photos")
        assert event_log.contains_only(("activated", "photos", ("PluginRemoved", "PluginFailed")))
        assert len(pm.failures()) == 2


def test_a_handler_that_is_interrupted_or_a_monitor_that_exits_does_not_end_the_delivery(
    pm: PluginManager, event_log: EventLog, short_path: Path
) -> None:
    class Interrupted:
        @hookimpl
        def plugin_activated(self, name: str) -> None:
            if name == "first":
                raise KeyboardInterrupt

    def leave(hook: str, impls: Any, arguments: Any) -> None:
        if arguments["name"] == "second":
            raise SystemExit

    pm.register(Interrupted())
    pm.add_hookcall_monitoring(leave, lambda *arguments: None)
    with FakePlugin(short_path, "first"), FakePlugin(short_path, "second"), FakePlugin(short_path, "third", ["Lab"]):
        for name in ("first", "second", "third"):
            pm.get(name)
        assert event_log.contains_only(("activated", "third", ("Lab",)))


def test_a_log_handler_that_raises_does_not_end_the_delivery(
    pm: PluginManager, event_log: EventLog, short_path: Path
) -> None:
    class Broken(logging.Handler):
        def emit(self, record: logging.LogRecord) -> None:
            raise ValueError("no space left for the log")

    class Bad:
        @hookimpl
        def plugin_activated(self, name: str) -> None:
            raise RuntimeError("oh")

    pm.register(Bad())
    broken = Broken(logging.WARNING)
    logging.getLogger("extframe").addHandler(broken)
    try:
        with FakePlugin(short_path, "first", ["Lab"]), FakePlugin(short_path, "second", ["Lab"]):
            pm.get("first")
            assert event_log.contains_only(("activated", "first", ("Lab",)))
            pm.get("second")
            assert event_log.contains_only(("activated", "second", ("Lab",)))
    finally:
        logging.getLogger("extframe").removeHandler(broken)
