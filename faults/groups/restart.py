"""Restart and change: a plugin that is another one now is noticed at its next use."""

from __future__ import annotations

import os
import time
from collections.abc import Callable, Mapping
from functools import partial

from fault import Fault, Seen
from faultserver import Behaviour, FaultServer
from scene import GOOD, POINT, Scene
from scripted_plugin import ok, scripted
from watched import watched

from extframe import ExtframeError, VolumeDriver, hookimpl

TITLE = "Restart and change"


def activations(*servers: FaultServer) -> int:
    """Count the handshakes that servers were asked for."""
    return sum(request.path == "/Plugin.Activate" for server in servers for request in server.requests)


def implementing(*points: str) -> Behaviour:
    """Return the behaviour of a volume plugin with these extension points more."""
    return scripted({"Plugin.Activate": ok({"Implements": [POINT, *points]})})


ADDED = "Backup"
NEXT = implementing(ADDED)


def time_until(condition: Callable[[], bool], limit: float = 10.0) -> float:
    """Return the seconds until ``condition`` is true, ``limit`` where it never is. An error of ours is false."""
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
    """The plugin that was there lives on; its socket has gone under a new one."""
    after = scene.server(NEXT)
    os.rename(after.path, scene.directory / "p.sock")
    return after


def rewritten(scene: Scene, before: FaultServer) -> FaultServer:
    """The spec file names another address."""
    after = scene.server(NEXT, kind="tcp")
    scene.spec("p.spec", after.address)
    return after


Change = Callable[[Scene, FaultServer], FaultServer]


def use_again(change: Change, scene: Scene) -> Seen:
    """Use a plugin, change it, and use it again."""
    manager = scene.manager()
    before = first(change, scene)
    driver = manager.driver("p", VolumeDriver)
    now = change(scene, before)
    seen = watched(lambda: manager.get("p", POINT), lambda plugin: manifest_words(plugin.implements(ADDED)))
    driver.list()
    arrived = any(request.path == "/VolumeDriver.List" for request in now.requests)
    called = "the driver that was there calls it" if arrived else "the driver that was there calls the old one"
    return Seen(f"{activations(now)} handshake, {seen.words}; {called}", seen.seconds)


def use_again_with_moby(change: Change, scene: Scene) -> Seen:
    before = first(change, scene)
    moby = scene.moby()
    moby.get()
    now = change(scene, before)
    seen = moby.get()
    called = moby.call("VolumeDriver.List", {}, name="p")
    arrived = any(request.path == "/VolumeDriver.List" for request in now.requests)
    where = "the new one" if arrived else "the old one" if called.words == "an answer" else called.words
    return Seen(f"{seen.words}, {activations(now)} handshakes; a call goes to {where}", seen.seconds + called.seconds)


def first(change: Change, scene: Scene) -> FaultServer:
    """Start the plugin that is to be changed."""
    if change is not rewritten:
        return scene.plugin()
    server = scene.server(GOOD, kind="tcp")
    scene.spec("p.spec", server.address)
    return server


def manifest_words(changed: bool) -> str:
    return "the new manifest" if changed else "the old manifest"


def handler_of_what_is_new(scene: Scene) -> Seen:
    before = scene.plugin()
    manager = scene.manager()
    called: list[str] = []
    for point in (POINT, ADDED):
        manager.handle(point, lambda name, client, point=point: called.append(point))
    manager.get("p")
    restarted(scene, before)
    return watched(lambda: manager.get("p"), lambda _: f"called: {', '.join(called)}")


class Diary:
    """A handler that writes down what becomes of plugins."""

    def __init__(self) -> None:
        self.told: list[str] = []

    @hookimpl
    def plugin_activated(self, name: str) -> None:
        """Write it down."""
        self.told.append(f"{name} activated")

    @hookimpl
    def plugin_lost(self, name: str) -> None:
        """Write it down."""
        self.told.append(f"{name} lost")

    @hookimpl
    def plugin_removed(self, name: str) -> None:
        """Write it down."""
        self.told.append(f"{name} removed")


TOLD = ("p activated", "p lost", "p activated", "p lost", "p removed")


def hooks_are_told(scene: Scene) -> Seen:
    """A plugin is restarted, and then its file goes."""
    before, manager, diary = scene.plugin(), scene.manager(), Diary()
    manager.register(diary)
    manager.get("p")
    restarted(scene, before)
    manager.get("p")
    (scene.directory / "p.sock").unlink()
    watched(lambda: manager.get("p"))
    seconds = time_until(lambda: len(diary.told) >= len(TOLD), limit=10)
    return Seen(", ".join(diary.told), seconds)


USED_AGAIN = "1 handshake, the new manifest; the driver that was there calls it"
CHANGES: Mapping[str, Change] = {
    "a plugin was restarted": restarted,
    "a plugin's socket was replaced, and the old one lives on": replaced,
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
        handler_of_what_is_new,
        within=0.1,
    ),
    Fault("a plugin is restarted, and then its file goes: the hooks", ", ".join(TOLD), hooks_are_told, within=1.0),
)
