"""Plugins that are restarted while they are called: real processes, killed and stopped.

EXTFRAME_RESTARTS=100 restarts each a hundred times; with -s the figures are printed.
"""

from __future__ import annotations

import contextlib
import json
import os
import random
import signal
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from faultserver import Behaviour, FaultServer, Request, answer_with, eventually
from leftovers import descriptors, nothing_left_over
from program import Program
from scripted_plugin import ok

from extframe import ConnectionLost, LocalRegistry, Plugin, PluginManager, Retry, VolumeDriver, hookimpl

RESTARTS = int(os.environ.get("EXTFRAME_RESTARTS", "8"))
LONG = RESTARTS > 20
CALLERS, PAUSE = 10, 0.2  # threads and seconds: 50 calls a second
SOON = 30.0  # seconds in which a restart is to count: a busy machine's, which starts processes meanwhile

# Both keep a journal: a line for each handshake and each Create, written before the answer.
SCRIPTED = """
    import json, os, signal, sys, time
    from faultserver import FaultServer, answer_with
    from scripted_plugin import ok

    path, journal, point = sys.argv[1:]
    lines = os.open(journal, os.O_WRONLY | os.O_APPEND)

    def answer(request):
        if request.path == "/Plugin.Activate":
            os.write(lines, b"handshake %d\\n" % os.getpid())
            return ok({"Implements": ["VolumeDriver", point]})
        name = json.loads(request.body)["Name"]
        if request.path == "/VolumeDriver.Create":
            os.write(lines, b"create %s\\n" % name.encode())
        time.sleep(0.01)
        return ok({"Volume": {"Name": name}})

    if os.path.exists(path):
        os.unlink(path)
    FaultServer(answer_with(answer), path=path)
    signal.sigwait({signal.SIGTERM})  # what ends it otherwise is SIGKILL
"""

SERVED = """
    import os, sys, time
    import extframe

    path, journal, point = sys.argv[1:]
    lines = os.open(journal, os.O_WRONLY | os.O_APPEND)

    class Photos(extframe.VolumeDriver):
        def create(self, name, opts=None):
            os.write(lines, b"create %s\\n" % name.encode())
            time.sleep(0.01)

        def get(self, name):
            time.sleep(0.01)
            return extframe.Volume(name=name)

    class Extra(extframe.Interface, implements=point):
        @extframe.rpc("Work")
        def work(self) -> None:
            raise NotImplementedError

    class Works(Extra):
        def work(self) -> None:
            pass

    os.write(lines, b"handshake %d\\n" % os.getpid())  # of which the server says nothing
    extframe.serve(Photos(), Works(), name="photos", directory=os.path.dirname(path), drain=1)
"""


class PluginProcess:
    """A plugin in a process of its own. Each time it is started it implements VolumeDriver and a point of its own."""

    def __init__(self, directory: Path, source: str) -> None:
        self.path = directory / "photos.sock"
        self.journal = directory / "journal"
        self.journal.touch()
        self.number = 0
        self._source = source
        self._running: Program | None = None

    @property
    def point(self) -> str:
        return f"Point{self.number}"

    def start(self) -> None:
        """Start it, and return when its socket is there."""
        before = self._identity()
        self.number += 1
        self._running = Program(self._source, self.path, self.journal, self.point, measured=False)
        assert eventually(lambda: self._identity() not in (None, before), 60), self._running.end()

    def stop(self, number: int) -> None:
        assert self._running is not None
        self._running.stop(number, 60)

    def close(self) -> None:
        if self._running is not None:
            self._running.__exit__(None, None, None)

    def noted(self, word: str) -> list[str]:
        lines = self.journal.read_text().splitlines()
        return [line.split()[1] for line in lines if line.startswith(word)]

    def _identity(self) -> tuple[int, int] | None:
        with contextlib.suppress(OSError):
            status = self.path.stat()
            return status.st_ino, status.st_ctime_ns
        return None


