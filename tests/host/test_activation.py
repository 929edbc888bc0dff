"""Activation: threads that see a plugin change at different moments."""

from __future__ import annotations

import asyncio
import contextlib
import logging
import threading
from collections.abc import Callable, Hashable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextvars import ContextVar, copy_context
from pathlib import Path
from typing import Any

import pytest
from event_loops import eventually as eventually_async
from event_loops import run
from faultserver import FaultServer, Peer, answer, eventually, read_and_hang, send_and_hang

from extframe import (
    ActivationError,
    AsyncPluginManager,
    ConnectError,
    LocalRegistry,
    Plugin,
    PluginManager,
    PluginNotFound,
    PluginSpec,
    Retry,
    hookimpl,
)
from extframe.testing import FakePlugin

MANIFEST = b'{"Implements": ["VolumeDriver"]}'

is_late: ContextVar[bool] = ContextVar("is_late", default=False)  # a registry may be called in another thread


class Delayed(LocalRegistry):
    """A registry whose answer takes its time to reach one thread, the one that is called late.

    ``answer`` says which: that of `find`, or that of the `stamp` that follows it.
    """

    def __init__(self, directory: Path) -> None:
        super().__init__(directory, [])
        self.answer = "find"
        self.looked = threading.Event()
        self.release = threading.Event()
        self._found = False

    def find(self, name: str) -> PluginSpec:
        try:
            return super().find(name)
        finally:
            self._delay("find")

    def stamp(self, spec: PluginSpec) -> Hashable:
        stamp = super().stamp(spec)
        if self._found:
            self._delay("stamp")
        return stamp

    def _delay(self, answer: str) -> None:
        if is_late.get():
            self._found = True
            if answer == self.answer:
                self.looked.set()
                self.release.wait(60)


class EventLog:
    def __init__(self) -> None:
        self.events: list[str] = []

    @hookimpl
    def plugin_activated(self, name: str, plugin: Plugin) -> None:
        self.events.append("activated")

    @hookimpl
    def plugin_lost(self, name: str) -> None:
        self.events.append("lost")

    @hookimpl
    def plugin_removed(self, name: str) -> None:
        self.events.append("removed")


@pytest.fixture
def registry(short_path: Path) -> Delayed:
    return Delayed(short_path)


@pytest.fixture
def photos(short_path: Path) -> Iterator[FakePlugin]:
    with FakePlugin(short_path, "photos", ["VolumeDriver"]) as plugin:
        yield plugin


@pytest.fixture
def pm(registry: Delayed, photos: FakePlugin) -> Iterator[PluginManager]:
    with PluginManager(registry, groups=()) as manager:
        manager.get("photos")
        yield manager


@pytest.fixture
def event_log(pm: PluginManager) -> EventLog:
    event_log = EventLog()
    pm.register(event_log)
    return event_log


def get(pm: PluginManager) -> None:
    with contextlib.suppress(PluginNotFound):
        pm.get("photos")


def late_get(pm: PluginManager, registry: Delayed) -> threading.Thread:
    """Begin a `get` in a thread that has looked by now, and that does nothing more until it is released."""
    context = copy_context()
    context.run(is_late.set, True)
    thread = threading.Thread(target=context.run, args=(get, pm))
    thread.start()
    assert registry.looked.wait(30)
    return thread


def end(thread: threading.Thread, registry: Delayed) -> None:
    registry.release.set()
    thread.join(30)
    assert not thread.is_alive()


def test_two_threads_that_see_the_same_restart_make_one_handshake(
    pm: PluginManager, registry: Delayed, photos: FakePlugin, event_log: EventLog
) -> None:
    photos.refuse()
    photos.accept()
    late = late_get(pm, registry)
    pm.get("photos")
    end(late, registry)
    pm.get("photos")
    assert [call.method for call in photos.calls] == ["Plugin.Activate"] * 2
    assert eventually(lambda: event_log.events == ["lost", "activated"])


