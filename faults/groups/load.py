"""Restarts under load: callers hardly notice them, and no resources leak."""

from __future__ import annotations

import gc
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager

from fault import Fault
from faultserver import FaultServer, reply
from observe import observe, text_of
from outcome import Outcome
from resources import resources
from scene import CREATE, PHOTOS, POINT, VOLUME, Scene
from scripted_plugin import scripted

from extframe import PluginManager, VolumeDriver
from groups.restart import activations, implementing, time_until

TITLE = "Restarts under load"
RATE = 50  # calls per second
UP = 0.1  # the time between two restarts, in seconds
WITH_PHOTOS = scripted({"VolumeDriver.Get": reply(VOLUME)})


# --- many restarts -------------------------------------------------------------------------------------


class Load:
    """Calls one plugin at `RATE`, each call after a ``get``."""

    def __init__(self, manager: PluginManager) -> None:
        self._manager = manager
        self._over = threading.Event()
        self._thread = threading.Thread(target=self._run, daemon=True)
        self.calls = 0
        self.failed: list[str] = []

    def _run(self) -> None:
        while not self._over.wait(1 / RATE):
            self.calls += 1
            try:
                self._manager.get("p", POINT, wait=5).client.call("VolumeDriver.List", timeout=5, idempotent=True)
            except Exception as error:  # noqa: BLE001 - counted
                self.failed.append(text_of(error))

    def __enter__(self) -> Load:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._over.set()
        self._thread.join()


def restarts(scene: Scene) -> Outcome:
    """Restart a plugin many times during calls, each time with another manifest."""
    number = scene.several(100, short=5)
    server = scene.plugin(behaviour=implementing("Generation0"))
    manager = scene.manager()
    manager.get("p", POINT)
    settled, servers, noticed = resources(), [server], []

    def restart(point: str) -> float:
        servers[-1].close()
        servers.append(scene.plugin(behaviour=implementing(point)))
        return time_until(lambda: manager.get("p").implements(point))

    started = time.monotonic()
    with Load(manager) as load:
        for generation in range(1, number):
            noticed.append(restart(f"Generation{generation}"))
            time.sleep(UP)
    noticed.append(restart("Last"))  # without calls it has one connection, however many the plugins before it had
    seconds = time.monotonic() - started
    handshakes = {activations(server) for server in servers}
    text = (
        f"{'one' if handshakes == {1} else sorted(handshakes)} handshake each; "
        f"the new manifest is used within {'1' if max(noticed) < scene.patience(1) else f'{max(noticed):.1f}'} s; "
        f"{', '.join(sorted(set(load.failed))) or 'no call failed'}; {leaks(settled)}"
    )
    detail = f"{number} restarts, {load.calls} calls, noticed within {max(noticed) * 1000:.0f} ms"
    return Outcome(text, seconds, detail)


def leaks(settled: tuple[int, int]) -> str:
    """Return how many descriptors and threads were added, as text."""
    gc.collect()

    def more() -> list[int]:
        return [now - before for now, before in zip(resources(), settled, strict=True)]

    if time_until(lambda: max(more()) <= 0, limit=20) < 20:
        return "no file descriptor or thread leaked"
    return "{} file descriptors and {} threads leaked".format(*more())


# --- one second of downtime during calls ---------------------------------------------------------------

DOWN = 1.0  # seconds


def calls_during_downtime(scene: Scene) -> Outcome:
    """Call an idempotent method from five threads while the plugin is down for a second."""
    server = scene.plugin(behaviour=WITH_PHOTOS)
    driver = scene.manager().driver("p", VolumeDriver)
    over, failed, calls = threading.Event(), [], []

    def load() -> None:
        while not over.wait(0.1):
            calls.append(1)
            try:
                driver.get("photos")
            except Exception as error:  # noqa: BLE001 - counted
                failed.append(text_of(error))

    threads = [threading.Thread(target=load) for _ in range(5)]
    for thread in threads:
        thread.start()
    time.sleep(0.5)
    server.close()
    time.sleep(DOWN)
    scene.plugin(behaviour=WITH_PHOTOS)
    time.sleep(0.5)
    over.set()
    for thread in threads:
        thread.join()
    kinds = ", ".join(sorted(set(failed)))
    return Outcome(f"{len(failed)} failed {kinds}".strip(), DOWN, f"{len(calls)} calls")


def call_while_down(scene: Scene) -> Outcome:
    server = scene.plugin(behaviour=WITH_PHOTOS)
    client = scene.manager().get("p", POINT).client

    def call() -> None:
        with down(scene, server):
            client.call(CREATE, PHOTOS, timeout=10)

    return observe(call, lambda _: "a reply")


def call_while_down_with_moby(scene: Scene) -> Outcome:
    server = scene.plugin(behaviour=WITH_PHOTOS)
    moby = scene.moby()
    moby.get()
    with down(scene, server):
        return moby.call(CREATE, PHOTOS, name="p")


@contextmanager
def down(scene: Scene, server: FaultServer) -> Iterator[None]:
    """Stop a plugin and start it again after `DOWN` seconds."""
    server.close()
    again = threading.Timer(DOWN, lambda: scene.plugin(behaviour=WITH_PHOTOS))
    again.start()
    yield
    again.join()


FAULTS = (
    Fault(
        "100 restarts, each with another manifest, under 50 calls per second",
        "one handshake each; the new manifest is used within 1 s; no call failed; no file descriptor or thread leaked",
        restarts,
    ),
    Fault(
        "a plugin is down for 1 s: calls of VolumeDriver.Get from five threads meanwhile",
        "0 failed",
        calls_during_downtime,
    ),
    Fault(
        "a plugin is down for 1 s: call of VolumeDriver.Create meanwhile",
        "a reply",
        call_while_down,
        call_while_down_with_moby,
        after=DOWN - 0.05,
        within=DOWN + 0.2,
    ),
)
