"""64 threads that do everything at once, with plugins that fail and handlers that call back, and no stall.

EXTFRAME_STRESS=60 goes on for a minute; with -s the figures are printed.
"""

from __future__ import annotations

import contextlib
import faulthandler
import os
import random
import signal
import socket
import sys
import threading
import time
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from faultserver import FaultServer, drip, hang, send_and_close
from leftovers import nothing_left_over
from program import Program

from extframe import ExtframeError, LocalRegistry, Plugin, PluginManager, VolumeDriver, hookimpl
from extframe.testing import FakePlugin

SECONDS = float(os.environ.get("EXTFRAME_STRESS", "2"))
THREADS = 64
SLACK = 30.0  # seconds beyond a deadline: 64 threads share a core or two, with other tests
GOOD = [f"good{number}" for number in range(6)]
RESTARTED = [f"restarted{number}" for number in range(3)]
BAD = [*(f"hung{number}" for number in range(3)), "drips", "garbage", "dead", "comes-and-goes", "stuck", "missing"]
ALL = [*GOOD, *RESTARTED, *BAD]


# --- plugins ------------------------------------------------------------------------------------------


class World:
    """Plugins in a directory, some of which are restarted, change, come and go until it is closed."""

    def __init__(self, directory: Path) -> None:
        self._end = threading.Event()
        self._fakes = {
            name: FakePlugin(directory, name, ["VolumeDriver"])
            for name in (*GOOD, *RESTARTED, "comes-and-goes", "stuck")
        }
        for fake in self._fakes.values():
            fake.answer("VolumeDriver.Get", {"Volume": {"Name": "a"}})
        faults = {"hung0": hang, "hung1": hang, "hung2": hang, "drips": drip(), "garbage": send_and_close(b"\0" * 99)}
        self._servers = [FaultServer(fault, path=str(directory / f"{name}.sock")) for name, fault in faults.items()]
        with socket.socket(socket.AF_UNIX) as dead:
            dead.bind(str(directory / "dead.sock"))
        self.restarts = 0
        self._thread = threading.Thread(target=self._change, name="world")
        self._thread.start()

    def _change(self) -> None:
        while not self._end.wait(0.02):
            self.restarts += 1
            fake = self._fakes[RESTARTED[self.restarts % len(RESTARTED)]]
            fake.refuse()
            points = ["VolumeDriver", "Backup"] if self.restarts % 2 else ["VolumeDriver"]
            fake.answer("Plugin.Activate", {"Implements": points})
            fake.accept()
            guest = self._fakes["comes-and-goes"]
            guest.refuse() if self.restarts % 2 else guest.accept()
            if self.restarts % 4 == 1:
                guest.path.unlink()

    def close(self) -> None:
        self._end.set()
        self._thread.join(10)
        for each in (*self._fakes.values(), *self._servers):
            each.close()


# --- handlers -----------------------------------------------------------------------------------------


class CallsBack:
    """A handler of extension points and of lifecycle hooks that calls the manager from within each."""

    def __init__(self, pm: PluginManager, release: threading.Event) -> None:
        self._pm = pm
        self._release = release
        self.calls: Counter[str] = Counter()
        self.given: Counter[str] = Counter()  # plugins as volume drivers

    @hookimpl
    def volume_driver(self, name: str, client: Any) -> object:
        self.given[name] += 1
        if name == "stuck":
            self._release.wait(SECONDS + 180)
        return self._call_back("volume_driver")

    @hookimpl(optionalhook=True)
    def backup(self, name: str, client: Any) -> object:
        return self._call_back("backup")

    @hookimpl
    def plugin_activated(self, name: str, plugin: Plugin) -> None:
        self._call_back("plugin_activated")

    @hookimpl
    def plugin_lost(self, name: str, plugin: Plugin) -> None:
        self._call_back("plugin_lost")

    def _call_back(self, hook: str) -> None:
        self.calls[hook] += 1
        operation = random.choice([get, get_all, use_driver, handle, register, scan])
        with contextlib.suppress(ExtframeError):
            operation(self._pm)


class SlowHandler:
    """A handler that takes its time."""

    @hookimpl
    def volume_driver(self, name: str, client: Any) -> object:
        time.sleep(0.05)
        return object()


# --- what threads do ----------------------------------------------------------------------------------


def get(pm: PluginManager) -> None:
    pm.get(random.choice(ALL), timeout=0.3)


def get_and_wait(pm: PluginManager) -> None:
    pm.get(random.choice(ALL), VolumeDriver, wait=0.2, timeout=0.3)


def get_all(pm: PluginManager) -> None:
    pm.get_all(random.choice(["VolumeDriver", "Backup"]), timeout=0.2)


def use_driver(pm: PluginManager) -> None:
    driver = pm.driver(random.choice(GOOD), VolumeDriver, timeout=0.3)
    assert driver.get("a").name == "a"


def call(pm: PluginManager) -> None:
    plugin = pm.get(random.choice(RESTARTED), timeout=0.3)
    plugin.client.call("VolumeDriver.Get", {"Name": "a"}, timeout=0.3, idempotent=True)