def test_a_plugin_that_is_back_before_its_removal_is_reported_is_not_reported_as_removed(
    pm: PluginManager, registry: Delayed, photos: FakePlugin, event_log: EventLog
) -> None:
    registry.answer = "stamp"
    photos.close()
    late = late_get(pm, registry)
    photos.accept()
    pm.get("photos")
    end(late, registry)
    pm.get("photos")
    photos.close()
    with pytest.raises(PluginNotFound):
        pm.get("photos")
    assert eventually(lambda: event_log.events == ["lost", "activated", "lost", "removed"])


def test_who_looked_while_a_plugin_was_away_does_not_lose_the_one_that_is_back(
    pm: PluginManager, registry: Delayed, photos: FakePlugin, event_log: EventLog
) -> None:
    photos.close()
    late = late_get(pm, registry)
    photos.accept()
    pm.get("photos")
    end(late, registry)
    pm.get("photos")
    assert eventually(lambda: event_log.events == ["lost", "activated"])
    photos.close()
    with pytest.raises(PluginNotFound):
        pm.get("photos")
    assert eventually(lambda: event_log.events == ["lost", "activated", "lost", "removed"])


def test_a_refusal_from_before_a_handshake_does_not_lose_the_plugin_after_it(
    pm: PluginManager, photos: FakePlugin, event_log: EventLog, monkeypatch: pytest.MonkeyPatch
) -> None:
    photos.answer("VolumeDriver.Get", {"Volume": {"Name": "a"}})
    plugin, refused, release = pm.get("photos"), threading.Event(), threading.Event()
    client, report = plugin.client, plugin.connection_refused

    def report_late(began: float) -> None:
        refused.set()
        release.wait(60)
        report(began)

    monkeypatch.setattr(plugin, "connection_refused", report_late)
    photos.refuse()
    calling = threading.Thread(target=client.call, args=("VolumeDriver.Get", {"Name": "a"}))
    calling.start()
    assert refused.wait(30)
    photos.accept()
    pm.get("photos")
    release.set()
    calling.join(10)
    pm.get("photos")
    assert [call.method for call in photos.calls].count("Plugin.Activate") == 2
    assert eventually(lambda: event_log.events == ["lost", "activated"])


def test_who_waits_for_a_restart_in_get_does_not_fail_those_who_wait_for_it_in_a_call(
    pm: PluginManager, photos: FakePlugin
) -> None:
    photos.answer("VolumeDriver.Get", {"Volume": {"Name": "a"}})
    client = pm.get("photos").client
    photos.refuse()
    waits, client.endpoint.retry = client.endpoint.retry, Retry(restart=0)
    with pytest.raises(ConnectError):
        client.call("VolumeDriver.Get", {"Name": "a"})
    client.endpoint.retry = waits
    with pytest.raises(ActivationError):
        pm.get("photos", wait=0.5)
    restart = threading.Timer(0.3, photos.accept)
    restart.start()
    assert client.call("VolumeDriver.Get", {"Name": "a"}) == {"Volume": {"Name": "a"}}
    restart.join()


def test_who_waits_for_the_handshake_of_a_plugin_that_hangs_makes_the_next_where_the_plugin_is_by_then(
    short_path: Path, fault_server: Callable[..., FaultServer]
) -> None:
    hung, good = fault_server(read_and_hang, "tcp"), fault_server(answer(b'{"Implements": ["Backup"]}'), "tcp")
    spec = short_path / "photos.spec"
    spec.write_text(hung.address)
    with PluginManager(LocalRegistry(short_path, [short_path]), groups=()) as pm:
        failures: list[Any] = []
        leader = threading.Thread(
            target=lambda: failures.append(pytest.raises(ActivationError, pm.get, "photos", timeout=3))
        )
        leader.start()
        assert eventually(lambda: hung.requests, 30)
        spec.write_text(good.address)
        assert pm.get("photos", "Backup", timeout=30).address == good.address
        assert len(hung.requests) == 1
        leader.join()
        assert failures[0].value.address == hung.address


# --- a restart during a handshake that fails ----------------------------------------------------------


