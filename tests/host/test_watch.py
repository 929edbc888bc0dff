"""Live discovery: plugins that come, change and go, with the system's notifications and without."""

from __future__ import annotations

import logging
import math
import os
import resource
import shutil
import socket
import sys
import threading
import time
from collections.abc import Callable, Hashable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

import pytest
from faultserver import FaultServer, Request, answer, answer_with, eventually, hang, reply, send_and_close
from leftovers import nothing_left_over
from open_files import many_open_files

from extframe import (
    ActivationError,
    ConnectError,
    ExtframeError,
    LocalRegistry,
    Plugin,
    PluginManager,
    PluginSpec,
    Retry,
    VolumeDriver,
    hookimpl,
)
from extframe.concurrency.wake_pipe import WakePipe
from extframe.host.watch import Watch
from extframe.testing import Error, FakePlugin

# Seconds. The scan that finds lost notifications comes so late that what happens soon was notified, or did not wait
# for a notification. A busy machine may take its time for either.
RESCANNED, SOON = 300.0, 30.0

pytestmark = pytest.mark.usefixtures("notifications")


@pytest.fixture(params=["notified", "looking"])
def notifications(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("extframe.registry.notifications.RESCAN_INTERVAL", RESCANNED)
    if request.param == "looking":
        monkeypatch.setitem(sys.modules, "inotify_simple", None)
    elif sys.platform != "linux":
        pytest.skip("inotify is Linux's")


@pytest.fixture
def directory(short_path: Path) -> Path:
    return short_path / "run" / "plugins"


@pytest.fixture
def pm(directory: Path) -> Iterator[PluginManager]:
    with PluginManager(LocalRegistry(directory, [directory]), groups=()) as manager:
        yield manager


class EventLog:
    """A handler that keeps the lifecycle events."""

    def __init__(self) -> None:
        self.events: list[str] = []

    @hookimpl
    def plugin_activated(self, name: str, plugin: Plugin) -> None:
        self.events.append(f"{name} activated: {' '.join(plugin.manifest.implements)}")

    @hookimpl
    def plugin_failed(self, name: str, error: ExtframeError) -> None:
        self.events.append(f"{name} failed")

    @hookimpl
    def plugin_lost(self, name: str) -> None:
        self.events.append(f"{name} lost")

    @hookimpl
    def plugin_removed(self, name: str) -> None:
        self.events.append(f"{name} removed")


@pytest.fixture
def event_log(pm: PluginManager) -> EventLog:
    event_log = EventLog()
    pm.register(event_log)
    return event_log


def soon(condition: Callable[[], object]) -> bool:
    """Whether something is so before a scan looks for lost notifications."""
    return eventually(condition, SOON)


@pytest.fixture
def scanned_often(notifications: None, monkeypatch: pytest.MonkeyPatch) -> None:
    """With inotify or without, directories are scanned every 0.1 s."""
    monkeypatch.setattr("extframe.registry.notifications.RESCAN_INTERVAL", 0.1)
    monkeypatch.setattr("extframe.registry.notifications.PollingMonitor.rescan_interval", 0.1)


# --- what comes, changes and goes ---------------------------------------------------------------------


def test_a_plugin_that_comes_is_activated_and_given_to_its_handlers(
    pm: PluginManager, event_log: EventLog, directory: Path
) -> None:
    given: list[str] = []
    pm.handle("VolumeDriver", lambda name, client: given.append(name))
    directory.mkdir(parents=True)
    with FakePlugin(directory, "before", ["VolumeDriver"]), pm.watch():
        assert soon(lambda: given == ["before"])
        with FakePlugin(directory, "after", ["VolumeDriver"]) as after:
            assert soon(lambda: given == ["before", "after"])
            assert [call.method for call in after.calls] == ["Plugin.Activate"]
        assert soon(lambda: "after removed" in event_log.events)
    assert event_log.events == [
        "before activated: VolumeDriver",
        "after activated: VolumeDriver",
        "after lost",
        "after removed",
    ]
    assert pm.failures() == []


def test_the_directory_may_be_missing_be_removed_and_come_back(
    pm: PluginManager, event_log: EventLog, directory: Path
) -> None:
    with pm.watch():
        for _ in range(2):
            time.sleep(0.1)
            directory.mkdir(parents=True)
            with FakePlugin(directory, "photos", ["VolumeDriver"]):
                assert soon(lambda: event_log.events[-1:] == ["photos activated: VolumeDriver"])
                shutil.rmtree(directory.parent)
                assert soon(lambda: event_log.events[-1:] == ["photos removed"])


def test_a_restart_makes_a_new_handshake_and_a_changed_manifest_counts(
    pm: PluginManager, event_log: EventLog, directory: Path
) -> None:
    given: list[str] = []
    for point in ("VolumeDriver", "Backup"):
        pm.handle(point, lambda name, client, point=point: given.append(point))  # type: ignore[misc]
    directory.mkdir(parents=True)
    with FakePlugin(directory, "photos", ["VolumeDriver"]) as plugin, pm.watch():
        assert soon(lambda: given == ["VolumeDriver"])
        plugin.refuse()
        plugin.answer("Plugin.Activate", {"Implements": ["VolumeDriver", "Backup"]})
        plugin.accept()
        assert soon(lambda: given == ["VolumeDriver", "Backup"])
        assert soon(lambda: event_log.events[-1:] == ["photos activated: VolumeDriver Backup"])


def test_a_spec_file_that_is_replaced_or_rewritten_moves_the_plugin(
    pm: PluginManager, directory: Path, fault_server: Any
) -> None:
    directory.mkdir(parents=True)
    servers = [fault_server(answer(b'{"Implements": ["VolumeDriver"]}'), "tcp") for _ in range(3)]
    spec = directory / "photos.spec"
    spec.write_text(servers[0].address)
    with pm.watch():
        assert soon(lambda: servers[0].requests)
        driver = pm.driver("photos", VolumeDriver)
        (directory / "photos.new").write_text(servers[1].address)
        (directory / "photos.new").rename(spec)
        assert soon(lambda: servers[1].requests)
        spec.write_text(servers[2].address)
        assert soon(lambda: servers[2].requests)
        assert soon(lambda: pm.get("photos").address == servers[2].address)
        driver.remove("x")
        assert "/VolumeDriver.Remove" in [request.path for request in servers[2].requests]


def test_a_socket_that_appears_before_a_spec_file_in_the_order_is_the_plugin_until_it_goes(
    pm: PluginManager, event_log: EventLog, directory: Path, fault_server: Any
) -> None:
    directory.mkdir(parents=True)
    remote = fault_server(answer(b'{"Implements": ["Remote"]}'), "tcp")
    (directory / "photos.spec").write_text(remote.address)
    with pm.watch():
        assert soon(lambda: event_log.events == ["photos activated: Remote"])
        with FakePlugin(directory, "photos", ["VolumeDriver"]):
            assert soon(lambda: event_log.events[1:] == ["photos lost", "photos activated: VolumeDriver"])
        assert soon(lambda: event_log.events[-1:] == ["photos activated: Remote"])


def test_a_plugin_in_a_directory_of_its_own_is_noticed(pm: PluginManager, event_log: EventLog, directory: Path) -> None:
    directory.mkdir(parents=True)
    with pm.watch():
        time.sleep(0.1)
        (directory / "photos").mkdir()
        with FakePlugin(directory / "photos", "photos", ["VolumeDriver"]):
            assert soon(lambda: event_log.events == ["photos activated: VolumeDriver"])


@pytest.mark.parametrize("how", ["replaced", "removed, and created again"])
def test_a_plugin_that_hung_and_was_replaced_is_not_waited_for(
    pm: PluginManager, event_log: EventLog, directory: Path, how: str
) -> None:
    directory.mkdir(parents=True)
    hung = FaultServer(hang, path=str(directory / "photos.sock"))  # keeps hanging next to the one that replaces it
    good = FaultServer(answer(b'{"Implements": ["VolumeDriver"]}'), path=str(directory.parent / "other"))
    with hung, good, pm.watch(timeout=60):
        assert soon(lambda: hung.connections)
        if how != "replaced":
            os.unlink(hung.path)
            time.sleep(0.3)
        os.replace(good.path, hung.path)
        assert soon(lambda: event_log.events[-1:] == ["photos activated: VolumeDriver"])


@pytest.mark.usefixtures("scanned_often")
def test_what_notifications_lose_is_found_by_looking_again(
    pm: PluginManager, event_log: EventLog, directory: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    directory.mkdir(parents=True)
    with pm.watch() as watch:
        assert soon(lambda: watch._plan._next_scan)  # it has looked for the first time
        monkeypatch.setattr(watch._changes, "has_changed", lambda: False)
        with FakePlugin(directory, "photos", ["VolumeDriver"]):
            assert soon(lambda: event_log.events == ["photos activated: VolumeDriver"])


# --- what fails ---------------------------------------------------------------------------------------


def test_a_socket_that_appears_before_its_server_listens_is_waited_for(
    pm: PluginManager, event_log: EventLog, directory: Path
) -> None:
    directory.mkdir(parents=True)
    with pm.watch(), socket.socket(socket.AF_UNIX) as sock:
        sock.bind(str(directory / "photos.sock"))
        assert soon(lambda: event_log.events == ["photos failed"])
        sock.listen()
        sock.settimeout(SOON)
        connection, _ = sock.accept()
        with connection:
            assert connection.recv(4096).startswith(b"POST /Plugin.Activate ")
            connection.sendall(reply(b'{"Implements": ["VolumeDriver"]}'))
            assert soon(lambda: event_log.events[1:] == ["photos activated: VolumeDriver"])
        assert soon(lambda: pm.failures() == [])


def test_a_socket_whose_server_listens_a_moment_later_has_not_failed(
    pm: PluginManager,
    event_log: EventLog,
    directory: Path,
    caplog: pytest.LogCaptureFixture,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr("extframe.host.watch_plan.NOT_YET", SOON)  # the moment; some tries are made by then
    directory.mkdir(parents=True)
    with pm.watch(), socket.socket(socket.AF_UNIX) as sock:
        sock.bind(str(directory / "photos.sock"))
        assert soon(lambda: pm._activator.table.known("photos") and pm._activator.table.known("photos").last_error)
        sock.listen()
        sock.settimeout(SOON)
        connection, _ = sock.accept()
        with connection:
            connection.recv(4096)
            connection.sendall(reply(b'{"Implements": ["VolumeDriver"]}'))
            assert soon(lambda: event_log.events == ["photos activated: VolumeDriver"])
    assert [record for record in caplog.records if record.levelname == "WARNING"] == []


def test_a_plugin_that_fails_is_tried_again_after_growing_pauses_and_reported_once(
    pm: PluginManager, event_log: EventLog, directory: Path, caplog: pytest.LogCaptureFixture
) -> None:
    directory.mkdir(parents=True)
    with caplog.at_level(logging.INFO, "extframe"), FakePlugin(directory, "photos") as plugin:
        plugin.answer("Plugin.Activate", Error("not yet", status=503))
        watch = pm.watch()
        assert soon(lambda: len(plugin.calls) >= 5)
        assert len(plugin.calls) < 10  # 50 ms and its doubles: 5 tries within 0.75 s, 6 within 1.55 s
        wait = watch.next_try("photos")
        assert wait is None or 0 <= wait <= 10
        [known] = pm._activator.table.plugins()
        assert "not yet" in str(known.last_error)
        assert soon(lambda: abs((known.next_try or -1) - (watch.next_try("photos") or 99)) < 0.2)
        plugin.answer("Plugin.Activate", {"Implements": ["VolumeDriver"]})
        assert soon(lambda: event_log.events[-1:] == ["photos activated: VolumeDriver"])
        assert watch.next_try("photos") is None
        assert (known.last_error, known.next_try) == (None, None)
        assert soon(lambda: [record.levelname for record in caplog.records] == ["WARNING", "INFO"])
    assert event_log.events == ["photos failed", "photos activated: VolumeDriver"]


def test_a_new_socket_ends_the_pause(
    pm: PluginManager, event_log: EventLog, directory: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("extframe.host.watch_plan.FIRST_PAUSE", RESCANNED)
    directory.mkdir(parents=True)
    with FakePlugin(directory, "photos") as plugin:
        plugin.answer("Plugin.Activate", Error("not yet", status=503))
        watch = pm.watch()
        assert soon(lambda: (watch.next_try("photos") or 0) > SOON)
        plugin.refuse()
        plugin.answer("Plugin.Activate", {"Implements": ["VolumeDriver"]})
        plugin.accept()
        assert soon(lambda: event_log.events[-1:] == ["photos activated: VolumeDriver"])


def test_a_broken_file_is_read_again_when_it_is_fixed(
    pm: PluginManager, event_log: EventLog, directory: Path, fault_server: Any
) -> None:
    directory.mkdir(parents=True)
    (directory / "photos.spec").write_text("nonsense")
    with pm.watch():
        assert soon(lambda: event_log.events == ["photos failed"])
        (directory / "photos.spec").write_text(fault_server(answer(b'{"Implements": ["VolumeDriver"]}')).address)
        assert soon(lambda: event_log.events[-1:] == ["photos activated: VolumeDriver"])


def test_a_plugin_that_refuses_a_call_is_activated_again(
    pm: PluginManager, event_log: EventLog, directory: Path
) -> None:
    directory.mkdir(parents=True)
    server = FaultServer(answer(b'{"Implements": ["VolumeDriver"]}'), "tcp")
    (directory / "photos.spec").write_text(server.address)
    with server, pm.watch():
        assert soon(lambda: event_log.events == ["photos activated: VolumeDriver"])
        client = pm.get("photos").client
        client.endpoint.retry = Retry(restart=0)
        server.close()
        with pytest.raises(ConnectError):
            client.call("VolumeDriver.List")
        assert soon(lambda: event_log.events[-2:] == ["photos lost", "photos failed"])


def test_plugins_that_hang_talk_nonsense_or_have_a_handler_that_hangs_hold_up_no_other(
    pm: PluginManager, event_log: EventLog, directory: Path
) -> None:
    release = threading.Event()
    pm.handle("VolumeDriver", lambda name, client: name == "stuck" and release.wait(60) and None)
    directory.mkdir(parents=True)
    bad = [FaultServer(hang, path=str(directory / f"hung{number}.sock")) for number in range(10)]
    bad.append(FaultServer(send_and_close(b"\x00" * 100), path=str(directory / "garbage.sock")))
    try:
        with pm.watch(timeout=5), FakePlugin(directory, "stuck", ["VolumeDriver"]) as stuck:
            assert soon(lambda: "stuck activated: VolumeDriver" in event_log.events)
            with FakePlugin(directory, "good", ["VolumeDriver"]):
                assert soon(lambda: "good activated: VolumeDriver" in event_log.events)
            stuck.refuse()
            stuck.accept()
            assert soon(lambda: event_log.events.count("stuck activated: VolumeDriver") == 2)
    finally:
        release.set()
        for server in bad:
            server.close()


def test_a_plugin_whose_manifest_is_empty_is_asked_again(
    pm: PluginManager, event_log: EventLog, directory: Path
) -> None:
    directory.mkdir(parents=True)
    with FakePlugin(directory, "photos") as plugin, pm.watch():
        assert soon(lambda: len(plugin.calls) >= 3)
        plugin.answer("Plugin.Activate", {"Implements": ["VolumeDriver"]})
        assert soon(lambda: event_log.events == ["photos activated: ", "photos activated: VolumeDriver"])


@pytest.mark.usefixtures("scanned_often")
def test_a_registry_that_raises_is_looked_at_again(directory: Path, caplog: pytest.LogCaptureFixture) -> None:
    class Flaky(LocalRegistry):
        looks = 0

        def scan(self) -> list[str]:
            self.looks += 1
            if self.looks == 1:
                raise RuntimeError("oh")
            return super().scan()

    event_log = EventLog()
    directory.mkdir(parents=True)
    with PluginManager(Flaky(directory, []), groups=()) as pm, FakePlugin(directory, "photos", ["VolumeDriver"]):
        pm.register(event_log)
        with pm.watch():
            assert soon(lambda: event_log.events == ["photos activated: VolumeDriver"])
    assert "could not be searched" in caplog.text


def test_a_change_during_a_handshake_is_noticed_after_it(
    pm: PluginManager, event_log: EventLog, directory: Path, fault_server: Any
) -> None:
    def slow(request: Request) -> bytes:
        time.sleep(0.5)
        return reply(b'{"Implements": ["VolumeDriver"]}')

    directory.mkdir(parents=True)
    before, after = fault_server(answer_with(slow)), fault_server(answer(b'{"Implements": ["Backup"]}'))
    (directory / "photos.spec").write_text(before.address)
    with pm.watch():
        assert soon(lambda: before.requests)
        (directory / "photos.spec").write_text(after.address)
        assert soon(lambda: event_log.events[-1:] == ["photos activated: Backup"])


def test_no_file_descriptor_left_is_a_failure_like_any_other(directory: Path) -> None:
    class Known(LocalRegistry):
        names: tuple[str, ...] = ()

        def scan(self) -> list[str]:  # which needs no descriptor
            return [*self.names]

    directory.mkdir(parents=True)
    with PluginManager(Known(directory, []), groups=()) as pm, FakePlugin(directory, "photos", ["VolumeDriver"]):
        assert pm.get_all("VolumeDriver") == []  # imports what it needs
        Known.names = ("photos",)
        with no_descriptors_left():
            assert pm.get_all("VolumeDriver") == []
            assert "no file descriptor left" in str(pm.failures()[0])
        assert [plugin.name for plugin in pm.get_all("VolumeDriver")] == ["photos"]


@contextmanager
def no_descriptors_left() -> Iterator[None]:
    """Let the system give no file descriptor from 3 on, even if one is closed meanwhile: 0, 1 and 2 are in use."""
    limits = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (3, limits[1]))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_NOFILE, limits)


def test_a_registry_that_raises_for_one_plugin_does_not_affect_the_others(
    directory: Path, caplog: pytest.LogCaptureFixture
) -> None:
    class Broken(LocalRegistry):
        def find(self, name: str) -> PluginSpec:
            if name == "bad":
                raise RuntimeError("oh")
            return super().find(name)

    directory.mkdir(parents=True)
    with PluginManager(Broken(directory, []), groups=()) as pm, FakePlugin(directory, "bad", ["VolumeDriver"]):
        pm.register(event_log := EventLog())
        with pm.watch(), FakePlugin(directory, "photos", ["VolumeDriver"]):
            assert soon(lambda: "photos activated: VolumeDriver" in event_log.events)
            assert soon(lambda: "bad failed" in event_log.events)
            assert [plugin.name for plugin in pm.get_all("VolumeDriver")] == ["photos"]
            with FakePlugin(directory, "rclone", ["VolumeDriver"]):
                assert soon(lambda: "rclone activated: VolumeDriver" in event_log.events)
    assert "Broken could not find plugin 'bad': RuntimeError: oh; it will be tried again" in caplog.text
    assert "Traceback" not in caplog.text


def test_a_plugin_whose_stamp_raises_is_activated_once_all_the_same(directory: Path) -> None:
    class Broken(LocalRegistry):
        def stamp(self, spec: PluginSpec) -> Hashable:
            raise RuntimeError("oh")

    directory.mkdir(parents=True)
    with PluginManager(Broken(directory, []), groups=()) as pm, FakePlugin(directory, "photos", ["Lab"]) as plugin:
        pm.register(event_log := EventLog())
        with pm.watch():
            assert soon(lambda: event_log.events)
            assert pm.get("photos") is pm.get("photos")
        assert event_log.events == ["photos activated: Lab"]
        assert [call.method for call in plugin.calls] == ["Plugin.Activate"]


def test_a_name_that_is_listed_and_not_found_is_looked_at_ever_more_rarely(directory: Path) -> None:
    class Ghost(LocalRegistry):
        looks = 0

        def scan(self) -> list[str]:
            self.looks += 1
            return ["ghost"]

    registry = Ghost(directory, [])
    began = time.monotonic()
    with PluginManager(registry, groups=()) as pm, pm.watch():
        assert soon(lambda: registry.looks >= 3)
        time.sleep(1.0)
        looks = registry.looks
        # Pauses of 50 ms and its doubles, and looks every half second, of which each may have a pause behind it.
        assert looks < 8 + 4 * (time.monotonic() - began)


def test_a_registry_without_directories_is_looked_at_every_half_second(directory: Path) -> None:
    class Elsewhere:
        def __init__(self) -> None:
            self.local = LocalRegistry(directory, [])
            self.scan, self.find, self.stamp = self.local.scan, self.local.find, self.local.stamp

    directory.mkdir(parents=True)
    with PluginManager(Elsewhere(), groups=()) as pm:
        pm.register(event_log := EventLog())
        with pm.watch():
            time.sleep(0.2)
            with FakePlugin(directory, "photos", ["VolumeDriver"]):
                assert soon(lambda: event_log.events == ["photos activated: VolumeDriver"])


def test_a_registry_that_reports_changes_is_followed_by_a_host_with_many_files(directory: Path) -> None:
    class Notified:
        def __init__(self) -> None:
            self.local = LocalRegistry(directory, [])
            self.scan, self.find, self.stamp = self.local.scan, self.local.find, self.local.stamp
            self.pipe = WakePipe()

        def changes(self) -> WakePipe:
            return self.pipe

    directory.mkdir(parents=True)
    with many_open_files():
        registry = Notified()
        with PluginManager(registry, groups=()) as pm:
            pm.register(event_log := EventLog())
            with pm.watch(), FakePlugin(directory, "photos", ["VolumeDriver"]):
                registry.pipe.up()
                assert soon(lambda: event_log.events == ["photos activated: VolumeDriver"])


@pytest.mark.usefixtures("scanned_often")
def test_a_registry_that_goes_on_raising_is_logged_once(directory: Path, caplog: pytest.LogCaptureFixture) -> None:
    class Broken(LocalRegistry):
        looks = 0

        def scan(self) -> list[str]:
            self.looks += 1
            raise RuntimeError("oh")

    registry = Broken(directory, [])
    with PluginManager(registry, groups=()) as pm, pm.watch():
        assert soon(lambda: registry.looks >= 3)
    assert len(caplog.records) == 1


def test_where_no_file_descriptor_is_left_plugins_wait_and_the_watch_goes_on(
    pm: PluginManager, event_log: EventLog, directory: Path
) -> None:
    directory.mkdir(parents=True)
    with FakePlugin(directory, "photos", ["VolumeDriver"]) as plugin:
        plugin.refuse()
        watch = pm.watch()
        assert soon(lambda: event_log.events == ["photos failed"])
        with no_descriptors_left():
            time.sleep(1.0)  # the watch tries it once or twice
            with pytest.raises(ActivationError, match="no file descriptor left"):
                pm.get("photos")
            with pytest.raises(ExtframeError, match="cannot list plugins: .*too many open files; raise"):
                pm.get_all("VolumeDriver")
        plugin.accept()
        assert soon(lambda: event_log.events[-1:] == ["photos activated: VolumeDriver"])
        watch.close()


def test_a_log_handler_that_raises_does_not_end_it(pm: PluginManager, event_log: EventLog, directory: Path) -> None:
    class Broken(logging.Handler):
        def emit(self, record: logging.LogRecord) -> None:
            raise ValueError("no space left for the log")

    directory.mkdir(parents=True)
    logger = logging.getLogger("extframe")
    broken, level = Broken(), logger.level
    logger.addHandler(broken)
    logger.setLevel(logging.DEBUG)
    try:
        with FakePlugin(directory, "photos", ["VolumeDriver"]), pm.watch():
            assert soon(lambda: "photos activated: VolumeDriver" in event_log.events)
            with FakePlugin(directory, "rclone", ["VolumeDriver"]):
                assert soon(lambda: "rclone activated: VolumeDriver" in event_log.events)
    finally:
        logger.removeHandler(broken)
        logger.setLevel(level)


@pytest.mark.usefixtures("scanned_often")
def test_the_pause_of_a_file_that_cannot_be_used_grows_though_it_is_looked_at(
    pm: PluginManager, event_log: EventLog, directory: Path
) -> None:
    directory.mkdir(parents=True)
    (directory / "photos.spec").write_text("nonsense")
    with pm.watch() as watch:
        assert soon(lambda: (watch.next_try("photos") or 0) > 1.0)


# --- what it is given ---------------------------------------------------------------------------------


@pytest.mark.parametrize("timeout", [-1, math.nan])
def test_a_timeout_that_is_none_is_refused_before_a_thread_meets_it(pm: PluginManager, timeout: float) -> None:
    with pytest.raises(ValueError, match="more than 0"):
        pm.watch(timeout=timeout)
    with pm.watch(timeout=math.inf) as watch:
        with pytest.raises(ValueError, match="0 or more"):
            watch.close(timeout)
        watch.close(math.inf)


def test_where_the_system_has_no_thread_it_says_so_and_leaves_nothing(
    pm: PluginManager, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(thread: threading.Thread) -> None:
        raise RuntimeError("can't start new thread")

    before = len(os.listdir("/dev/fd"))
    with monkeypatch.context() as patch:
        patch.setattr(threading.Thread, "start", refuse)  # there is no other way that root could be refused
        with pytest.raises(ExtframeError, match="raise the limit on threads"):
            pm.watch()
    assert len(os.listdir("/dev/fd")) <= before  # less where something that another test has closed ends now


@pytest.mark.parametrize("begins", [False, True], ids=["before it begins", "as it begins"])
def test_ctrl_c_in_the_beginning_leaves_nothing(
    pm: PluginManager, directory: Path, monkeypatch: pytest.MonkeyPatch, begins: bool
) -> None:
    start = threading.Thread.start

    def interrupted(thread: threading.Thread) -> None:
        if begins:
            start(thread)
        raise KeyboardInterrupt

    with nothing_left_over(), monkeypatch.context() as patch:
        patch.setattr(threading.Thread, "start", interrupted)  # no signal could be timed so well
        with pytest.raises(KeyboardInterrupt):
            pm.watch()


# --- its end ------------------------------------------------------------------------------------------


def test_nothing_is_left_when_it_is_closed_and_nothing_is_noticed_any_more(
    pm: PluginManager, event_log: EventLog, directory: Path
) -> None:
    directory.mkdir(parents=True)
    threads, descriptors = threading.active_count(), len(os.listdir("/proc/self/fd"))
    for _ in range(3):
        with pm.watch():
            pass
    with pm.watch() as watch:
        watch.close()
        watch.close()
    with FakePlugin(directory, "photos", ["VolumeDriver"]):
        time.sleep(0.8)
    assert event_log.events == []
    assert soon(lambda: threading.active_count() <= threads)
    assert soon(lambda: len(os.listdir("/proc/self/fd")) <= descriptors)


def test_closing_the_manager_ends_it_even_in_the_middle_of_a_handshake(directory: Path) -> None:
    directory.mkdir(parents=True)
    server = FaultServer(hang, path=str(directory / "hung.sock"))
    with server, PluginManager(LocalRegistry(directory, []), groups=()) as pm:
        watch = pm.watch(timeout=300)
        assert soon(lambda: server.connections)
        pm.close(timeout=SOON)
        assert not watch._thread.is_alive()
        assert pm.failures() == []
        with pytest.raises(ExtframeError, match="closed"):
            pm.watch()


def test_watches_that_begin_as_the_manager_closes_end_with_it(directory: Path) -> None:
    directory.mkdir(parents=True)
    threads = threading.active_count()
    for _ in range(20):
        pm = PluginManager(LocalRegistry(directory, []), groups=())
        begun: list[Watch] = []

        def watch(pm: PluginManager = pm, begun: list[Watch] = begun) -> None:
            with suppress(ExtframeError):
                while len(begun) < 200:  # each has three file descriptors
                    begun.append(pm.watch())

        watchers = [threading.Thread(target=watch) for _ in range(4)]
        for watcher in watchers:
            watcher.start()
        assert soon(lambda begun=begun: len(begun) > 5)  # type: ignore[misc]
        pm.close()
        for watcher in watchers:
            watcher.join()
        assert soon(lambda begun=begun: not any(each._thread.is_alive() for each in begun))  # type: ignore[misc]
    assert soon(lambda: threading.active_count() <= threads)


def test_a_signal_handler_may_close_the_manager_whatever_it_interrupts(pm: PluginManager) -> None:
    watch = pm.watch()
    with pm._activator.table._lock, watch._wake._lock:  # as the code has them that a signal may interrupt
        pm.close(timeout=0.2)
    watch.close()


def test_a_handler_may_close_the_manager(pm: PluginManager, directory: Path) -> None:
    closed = threading.Event()

    def close(name: str, client: object) -> None:
        pm.close()
        closed.set()

    pm.handle("VolumeDriver", close)
    directory.mkdir(parents=True)
    with FakePlugin(directory, "photos", ["VolumeDriver"]):
        pm.watch()
        assert closed.wait(SOON)


def test_two_watches_and_a_get_tell_each_thing_once(pm: PluginManager, event_log: EventLog, directory: Path) -> None:
    directory.mkdir(parents=True)
    with pm.watch(), pm.watch():
        with FakePlugin(directory, "photos", ["VolumeDriver"]) as plugin:
            pm.get("photos", wait=SOON)
            assert soon(lambda: event_log.events == ["photos activated: VolumeDriver"])
            assert [call.method for call in plugin.calls] == ["Plugin.Activate"]
        assert soon(lambda: len(event_log.events) >= 3)
    assert event_log.events[1:] == ["photos lost", "photos removed"]
