"""The lifecycle hooks: what is told, in which order, and what handlers that misbehave cost."""

from __future__ import annotations

import logging
import threading
from collections.abc import Iterator
from pathlib import Path
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
from extframe.handlers import lifecycle
from extframe.testing import FakePlugin


def telling() -> bool:
    return any(thread.name == "extframe lifecycle events" for thread in threading.enumerate())


class Diary:
    """A handler that writes down what it is told."""

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

    def says(self, *entries: tuple[Any, ...]) -> bool:
        """Whether these entries are there once all is told, and no others; it begins anew then."""
        if not eventually(lambda: len(self.entries) >= len(entries) and not telling(), 30):
            return False
        told, self.entries = self.entries, []
        return told == list(entries)


@pytest.fixture
def diary() -> Diary:
    return Diary()


@pytest.fixture
def pm(short_path: Path, diary: Diary) -> Iterator[PluginManager]:
    with PluginManager(LocalRegistry(short_path, [short_path]), groups=()) as manager:
        manager.register(diary)
        yield manager


ACTIVATED = ("activated", "photos", ("VolumeDriver",))


def test_the_life_of_a_plugin_is_told_in_its_order(pm: PluginManager, diary: Diary, short_path: Path) -> None:
    with FakePlugin(short_path, "photos", ["VolumeDriver"]) as plugin:
        client = pm.get("photos").client
        assert diary.says(ACTIVATED)
        plugin.refuse()
        client.retry = Retry(restart=0)
        with pytest.raises(ConnectError):
            client.call("VolumeDriver.List")
        assert diary.says(("lost", "photos", "it refused a connection"))
        with pytest.raises(ActivationError):
            pm.get("photos")
        assert diary.says(("failed", "photos", ActivationError))
        plugin.accept()
        pm.get("photos")
        assert diary.says(ACTIVATED)
    with pytest.raises(PluginNotFound):
        pm.get("photos")
    assert diary.says(("lost", "photos", "its source is gone"), ("removed", "photos"))


def test_a_plugin_whose_source_others_may_write_by_now_has_not_gone(
    pm: PluginManager, diary: Diary, short_path: Path
) -> None:
    with FakePlugin(short_path, "photos") as plugin:
        pm.get("photos")
        plugin.path.chmod(0o777)
        with pytest.raises(SpecError):
            pm.get("photos")
    said = ("lost", "photos", "its source cannot be used"), ("failed", "photos", SpecError)
    assert diary.says(("activated", "photos", ()), *said)


def test_what_was_told_is_not_told_again(pm: PluginManager, diary: Diary, short_path: Path) -> None:
    (short_path / "photos.spec").write_text("nonsense")
    for _ in range(3):
        with pytest.raises(SpecError):
            pm.get("photos")
        assert pm.get_all("VolumeDriver") == []
    assert diary.says(("failed", "photos", SpecError))
    (short_path / "photos.spec").unlink()
    for _ in range(3):
        with pytest.raises(PluginNotFound):
            pm.get("photos")
    assert diary.says(("removed", "photos"))
    assert pm.failures() == []


def test_a_name_that_was_never_anybodys_is_told_of_to_nobody(pm: PluginManager, diary: Diary) -> None:
    with pytest.raises(PluginNotFound):
        pm.get("nobody")
    assert diary.says()


def test_a_plugin_whose_manifest_is_empty_is_told_of_once_until_it_has_one(
    pm: PluginManager, diary: Diary, short_path: Path
) -> None:
    with FakePlugin(short_path, "photos") as plugin:
        for _ in range(3):
            pm.get("photos")
        assert diary.says(("activated", "photos", ()))
        plugin.answer("Plugin.Activate", {"Implements": ["VolumeDriver"]})
        pm.get("photos")
        assert diary.says(ACTIVATED)


def test_a_handler_that_is_told_may_use_the_plugin_which_its_handlers_have_then(
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


def test_a_handler_that_raises_stops_no_other_and_stands_in_failures(
    pm: PluginManager, diary: Diary, short_path: Path
) -> None:
    class Broken:
        @hookimpl
        def plugin_activated(self) -> None:
            raise RuntimeError("oh")

    pm.register(Broken(), "broken")
    with FakePlugin(short_path, "photos", ["VolumeDriver"]):
        pm.get("photos")
        assert diary.says(ACTIVATED)
        assert eventually(pm.failures)
        [failure] = pm.failures()
        assert str(failure) == "handler 'broken' of plugin_activated on plugin 'photos': RuntimeError: oh"
        pm.unregister(name="broken")
        assert pm.failures() == []


def test_a_handler_that_hangs_is_left_behind(
    pm: PluginManager, diary: Diary, short_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(lifecycle, "TIMEOUT", 0.1)
    release = threading.Event()

    class Hung:
        @hookimpl(trylast=True)
        def plugin_activated(self, name: str) -> None:
            if name == "photos":
                release.wait(60)

    pm.register(Hung(), "hung")
    with FakePlugin(short_path, "photos", ["VolumeDriver"]), FakePlugin(short_path, "music", ["VolumeDriver"]):
        pm.get("photos")
        assert eventually(pm.failures, 30)
        monkeypatch.setattr(lifecycle, "TIMEOUT", 30.0)  # the others return, however busy the machine
        pm.get("music")
        assert diary.says(ACTIVATED, ("activated", "music", ("VolumeDriver",)))
        [failure] = pm.failures()
        assert "'hung' of plugin_activated on plugin 'photos'" in str(failure)
        assert "has not returned" in str(failure)
        release.set()


def test_no_thread_is_there_before_something_is_told_nor_after(short_path: Path) -> None:
    assert eventually(lambda: not telling(), 30)  # of another test
    before = threading.active_count()
    with PluginManager(LocalRegistry(short_path, []), groups=()) as pm:
        with FakePlugin(short_path, "photos", ["VolumeDriver"]) as plugin:
            pm.get("photos")
            assert not telling()
            pm.register(Diary())
            plugin.refuse()
            plugin.accept()
            pm.get("photos")
        assert eventually(lambda: threading.active_count() <= before, 30)


def test_monitors_see_what_is_told(pm: PluginManager, diary: Diary, short_path: Path) -> None:
    seen: list[str] = []
    undo = pm.add_hookcall_monitoring(lambda hook, impls, kwargs: seen.append(hook), lambda *_: None)
    with FakePlugin(short_path, "photos", ["VolumeDriver"]):
        pm.get("photos")
        assert diary.says(ACTIVATED)
    assert seen == ["plugin_activated"]
    undo()


def test_a_manifest_cannot_reach_a_lifecycle_hook(pm: PluginManager, diary: Diary, short_path: Path) -> None:
    with FakePlugin(short_path, "photos", ["PluginRemoved", "PluginFailed"]):
        pm.get("photos")
        assert diary.says(("activated", "photos", ("PluginRemoved", "PluginFailed")))
        assert len(pm.failures()) == 2


def test_a_handler_that_is_interrupted_or_a_monitor_that_exits_ends_no_telling(
    pm: PluginManager, diary: Diary, short_path: Path
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
        assert diary.says(("activated", "third", ("Lab",)))


def test_a_log_handler_that_raises_ends_no_telling(pm: PluginManager, diary: Diary, short_path: Path) -> None:
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
            assert diary.says(("activated", "first", ("Lab",)))
            pm.get("second")
            assert diary.says(("activated", "second", ("Lab",)))
    finally:
        logging.getLogger("extframe").removeHandler(broken)