class Moving(LocalRegistry):
    """A registry of one plugin, which is restarted at another address while the handshake that it was asked for fails.

    Args:
        directory: where its spec file is.
        hangs: whether the handshake is not refused, and fails when the plugin has moved.
    """

    def __init__(self, directory: Path, *, hangs: bool) -> None:
        super().__init__(directory, [directory])
        self._spec = directory / "photos.spec"
        self.release = threading.Event()
        self.before = FaultServer(answer(MANIFEST), path=str(directory / "before"))
        self.after = FaultServer(answer(MANIFEST), path=str(directory / "after"))
        self._hangs = hangs
        self._spec.write_text(self.before.address)

    def crash(self, plugin: Any) -> None:
        """Have the next handshake fail."""
        if self._hangs:
            self.before.behaviour = self._lose
        else:
            self.before.close()
        plugin.mark_lost()

    def _lose(self, peer: Peer) -> None:
        peer.read_request()
        self.release.wait(60)

    def move(self) -> None:
        self._spec.write_text(self.after.address)

    def why(self, spec: PluginSpec, error: Exception) -> None:
        """Is called between the failure and its report."""
        if not self._hangs:
            self.move()

    def close(self) -> None:
        self.before.close()
        self.after.close()


GET: dict[str, Callable[[PluginManager], object]] = {
    "get": lambda pm: pm.get("photos"),
    "get_all": lambda pm: pm.get_all("VolumeDriver")[0],
}


@pytest.mark.parametrize("use", GET.values(), ids=GET)
def test_a_plugin_that_has_moved_when_its_handshake_fails_is_activated_where_it_is(
    short_path: Path, use: Callable[[PluginManager], object]
) -> None:
    registry = Moving(short_path, hangs=False)
    with PluginManager(registry, groups=(), keep_alive=False) as pm:
        plugin = pm.get("photos")
        registry.crash(plugin)
        assert use(pm) is plugin
        assert plugin.address == registry.after.address
        assert pm.failures() == []


@pytest.mark.parametrize("use", GET.values(), ids=GET)
def test_a_plugin_that_another_thread_has_found_elsewhere_when_its_handshake_fails_is_activated_there(
    short_path: Path, use: Callable[[PluginManager], object]
) -> None:
    registry = Moving(short_path, hangs=True)
    with PluginManager(registry, groups=(), keep_alive=False) as pm, ThreadPoolExecutor(2) as threads:
        plugin = pm.get("photos")
        registry.crash(plugin)
        first = threads.submit(use, pm)
        assert eventually(lambda: len(registry.before.requests) == 2, 30)
        registry.move()
        second = threads.submit(pm.get, "photos")
        assert eventually(lambda: plugin._pending_spec is not None, 30)
        registry.release.set()
        assert first.result(60) is second.result(60) is plugin
        assert plugin.address == registry.after.address
        assert pm.failures() == []


def test_a_plugin_that_another_task_has_found_elsewhere_is_activated_there(
    short_path: Path,
) -> None:
    async def main() -> None:
        registry = Moving(short_path, hangs=True)
        async with AsyncPluginManager(registry, groups=(), keep_alive=False) as pm:
            plugin = await pm.get("photos")
            registry.crash(plugin)
            first = asyncio.ensure_future(pm.get("photos"))
            assert await eventually_async(lambda: len(registry.before.requests) == 2)
            registry.move()
            second = asyncio.ensure_future(pm.get("photos"))
            assert await eventually_async(lambda: plugin._pending_spec is not None)
            registry.release.set()
            assert await first is await second is plugin
            assert plugin.address == registry.after.address
            assert pm.failures() == []

    run(main)


# --- handlers -----------------------------------------------------------------------------------------


class Pause(logging.Filter):
    """Holds up the first thread that logs a line with this word in it, until it is released."""

    def __init__(self, word: str) -> None:
        super().__init__()
        self.word = word
        self.reached = threading.Event()
        self.release = threading.Event()

    def filter(self, record: logging.LogRecord) -> bool:
        if self.word in record.getMessage() and not self.reached.is_set():
            self.reached.set()
            self.release.wait(60)
        return True


