"""Handlers that hang, exit or are interrupted, registered early or late, and managers that are dropped."""

from __future__ import annotations

import asyncio
import logging
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from faultserver import eventually
from program import Program

from extframe import CallTimeout, HandlerError, LocalRegistry, PluginManager, RemoteError
from extframe.testing import Error, FakePlugin

SOON = 20.0  # seconds: more than any deadline here, less than a default of 30 s or 60 s


@pytest.fixture
def photos(short_path: Path) -> Iterator[FakePlugin]:
    with FakePlugin(short_path, "photos", ["VolumeDriver"]) as plugin:
        yield plugin


@pytest.fixture
def pm(short_path: Path, photos: FakePlugin) -> Iterator[PluginManager]:
    with PluginManager(LocalRegistry(short_path, []), groups=(), timeout=2.5) as manager:
        yield manager


def test_a_late_handler_that_hangs_blocks_its_registration_until_the_deadline_only(pm: PluginManager) -> None:
    release, threads = threading.Event(), list[threading.Thread]()

    def hang(name: str, client: object) -> str:
        threads.append(threading.current_thread())
        release.wait(60)
        return "driver"

    pm.get("photos")
    began = time.monotonic()
    handler = pm.handle("VolumeDriver", hang)
    assert 2.4 < time.monotonic() - began < SOON
    [failure] = pm.failures()
    assert failure.what == f"handler {handler!r} on plugin 'photos' (VolumeDriver)"
    assert isinstance(failure.exception, CallTimeout)
    assert threads != [threading.current_thread()]
    release.set()
    assert eventually(lambda: pm.failures() == [], 30)
    assert pm.driver("photos", "VolumeDriver") == "driver"
    assert len(threads) == 1


@pytest.mark.parametrize("raised", [SystemExit(3), asyncio.CancelledError(), GeneratorExit(), ValueError("no")])
@pytest.mark.parametrize("when", ["early", "late"])
def test_what_a_handler_raises_is_kept_with_its_traceback_and_its_cause(
    pm: PluginManager, raised: BaseException, when: str
) -> None:
    origin = KeyError("bucket")

    def leave(name: str, client: object) -> None:
        raise raised from origin

    if when == "late":
        pm.get("photos")
    pm.handle("VolumeDriver", leave)
    if when == "early":
        with pytest.raises(HandlerError) as caught:
            pm.get("photos", "VolumeDriver")
        assert caught.value.__cause__ is raised
    [failure] = pm.failures()
    assert failure.exception is raised
    assert raised.__cause__ is origin
    assert raised.__traceback__ is not None


def test_a_handler_that_raises_keyboard_interrupt_does_not_cost_get_all_its_deadline(
    pm: PluginManager, short_path: Path
) -> None:
    def leave(name: str, client: object) -> None:
        if name == "photos":
            raise KeyboardInterrupt

    pm.handle("VolumeDriver", leave)
    with FakePlugin(short_path, "music", ["VolumeDriver"]):
        began = time.monotonic()
        assert [plugin.name for plugin in pm.get_all("VolumeDriver", timeout=60)] == ["music"]
        assert time.monotonic() - began < SOON
    [failure] = pm.failures()
    assert isinstance(failure.exception, HandlerError)
    assert isinstance(failure.exception.__cause__, KeyboardInterrupt)


def test_a_late_handler_that_gets_no_thread_is_called_at_the_next_use(
    pm: PluginManager, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    start = threading.Thread.start

    def start_others(thread: threading.Thread) -> None:
        if thread.name == "extframe late handler":
            raise RuntimeError("can't start new thread")  # what the system says at its limit
        start(thread)

    pm.get("photos")
    monkeypatch.setattr(threading.Thread, "start", start_others)
    pm.handle("VolumeDriver", lambda name, client: "driver")
    assert "called at their next use" in caplog.text
    assert pm.driver("photos", "VolumeDriver") == "driver"


def test_an_error_of_many_megabytes_is_cut_in_logs_and_failures_and_whole_in_the_exception(
    pm: PluginManager, photos: FakePlugin, caplog: pytest.LogCaptureFixture
) -> None:
    words = "no such bucket " * 100_000

    def use(name: str, client: Any) -> object:
        return client.call("VolumeDriver.List", timeout=60)

    photos.answer("VolumeDriver.List", Error(words))
    pm.handle("VolumeDriver", use)
    with caplog.at_level(logging.DEBUG, "extframe"), pytest.raises(HandlerError) as caught:
        pm.get("photos", "VolumeDriver")
    assert isinstance(caught.value.__cause__, RemoteError)
    assert words in str(caught.value.__cause__)
    [failure] = pm.failures()
    assert "no such bucket" in str(failure)
    assert len(str(failure)) < 10_000
    assert len(str(caught.value)) < 10_000
    formatter = logging.Formatter()
    assert all(len(formatter.format(record)) < 100_000 for record in caplog.records)


DROPPED = """
    import gc, sys, warnings
    from extframe import LocalRegistry, PluginManager, VolumeDriver

    warnings.simplefilter("error")
    sys.unraisablehook = lambda broken: print("unraisable", broken.exc_value)

    def use():
        pm = PluginManager(LocalRegistry(sys.argv[1], []), groups=())
        pm.get_all("VolumeDriver")
        return pm.driver("photos", VolumeDriver)

    driver = use()
    gc.collect()
    assert driver.get("a").name == "a"  # a driver outlives its manager
    del driver
    gc.collect()
    print("done")
"""


def test_a_manager_that_is_dropped_warns_of_nothing(short_path: Path, photos: FakePlugin) -> None:
    photos.answer("VolumeDriver.Get", {"Volume": {"Name": "a"}})
    with Program(DROPPED, short_path, measured=False) as program:
        assert program.end(60) == (0, "done\n")