class Load:
    """Threads that call a driver until they are to end: two calls of three are idempotent."""

    def __init__(self, driver: VolumeDriver) -> None:
        self.driver = driver
        self.errors: list[tuple[str, BaseException]] = []
        self.created: list[str] = []  # that were asked for
        self.answered: list[str] = []
        self.calls = 0
        self.slowest = 0.0
        self.seconds = 0.0
        self._began = time.monotonic()
        self._end = threading.Event()
        self._threads = [threading.Thread(target=self._run, args=(number,)) for number in range(CALLERS)]

    def __enter__(self) -> Load:
        for thread in self._threads:
            thread.start()
        return self

    def __exit__(self, *exception: object) -> None:
        self._end.set()
        for thread in self._threads:
            thread.join(60)
        assert not any(thread.is_alive() for thread in self._threads)
        self.seconds = time.monotonic() - self._began

    def _run(self, number: int) -> None:
        count, due = 0, time.monotonic()
        while not self._end.wait(max(0.0, due - time.monotonic())):
            count, due = count + 1, due + PAUSE
            began = time.monotonic()
            self._create(f"{number}-{count}") if count % 3 == 0 else self._get(f"{number}-{count}")
            self.slowest = max(self.slowest, time.monotonic() - began)
            self.calls += 1

    def _get(self, name: str) -> None:
        try:
            assert self.driver.get(name).name == name
        except BaseException as error:  # noqa: BLE001 - looked at in the end
            self.errors.append(("get", error))

    def _create(self, name: str) -> None:
        self.created.append(name)
        try:
            self.driver.create(name)
            self.answered.append(name)
        except BaseException as error:  # noqa: BLE001 - looked at in the end
            self.errors.append(("create", error))


class EventLog:
    """A handler that keeps the lifecycle events of a plugin."""

    def __init__(self) -> None:
        self.events: list[str] = []

        self.details: list[str] = []  # for the reader of a failure

    @hookimpl
    def plugin_activated(self, name: str, plugin: Plugin) -> None:
        self.events.append("activated")
        self.details.append(f"{plugin.manifest.implements} at {plugin.spec.stamp}")

    @hookimpl
    def plugin_lost(self, name: str, reason: str) -> None:
        self.events.append("lost")
        self.details.append(reason)


@contextlib.contextmanager
def used_now_and_then(pm: PluginManager, interval: float) -> Iterator[None]:
    """Get the plugin again and again, as a host does that does not watch."""
    end = threading.Event()
    errors: list[BaseException] = []

    def use() -> None:
        try:
            while not end.wait(interval):
                pm.get("photos", wait=60, timeout=60)
        except BaseException as error:  # noqa: BLE001 - looked at in the end
            errors.append(error)

    user = threading.Thread(target=use)
    user.start()
    try:
        yield
    finally:
        end.set()
        user.join(90)
    assert errors == []


NOTICED_BY: dict[str, Callable[[PluginManager], contextlib.AbstractContextManager[object]]] = {
    "watch": lambda pm: pm.watch(),
    "get": lambda pm: used_now_and_then(pm, 1.0 if LONG else 0.2),
}


@pytest.fixture(autouse=True)
def notified(monkeypatch: pytest.MonkeyPatch) -> None:
    """No scan finds what notifications lose: what is noticed soon was notified."""
    monkeypatch.setattr("extframe.registry.notifications.RESCAN_INTERVAL", 300.0)


@pytest.fixture(params=["scripted", pytest.param("served", marks=pytest.mark.long)])
def plugin(request: pytest.FixtureRequest, short_path: Path) -> Iterator[PluginProcess]:
    process = PluginProcess(short_path, {"scripted": SCRIPTED, "served": SERVED}[request.param])
    with contextlib.closing(process):
        process.start()
        yield process


# --- restarts under load ------------------------------------------------------------------------------


@pytest.mark.parametrize("noticed_by", NOTICED_BY)
def test_restarts_under_load_are_noticed_once_and_seen_only_by_those_whose_call_may_have_been_carried_out(
    plugin: PluginProcess, noticed_by: str
) -> None:
    given: Counter[str] = Counter()
    event_log, noticed = EventLog(), list[float]()
    with nothing_left_over(), PluginManager(LocalRegistry(plugin.path.parent, []), groups=()) as pm:
        pm.register(event_log)
        for point in ("VolumeDriver", *(f"Point{number}" for number in range(1, RESTARTS + 2))):
            pm.handle(point, lambda name, client, point=point: given.update([point]))  # type: ignore[misc]
        known = pm.get("photos", wait=20)
        known.client.endpoint.retry = Retry(restart=60)  # a busy machine takes its time to start a process
        with NOTICED_BY[noticed_by](pm), Load(pm.driver("photos", VolumeDriver, wait=20)) as load:
            files = descriptors()
            for number in range(RESTARTS):
                time.sleep(random.uniform(0.05, 0.3))
                plugin.stop((signal.SIGKILL, signal.SIGTERM)[number % 2])
                time.sleep(random.choice([0.0, 0.05, 0.2]))
                plugin.start()
                began = time.monotonic()
                assert eventually(lambda: given[plugin.point], SOON), (plugin.number, event_log.events[-4:])
                noticed.append(time.monotonic() - began)
                assert known.implements(plugin.point)
            assert descriptors() <= files + 2 * CALLERS + 4
        assert eventually(lambda: event_log.events[-1:] == ["activated"], SOON)
        assert pm.get("photos") is known

    print(
        f"\n{RESTARTS} restarts noticed by {noticed_by}, {load.calls} calls in {load.seconds:.0f} s: "
        f"noticed after {sum(noticed) / len(noticed):.3f} s, at most {max(noticed):.3f} s; "
        f"the slowest call took {load.slowest:.2f} s; {len(load.errors)} of {len(load.created)} Creates lost; "
        f"{event_log.events.count('activated')} handshakes"
    )
    assert [str(error) for kind, error in load.errors if kind == "get"] == []
    assert {type(error) for _, error in load.errors} <= {ConnectionLost}
    executed = plugin.noted("create")
    assert len(executed) == len(set(executed)), "a Create was carried out twice"
    assert set(load.answered) <= set(executed) <= set(load.created)
    assert set(given.values()) == {1}, given
    assert event_log.events == ["activated", "lost"] * RESTARTS + ["activated"], "\n".join(event_log.details)
    if plugin._source is SCRIPTED:
        handshakes = Counter(plugin.noted("handshake"))
        assert len(handshakes) == RESTARTS + 1
        # Two with a process that came between the look at the file and the answer, which may be the old process's.
        assert set(handshakes.values()) <= {1, 2}