def register(pm: PluginManager) -> None:
    handler = SlowHandler()
    pm.register(handler)
    time.sleep(random.uniform(0, 0.02))
    pm.unregister(handler)


def handle(pm: PluginManager) -> None:
    name = pm.handle(random.choice(["VolumeDriver", "Backup", "Other"]), lambda name, client: object())
    pm.unregister(name=name)


def watch(pm: PluginManager) -> None:
    with pm.watch(timeout=0.3):
        time.sleep(random.uniform(0, 0.2))


def scan(pm: PluginManager) -> None:
    pm.scan()
    pm.failures()
    pm.list_name_plugin()


OPERATIONS = (get, get_and_wait, get_all, use_driver, call, register, handle, watch, scan)
LIMIT = 0.5  # seconds: the longest deadline among them, and more


class Workers:
    """Threads that do one thing after the other, and a watchdog that reports one that takes too long."""

    def __init__(self, pm: PluginManager) -> None:
        self.pm = pm
        self.done: Counter[str] = Counter()
        self.by_thread: Counter[int] = Counter()
        self.slowest: dict[str, float] = {}
        self.errors: list[BaseException] = []
        self.stalled = ""
        self._under_way: dict[int, tuple[str, float]] = {}
        self._end = threading.Event()
        self._threads = [threading.Thread(target=self._work, args=(number,), daemon=True) for number in range(THREADS)]
        self._watchdog = threading.Thread(target=self._look)

    def start(self) -> None:
        for thread in (*self._threads, self._watchdog):
            thread.start()

    def end(self) -> None:
        self._end.set()
        for thread in (*self._threads, self._watchdog):
            thread.join(LIMIT + SLACK)
        assert not any(thread.is_alive() for thread in self._threads), self._under_way

    def have_done_all(self) -> bool:
        """Whether each thread has done something, and each thing was done."""
        return len(self.by_thread) == THREADS and len(self.done) == len(OPERATIONS)

    def _work(self, number: int) -> None:
        while not self._end.is_set():
            operation = random.choice(OPERATIONS)
            began = time.monotonic()
            self._under_way[number] = operation.__name__, began
            try:
                operation(self.pm)
            except ExtframeError:
                pass
            except BaseException as error:  # noqa: BLE001 - looked at in the end
                self.errors.append(error)
            took = time.monotonic() - began
            self.slowest[operation.__name__] = max(took, self.slowest.get(operation.__name__, 0.0))
            self.done[operation.__name__] += 1
            self.by_thread[number] += 1
        self._under_way.pop(number, None)

    def _look(self) -> None:
        while not self._end.wait(0.2) and not self.stalled:
            for number, (name, began) in list(self._under_way.items()):
                if time.monotonic() - began > LIMIT + SLACK:
                    self.stalled = f"{name} in thread {number} began {time.monotonic() - began:.1f} s ago"
                    faulthandler.dump_traceback(sys.__stderr__)


def test_64_threads_get_call_register_and_watch_without_a_stall_and_closing_ends_in_time(short_path: Path) -> None:
    release = threading.Event()
    with nothing_left_over(), contextlib.ExitStack() as stack:
        stack.callback(release.set)
        world = stack.enter_context(contextlib.closing(World(short_path)))
        pm = PluginManager(LocalRegistry(short_path, []), groups=())
        handler = CallsBack(pm, release)
        pm.register(handler)
        with contextlib.suppress(ExtframeError):
            pm.get("stuck", timeout=0.3)
        workers = Workers(pm)
        workers.start()
        stack.callback(workers.end)

        def everything_was_done() -> bool:
            return workers.have_done_all() and len(handler.calls) == 4

        end = time.monotonic() + SECONDS
        while not workers.stalled and (time.monotonic() < end or not everything_was_done()):
            assert time.monotonic() < end + 90, (workers.by_thread, workers.done, handler.calls)
            time.sleep(0.1)
        assert not workers.stalled
        began = time.monotonic()
        pm.close(timeout=2)
        closed_after = time.monotonic() - began
        assert closed_after < 2 + SLACK
        workers.end()
        assert not workers.stalled
    print(
        f"\n{sum(workers.done.values())} operations in {SECONDS:g} s, {world.restarts} restarts: {dict(workers.done)}; "
        f"the slowest: { {name: round(took, 2) for name, took in workers.slowest.items()} }; "
        f"closed after {closed_after:.2f} s; called back: {dict(handler.calls)}"
    )
    assert workers.errors == []
    assert set(workers.done) == {operation.__name__ for operation in OPERATIONS}
    assert set(handler.given.values()) == {1}, "a handler was given a plugin twice"
    assert set(handler.calls) == {"volume_driver", "backup", "plugin_activated", "plugin_lost"}


# --- processes that fork, and that are interrupted ----------------------------------------------------

