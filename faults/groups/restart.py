"""Restarts and changes: a plugin that was replaced is noticed at its next use."""

from __future__ import annotations

import os
import time
from collections.abc import Callable, Mapping
from functools import partial

from fault import Fault
from faultserver import Behaviour, FaultServer
from observe import observe
from outcome import Outcome
from scene import GOOD, POINT, Scene
from scripted_plugin import ok, scripted

from extframe import ExtframeError, VolumeDriver, hookimpl

TITLE = "Restarts and changes"


def activations(*servers: FaultServer) -> int:
    """Return the number of handshakes that servers received."""
    return sum(request.path == "/Plugin.Activate" for server in servers for request in server.requests)


def implementing(*points: str) -> Behaviour:
    """Return the behaviour of a volume plugin with additional extension points."""
    return scripted({"Plugin.Activate": ok({"Implements": [POINT, *points]})})


ADDED = "Backup"
NEXT = implementing(ADDED)


def time_until(condition: Callable[[], bool], limit: float = 10.0) -> float:
    """Return the seconds until ``condition`` is true, at most ``limit``. An extframe error counts as false."""
    started = time.monotonic()
    while time.monotonic() - started < limit:
        try:
            if condition():
                return time.monotonic() - started
        except ExtframeError:
            pass
        time.sleep(0.01)
    return limit


# --- one change ---------------------------------------------------------------------------------------


def restarted(scene: Scene, before: FaultServer) -> FaultServer:
    before.close()
    return scene.plugin(behaviour=NEXT)


def replaced(scene: Scene, _: FaultServer) -> FaultServer:
    """Move a new socket over the old one, whose process runs on."""
    after = scene.server(NEXT)
    os.rename(after.path, scene.directory / "p.sock")
    return after


def rewritten(scene: Scene, before: FaultServer) -> FaultServer:
    """Write another address to the spec file."""
    after = scene.server(NEXT, kind="tcp")
    scene.spec("p.spec", after.address)
    return after


Change = Callable[[Scene, FaultServer], FaultServer]


def use_again(change: Change, scene: Scene) -> Outcome:
    """Use a plugin, change it, and use it again."""
    manager = scene.manager()
    before = first(change, scene)
    driver = manager.driver("p", VolumeDriver)
    now = change(scene, before)
    outcome = observe(lambda: manager.get("p", POINT), lambda plugin: manifest_text(plugin.implements(ADDED)))
    driver.list()
    arrived = any(request.path == "/VolumeDriver.List" for request in now.requests)
    called = "the existing driver calls it" if arrived else "the existing driver calls the old one"
    return Outcome(f"{activations(now)} handshake, {outcome.text}; {called}", outcome.seconds)


def use_again_with_moby(change: Change, scene: Scene) -> Outcome:
    before = first(change, scene)
    moby = scene.moby()
    moby.get()
    now = change(scene, before)
    outcome = moby.get()
    called = moby.call("VolumeDriver.List", {}, name="p")
    arrived = any(request.path == "/VolumeDriver.List" for request in now.requests)
    where = "the new one" if arrived else "the old one" if called.text == "a reply" else called.text
    return Outcome(
        f"{outcome.text}, {activations(now)} handshakes; a call goes to {where}", outcome.seconds + called.seconds
    )


def first(change: Change, scene: Scene) -> FaultServer:
    """Start the plugin before the change."""
    if change is not rewritten:
        return scene.plugin()
    server = scene.server(GOOD, kind="tcp")
    scene.spec("p.spec", server.address)
    return server


def manifest_text(changed: bool) -> str:
    return "the new manifest" if changed else "the old manifest"


def handlers_of_new_entries(scene: Scene) -> Outcome:
    before = scene.plugin()
    manager = scene.manager()
    called: list[str] = []
    for point in (POINT, ADDED):
        manager.handle(point, lambda name, client, point=point: called.append(point))
    manager.get("p")
    restarted(scene, before)
    return observe(lambda: manager.get("p"), lambda _: f"called: {', '.join(called)}")


class EventLog:
    """A handler that records lifecycle events."""

    def __init__(self) -> None:
        self.events: list[str] = []

    @hookimpl
    def plugin_activated(self, name: str) -> None:
        """Record the event."""
        self.events.append(f"{name} activated")

    @hookimpl
    def plugin_lost(self, name: str) -> None:
        """Record the event."""
        self.events.append(f"{name} lost")

    @hookimpl
    def plugin_removed(self, name: str) -> None:
        """Record the event."""
        self.events.append(f"{name} removed")


EVENTS = ("p activated", "p lost", "p activated", "p lost", "p removed")


def hooks_are_called(scene: Scene) -> Outcome:
    """Restart a plugin, then delete its file."""
    before, manager, log = scene.plugin(), scene.manager(), EventLog()
    manager.register(log)
    manager.get("p")
    restarted(scene, before)
    manager.get("p")
    (scene.directory / "p.sock").unlink()
    observe(lambda: manager.get("p"))
    seconds = time_until(lambda: len(log.events) >= len(EVENTS), limit=10)
    return Outcome(", ".join(log.events), seconds)


USED_AGAIN = "1 handshake, the new manifest; the existing driver calls it"
CHANGES: Mapping[str, Change] = {
    "a plugin was restarted": restarted,
    "a plugin's socket was replaced while the old process runs on": replaced,
    "a plugin's spec file names another address": rewritten,
}
FAULTS = (
    *(
        Fault(f"{fault}: get", USED_AGAIN, partial(use_again, change), partial(use_again_with_moby, change), within=0.1)
        for fault, change in CHANGES.items()
    ),
    Fault(
        "a restarted plugin implements one more extension point: its handlers",
        f"called: {POINT}, {ADDED}",
        handlers_of_new_entries,
        within=0.1,
    ),
    Fault(
        "a plugin is restarted, then its file is deleted: the lifecycle hooks",
        ", ".join(EVENTS),
        hooks_are_called,
        within=1.0,
    ),
)
