"""Isolation: one plugin's trouble is not the others'."""

from __future__ import annotations

import threading
from collections.abc import Callable
from functools import partial

from fault import Fault, Seen
from faultserver import hang, send_and_close
from scene import GET, GOOD, PHOTOS, POINT, Scene
from watched import answer_of, failures_of, watched

from extframe import Plugin, PluginManager

TITLE = "Isolation"
TIMEOUT = 0.2  # seconds
GARBAGE = send_and_close(b"\x16\x03\x01\x02\x00 this is no HTTP\r\n\r\n")


def good(scene: Scene) -> None:
    for number in range(20):
        scene.plugin(f"good{number:02}")


def three_bad(scene: Scene) -> None:
    scene.dead("dead")
    scene.plugin("garbage", GARBAGE)
    scene.plugin("hung", hang)


def two_hundred_hung(scene: Scene) -> None:
    for number in range(200):
        scene.plugin(f"hung{number:03}", accepting=False)  # the kernel accepts, and nobody ever answers


def one_dead(scene: Scene) -> None:
    scene.dead("dead")


Crowd = Callable[[Scene], None]


def counted(manager: PluginManager) -> Callable[[list[Plugin]], str]:
    return lambda found: f"plugins: {len(found)}, failures: {len(manager.failures())}"


def get_all(bad: Crowd, scene: Scene) -> Seen:
    good(scene)
    bad(scene)
    manager = scene.manager()
    return watched(lambda: manager.get_all(POINT, timeout=scene.patience(TIMEOUT)), counted(manager))


def get_all_named(bad: Crowd, scene: Scene) -> Seen:
    good(scene)
    bad(scene)
    manager = scene.manager()
    return watched(
        lambda: manager.get_all(POINT, timeout=scene.patience(TIMEOUT)),
        lambda found: f"{len(found)} plugins; {failures_of(manager)}",
    )


def get_all_later(bad: Crowd, scene: Scene) -> Seen:
    """All that are bad are made good, between two calls of get_all."""
    good(scene)
    bad(scene)
    manager = scene.manager()
    manager.get_all(POINT, timeout=TIMEOUT)
    for socket in list(scene.directory.iterdir()):
        if not socket.stem.startswith("good"):
            scene.plugin(socket.stem)
    return watched(lambda: manager.get_all(POINT, timeout=10), counted(manager))


def get_all_of_moby(bad: Crowd, scene: Scene) -> Seen:
    good(scene)
    bad(scene)
    return scene.moby().get_all()


def call_beside_a_handshake(scene: Scene) -> Seen:
    scene.plugin("hung", hang)
    scene.plugin("good")
    manager = scene.manager()
    other = threading.Thread(target=lambda: watched(lambda: manager.get("hung", timeout=1)))
    other.start()
    seen = watched(lambda: manager.get("good", POINT).client.call("VolumeDriver.List"), answer_of)
    other.join()
    return seen


def call_beside_slow_calls(scene: Scene) -> Seen:
    """Ten threads wait for one plugin that never answers; another is called."""
    slow, quick = scene.client(scene.server(hang).address), scene.client(scene.server(GOOD).address)
    waiting = [threading.Thread(target=lambda: watched(lambda: slow.call(GET, PHOTOS, timeout=0.5))) for _ in range(10)]
    for thread in waiting:
        thread.start()
    seen = watched(lambda: quick.call("VolumeDriver.List"), answer_of)
    for thread in waiting:
        thread.join()
    return seen


CROWD_OF_THREE = "1 hung, 1 dead and 1 that talks nonsense beside 20 good"
THREE_NAMED = (
    "20 plugins; plugin 'dead': ActivationError from ConnectError; plugin 'garbage': ActivationError from "
    "ProtocolError; plugin 'hung': ActivationError from CallTimeout"
)
FAULTS = (
    Fault(
        f"{CROWD_OF_THREE}: get_all(timeout=0.2)",
        THREE_NAMED,
        partial(get_all_named, three_bad),
        partial(get_all_of_moby, three_bad),
        within=0.25,
    ),
    Fault(
        "the three have recovered: the next get_all",
        "plugins: 23, failures: 0",
        partial(get_all_later, three_bad),
        within=1.0,
    ),
    Fault(
        "1 dead beside 20 good: get_all(timeout=0.2)",
        "plugins: 20, failures: 1",
        partial(get_all, one_dead),
        partial(get_all_of_moby, one_dead),
        within=0.25,
    ),
    Fault(
        "200 hung beside 20 good: get_all(timeout=0.2)",
        "plugins: 20, failures: 200",
        partial(get_all, two_hundred_hung),
        partial(get_all_of_moby, two_hundred_hung),
        within=0.25,
    ),
    Fault(
        "the 200 have recovered: the next get_all",
        "plugins: 220, failures: 0",
        partial(get_all_later, two_hundred_hung),
        within=2.0,
    ),
    Fault(
        "another plugin's handshake hangs: get and a call of a good one",
        "an answer",
        call_beside_a_handshake,
        within=0.1,
    ),
    Fault(
        "ten threads wait for a plugin that hangs: a call of a good one",
        "an answer",
        call_beside_slow_calls,
        within=0.1,
    ),
)