def test_a_thread_that_has_read_an_older_manifest_calls_no_handler_of_the_new_one_again(
    pm: PluginManager, photos: FakePlugin
) -> None:
    given: list[str] = []
    pm.handle("Backup", lambda name, client: given.append(name) or object())
    pause, log = Pause("has no usable hook"), logging.getLogger("extframe.host.dispatch_rules")
    log.addFilter(pause)
    late = threading.Thread(target=pm.get, args=("photos",))
    try:
        for points in (["VolumeDriver", "no name"], ["VolumeDriver", "Backup"]):
            photos.answer("Plugin.Activate", {"Implements": points})
            photos.refuse()
            photos.accept()
            if not late.is_alive():
                late.start()
                assert pause.reached.wait(30)
        driver = pm.driver("photos", "Backup")
    finally:
        log.removeFilter(pause)
        pause.release.set()
    late.join(10)
    assert pm.driver("photos", "Backup") is driver
    assert given == ["photos"]


def test_who_registers_a_handler_does_not_wait_for_those_of_others(
    pm: PluginManager, photos: FakePlugin, caplog: pytest.LogCaptureFixture
) -> None:
    release, given = threading.Event(), list[str]()

    def hang(name: str, client: object) -> None:
        release.wait(60)
        given.append("hung")

    pm.handle("Backup", hang)
    photos.answer("Plugin.Activate", {"Implements": ["Backup"]})
    photos.refuse()
    photos.accept()
    pause, log = Pause("is active"), logging.getLogger("extframe.host.plugin")
    log.addFilter(pause)
    getting = threading.Thread(target=pm.get, args=("photos",))
    try:
        with caplog.at_level(logging.INFO, log.name):
            getting.start()
            assert pause.reached.wait(30)  # it is active, and its handlers have not been called yet
            pm.handle("Backup", lambda name, client: given.append("new"))
            assert given == ["new"]
    finally:
        log.removeFilter(pause)
        pause.release.set()
        release.set()
        getting.join(10)
    assert given == ["new", "hung"]


def test_get_all_does_not_mind_handlers_that_come_meanwhile(pm: PluginManager, photos: FakePlugin) -> None:
    points = [f"Point{number}" for number in range(200)]
    photos.answer("Plugin.Activate", {"Implements": points})
    photos.refuse()
    photos.accept()
    pm.get("photos")

    def handle() -> None:
        for point in points:
            pm.handle(point, lambda name, client: None)

    thread = threading.Thread(target=handle)
    thread.start()
    while thread.is_alive():
        pm.get_all("Point0")
    thread.join()
    assert [plugin.name for plugin in pm.get_all("Point0")] == ["photos"]


# --- responses without an end -------------------------------------------------------------------------

MANIFEST = b'{"Implements": ["VolumeDriver"]}'
ENDLESS = {
    "no length": b"HTTP/1.1 200 OK\r\n\r\n" + MANIFEST,
    "length too large": b"HTTP/1.1 200 OK\r\nContent-Length: 99\r\n\r\n" + MANIFEST,
    "no last chunk": b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n%x\r\n%b\r\n" % (len(MANIFEST), MANIFEST),
}


@pytest.mark.parametrize("data", ENDLESS.values(), ids=ENDLESS)
def test_a_manifest_is_read_although_the_end_of_its_response_does_not_arrive(short_path: Path, data: bytes) -> None:
    with FaultServer(send_and_hang(data), path=str(short_path / "p.sock")):
        with PluginManager(LocalRegistry(short_path)) as pm:
            assert [plugin.name for plugin in pm.get_all("VolumeDriver", timeout=60)] == ["p"]
        with PluginManager(LocalRegistry(short_path)) as pm:
            assert pm.get("p", "VolumeDriver", timeout=60).name == "p"


def test_a_manifest_that_is_cut_and_whose_end_does_not_arrive_times_out(short_path: Path) -> None:
    cut = send_and_hang(ENDLESS["length too large"][:-1])
    with FaultServer(cut, path=str(short_path / "p.sock")), PluginManager(LocalRegistry(short_path)) as pm:
        with pytest.raises(ActivationError, match="timed out waiting for the body of the response"):
            pm.get("p", timeout=2.2)  # longer than a machine stalls: the response begins in time
        assert pm.get_all("VolumeDriver", timeout=0.7) == []
