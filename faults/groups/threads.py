"""No deadlock: many threads run all operations at once, and handlers call the manager."""

from __future__ import annotations

import random
import threading
import time
from collections.abc import Callable

from fault import Fault
from faultserver import hang
from observe import observe, text_of
from outcome import Outcome
from scene import POINT, Scene, silent_but_for_handshakes

from extframe import Client, ExtframeError, PluginManager, hookimpl

TITLE = "No deadlock"
THREADS = 64
STALL = 10.0  # the longest time for one step, in seconds; the deadlines in it are far shorter


class Handler:
    """A handler that calls the manager."""

    def __init__(self, manager: PluginManager) -> None:
        self._manager = manager

    @hookimpl
    def volume_driver(self, name: str, client: Client) -> None:
        """Get the plugin that is being dispatched, and list the failures."""
        self._manager.get(name, timeout=1)
        self._manager.failures()


def get(manager: PluginManager) -> None:
    manager.get(f"good{random.randrange(8)}", POINT, timeout=1)


def get_all(manager: PluginManager) -> None:
    manager.get_all(POINT, timeout=0.2)


def call(manager: PluginManager) -> None:
    manager.get(f"good{random.randrange(8)}", POINT, timeout=1).client.call("VolumeDriver.List", timeout=1)


def use_a_bad_one(manager: PluginManager) -> None:
    manager.get(random.choice(("hung", "dead")), POINT, timeout=0.1)


def register(manager: PluginManager) -> None:
    handler = Handler(manager)
    manager.register(handler)
    time.sleep(0.01)
    manager.unregister(handler)


def handle(manager: PluginManager) -> None:
    name = manager.handle(POINT, lambda name, client: None)
    manager.unregister(name=name)


def watch(manager: PluginManager) -> None:
    with manager.watch(timeout=0.2):
        time.sleep(0.05)


STEPS: tuple[Callable[[PluginManager], None], ...] = (get, get_all, call, use_a_bad_one, register, handle, watch)


class Crowd:
    """Threads that run random steps until they are stopped."""

    def __init__(self, manager: PluginManager) -> None:
        self._manager = manager
        self._over = threading.Event()
        self._threads = [threading.Thread(target=self._run, daemon=True) for _ in range(THREADS)]
        self.taken: list[str] = []
        self.strange: set[str] = set()
        self.longest = 0.0

    def _run(self) -> None:
        while not self._over.is_set():
            step = random.choice(STEPS)
            started = time.monotonic()
            try:
                step(self._manager)
            except ExtframeError:
                pass
            except Exception as error:  # noqa: BLE001 - reported in the table
                self.strange.add(f"{step.__name__}: {text_of(error)}")
            self.longest = max(self.longest, time.monotonic() - started)
            self.taken.append(step.__name__)

    def __enter__(self) -> Crowd:
        for thread in self._threads:
            thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._over.set()
        end = time.monotonic() + STALL
        for thread in self._threads:
            thread.join(max(0.0, end - time.monotonic()))

    @property
    def text(self) -> str:
        """What went wrong, or that nothing did."""
        stalled = sum(thread.is_alive() for thread in self._threads)
        if stalled or self.longest > STALL:
            return f"{stalled} threads stalled, a step took {self.longest:.1f} s"
        return "; ".join(sorted(self.strange)) or "no thread stalls, only extframe errors"


def everything_at_once(scene: Scene) -> Outcome:
    for number in range(8):
        scene.plugin(f"good{number}")
    scene.plugin("hung", hang)
    scene.dead("dead")
    manager = scene.manager()
    started = time.monotonic()
    with Crowd(manager) as crowd:
        time.sleep(scene.several(60, short=2))
        closing = time.monotonic()
        manager.close()
        closed = time.monotonic() - closing
    text = f"{crowd.text}; close returns " + ("within 1 s" if closed < scene.patience(1) else f"after {closed:.1f} s")
    detail = f"{len(crowd.taken):,} steps, the longest {crowd.longest:.2f} s; close took {closed * 1000:.0f} ms"
    return Outcome(text, time.monotonic() - started, detail)


# --- handlers -----------------------------------------------------------------------------------------


def handler_calls_back(scene: Scene) -> Outcome:
    scene.plugin("other")
    scene.plugin()
    manager = scene.manager()
    results: list[str] = []

    def handler(name: str, client: Client) -> None:
        found = manager.get_all(POINT)
        results.append(f"{manager.get(name).state.value}, {len(found)} plugins")

    manager.handle(POINT, handler)
    return observe(lambda: manager.get("p", POINT, timeout=5), lambda _: results[0])


def handler_calls_back_in_moby(scene: Scene) -> Outcome:
    scene.plugin()
    moby = scene.moby()
    moby.step(str, do="handle")
    return moby.get()


def handler_blocks(scene: Scene) -> Outcome:
    """Use one plugin while the handler of another never returns."""
    scene.plugin("other")
    scene.plugin("slow")
    manager = scene.manager()
    released = threading.Event()
    manager.handle(POINT, lambda name, client: released.wait() if name == "slow" else None)
    try:
        slow = observe(lambda: manager.get("slow", POINT, timeout=scene.patience(0.5)))
        other = observe(lambda: manager.get("other", POINT), lambda plugin: plugin.state.value)
    finally:
        released.set()
    return Outcome(f"{slow.text}; the other one is {other.text}", slow.seconds + other.seconds)


def close_during_calls(scene: Scene) -> Outcome:
    """Close a manager while threads wait for a hung handshake and for a hung call."""
    scene.plugin("hung", hang)
    scene.plugin(behaviour=silent_but_for_handshakes)
    manager = scene.manager()
    client = manager.get("p", POINT).client
    waiting = [
        *(threading.Thread(target=lambda: observe(lambda: manager.get("hung", timeout=1))) for _ in range(8)),
        *(
            threading.Thread(target=lambda: observe(lambda: client.call("VolumeDriver.List", timeout=1)))
            for _ in range(8)
        ),
    ]
    for thread in waiting:
        thread.start()
    time.sleep(0.2)
    outcome = observe(manager.close, lambda _: "closed")
    for thread in waiting:
        thread.join()
    return outcome


FAULTS = (
    Fault(
        f"{THREADS} threads get, get_all, call, register, unregister, handle and watch for 60 s",
        "no thread stalls, only extframe errors; close returns within 1 s",
        everything_at_once,
    ),
    Fault(
        "a handler gets its own plugin, and all plugins, from the manager",
        "active, 2 plugins",
        handler_calls_back,
        handler_calls_back_in_moby,
        within=0.1,
    ),
    Fault(
        "a handler never returns: get(timeout=0.5), and get of another plugin",
        "CallTimeout; the other one is active",
        handler_blocks,
        after=0.5,
        within=0.7,
    ),
    Fault("8 threads wait for a handshake and 8 for a call: close", "closed", close_during_calls, within=0.1),
)