# --- plugins that move --------------------------------------------------------------------------------


def rename_over(spec: Path, text: str) -> None:
    fresh = spec.with_suffix(".new")
    fresh.write_text(text)
    fresh.rename(spec)


def rewrite(spec: Path, text: str) -> None:
    spec.write_text(text)


@pytest.mark.parametrize("noticed_by", NOTICED_BY)
@pytest.mark.parametrize("replace", [rename_over, rewrite])
def test_a_replaced_spec_file_counts_and_drivers_that_were_made_before_go_along(
    short_path: Path, fault_server: Callable[..., FaultServer], noticed_by: str, replace: Callable[[Path, str], None]
) -> None:
    def plugin(number: int) -> Behaviour:
        answers = {
            "/Plugin.Activate": ok({"Implements": ["VolumeDriver", f"Point{number}"]}),
            "/VolumeDriver.Path": ok({"Mountpoint": f"/mnt/{number}"}),
        }
        return answer_with(lambda request: answers[request.path])

    spec = short_path / "photos.spec"
    servers = [fault_server(plugin(number), kind) for number, kind in enumerate(("tcp", "unix", "tcp", "unix"))]
    spec.write_text(servers[0].address)
    with PluginManager(LocalRegistry(short_path, [short_path]), groups=()) as pm, NOTICED_BY[noticed_by](pm):
        driver = pm.driver("photos", VolumeDriver, wait=20)
        for number, server in enumerate(servers):
            replace(spec, server.address)
            assert eventually(lambda number=number: driver.path("a") == f"/mnt/{number}", SOON)  # type: ignore[misc]
            assert pm.get("photos", f"Point{number}").implements(VolumeDriver)


@pytest.mark.parametrize("noticed_by", NOTICED_BY)
def test_a_restart_that_moves_a_plugin_from_a_unix_socket_to_tcp_is_seen_by_no_caller(
    short_path: Path, noticed_by: str
) -> None:
    def plugin(request: Request) -> bytes:
        implements = ["VolumeDriver", "Moved"] if server is not None else ["VolumeDriver"]
        if request.path == "/Plugin.Activate":
            return ok({"Implements": implements})
        return ok({"Volume": {"Name": json.loads(request.body).get("Name")}})

    server = None
    process = PluginProcess(short_path, SCRIPTED)
    with contextlib.closing(process), nothing_left_over():
        process.start()
        with (
            PluginManager(LocalRegistry(short_path, [short_path]), groups=()) as pm,
            NOTICED_BY[noticed_by](pm),
            Load(pm.driver("photos", VolumeDriver, wait=20)) as load,
        ):
            process.stop(signal.SIGKILL)
            process.path.unlink()
            time.sleep(0.2)
            server = FaultServer(answer_with(plugin), "tcp")
            (short_path / "photos.spec").write_text(server.address)
            assert eventually(lambda: pm.get("photos", wait=5).implements("Moved"), SOON)
            assert eventually(lambda: len(server.requests) > 2 * CALLERS, SOON)
        server.close()
    assert [str(error) for kind, error in load.errors if kind == "get"] == []
    assert {type(error) for _, error in load.errors} <= {ConnectionLost}