FORKING = """
    import faulthandler, os, random, sys, threading, time, traceback
    from extframe import LocalRegistry, PluginManager, VolumeDriver

    def use(pm):
        pm.get("photos", timeout=30)
        assert [plugin.name for plugin in pm.get_all("VolumeDriver", timeout=0.2)] == ["photos"]
        assert pm.driver("photos", VolumeDriver, timeout=30).get("a").name == "a"
        with pm.watch():
            time.sleep(0.01)

    def work(pm):
        while not end.is_set():
            use(pm)

    def live_alone():
        faulthandler.dump_traceback_later(60, exit=True)
        try:
            with PluginManager(LocalRegistry(sys.argv[1], [])) as mine:
                use(mine)
            os._exit(0)
        except BaseException:
            traceback.print_exc()
            sys.stderr.flush()
        finally:
            os._exit(1)

    end = threading.Event()
    with PluginManager(LocalRegistry(sys.argv[1], [])) as pm:
        use(pm)
        threads = [threading.Thread(target=work, args=(pm,)) for _ in range(16)]
        for thread in threads:
            thread.start()
        for _ in range(int(sys.argv[2])):
            time.sleep(random.uniform(0, 0.05))
            child = os.fork()
            if not child:
                live_alone()
            _, status = os.waitpid(child, 0)
            assert status == 0, status
        use(pm)
        end.set()
        for thread in threads:
            thread.join()
    print("all is well")
"""

INTERRUPTED = """
    import faulthandler, gc, os, signal, sys, threading, time
    from extframe import LocalRegistry, PluginManager, VolumeDriver, hookimpl
    from faultserver import eventually
    from leftovers import nothing_left_over

    interrupts, inside = 0, False

    def interrupt(*_):
        global interrupts, inside
        if inside:
            interrupts, inside = interrupts + 1, False
            raise KeyboardInterrupt

    def interrupted(work):
        global inside
        try:
            inside = True
            work()
            inside = False
        except KeyboardInterrupt:
            pass

    class Handler:
        @hookimpl
        def volume_driver(self, name, client):
            return object()

    def use():
        pm.get("photos", timeout=30)
        pm.get_all("VolumeDriver", timeout=0.05)
        pm.driver("photos", VolumeDriver, timeout=30).get("a")
        watch = pm.watch()
        watch.close()
        handler = Handler()
        pm.register(handler)
        pm.unregister(handler)

    def live():
        global other
        with PluginManager(LocalRegistry(sys.argv[1], []), groups=()) as other:
            other.get("photos", timeout=30)
            other.watch()

    registry = LocalRegistry(sys.argv[1], [])
    with PluginManager(registry, groups=()) as warm, warm.watch():
        warm.driver("photos", VolumeDriver).get("a")
        warm.get_all("VolumeDriver", timeout=0.05)
    other = warm
    assert eventually(lambda: threading.active_count() == 1, 30)
    signal.signal(signal.SIGINT, interrupt)
    # Two descriptors are lost where Ctrl-C comes as the system hands them to Python: one of some hundred times.
    with nothing_left_over(30, lost=int(sys.argv[3])):
        pm = PluginManager(registry, groups=())
        print("ready", flush=True)
        while not os.path.exists(sys.argv[2]):
            faulthandler.dump_traceback_later(60, exit=True)
            interrupted(use)
            interrupted(live)
            other.close()  # Ctrl-C may have come before the end of the block could do it
        assert pm.get("photos", timeout=30).state.value == "active"
        assert [plugin.name for plugin in pm.get_all("VolumeDriver", timeout=0.5)] == ["photos"]
        assert pm.driver("photos", VolumeDriver, timeout=30).get("a").name == "a"
        with pm.watch():
            pass
        began = time.monotonic()
        pm.close()
        assert time.monotonic() - began < 20
        del pm
        gc.collect()
    print(f"all is well after {interrupts} interrupts")
"""


@pytest.fixture
def photos(short_path: Path) -> Iterator[Path]:
    directory = short_path / "plugins"
    directory.mkdir()
    with (
        FakePlugin(directory, "photos", ["VolumeDriver"]) as fake,
        FaultServer(hang, path=str(directory / "hung.sock")),
    ):
        fake.answer("VolumeDriver.Get", {"Volume": {"Name": "a"}})
        yield directory


def test_a_child_that_is_forked_in_the_middle_uses_a_manager_of_its_own(photos: Path) -> None:
    with Program(FORKING, photos, 10 if SECONDS < 30 else 100, measured=False) as program:
        code, said = program.end(SECONDS + 120)
    assert code == 0, said
    assert "all is well" in said


def test_ctrl_c_in_the_middle_of_anything_leaves_nothing_undone_and_nothing_behind(photos: Path) -> None:
    enough = photos.parent / "enough"
    with Program(INTERRUPTED, photos, enough, int(4 * SECONDS), measured=False) as program:
        assert program.process.stdout is not None
        assert "ready" in program.process.stdout.readline()
        end = time.monotonic() + SECONDS
        while time.monotonic() < end and program.process.poll() is None:
            time.sleep(random.uniform(0, 0.03))
            program.process.send_signal(signal.SIGINT)
        enough.touch()
        code, said = program.end(120)
    assert code == 0, said
    print(f"\n{said}")
