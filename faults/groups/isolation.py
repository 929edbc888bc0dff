"""Isolation: a faulty plugin does not affect the others."""

from __future__ import annotations

import threading
from collections.abc import Callable
from functools import partial

from fault import Fault
from faultserver import hang, send_and_close
from observe import answer_of, failures_of, observe
from outcome import Outcome
from scene import GET, GOOD, PHOTOS, POINT, Scene

from extframe import Plugin, PluginManager

TITLE = "Isolation"
TIMEOUT = 0.2  # seconds
GARBAGE = send_and_close(b"\x16\x03\x01\x02\x00 this is not HTTP\r\n\r\n")


def good(scene: Scene) -> None:
    for number in range(20):
        scene.plugin(f"good{number:02}")


def three_bad(scene: Scene) -> None:
    scene.dead("dead")
    scene.plugin("garbage", GARBAGE)
    scene.plugin("hung", hang)


def two_hundred_hung(scene: Scene) -> None:
    for number in range(200):
        scene.plugin(f"hung{number:03}", accepting=False)  # the kernel accepts the connections, no process answers


def one_dead(scene: Scene) -> None:
    scene.dead("dead")


Crowd = Callable[[Scene], None]


def counted(manager: PluginManager) -> Callable[[list[Plugin]], str]:
    return lambda found: f"plugins: {len(found)}, failures: {len(manager.failures())}"


def get_all(bad: Crowd, scene: Scene) -> Outcome:
    good(scene)
    bad(scene)
    manager = scene.manager()
    return observe(lambda: manager.get_all(POINT, timeout=scene.patience(TIMEOUT)), counted(manager))


def get_all_named(bad: Crowd, scene: Scene) -> Outcome:
    good(scene)
    bad(scene)
    manager = scene.manager()
    return observe(
        lambda: manager.get_all(POINT, timeout=scene.patience(TIMEOUT)),
        lambda found: f"{len(found)} plugins; {failures_of(manager)}",
    )


def get_all_later(bad: Crowd, scene: Scene) -> Outcome:
    """Replace all faulty plugins by good ones between two calls of get_all."""
    good(scene)
    bad(scene)
    manager = scene.manager()
    manager.get_all(POINT, timeout=TIMEOUT)
    for socket in list(scene.directory.iterdir()):
        if not socket.stem.startswith("good"):
            scene.plugin(socket.stem)
    return observe(lambda: manager.get_all(POINT, timeout=10), counted(manager))


def get_all_of_moby(bad: Crowd, scene: Scene) -> Outcome:
    good(scene)
    bad(scene)
    return scene.moby().get_all()


def call_during_a_hung_handshake(scene: Scene) -> Outcome:
    scene.plugin("hung", hang)
    scene.plugin("good")
    manager = scene.manager()
    other = threading.Thread(target=lambda: observe(lambda: manager.get("hung", timeout=1)))
    other.start()
    outcome = observe(lambda: manager.get("good", POINT).client.call("VolumeDriver.List"), answer_of)
    other.join()
    return outcome


def call_during_hung_calls(scene: Scene) -> Outcome:
    """Call a plugin while ten threads wait for another, which never answers."""
    slow, quick = scene.client(scene.server(hang).address), scene.client(scene.server(GOOD).address)
    waiting = [threading.Thread(target=lambda: observe(lambda: slow.call(GET, PHOTOS, timeout=0.5))) for _ in range(10)]
    for thread in waiting:
        thread.start()
    outcome = observe(lambda: quick.call("VolumeDriver.List"), answer_of)
    for thread in waiting:
        thread.join()
    return outcome


CROWD_OF_THREE = "1 hung, 1 dead and 1 garbage-sending plugin among 20 good ones"
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
        "the three recover: the next get_all",
        "plugins: 23, failures: 0",
        partial(get_all_later, three_bad),
        within=1.0,
    ),
    Fault(
        "1 dead plugin among 20 good ones: get_all(timeout=0.2)",
        "plugins: 20, failures: 1",
        partial(get_all, one_dead),
        partial(get_all_of_moby, one_dead),
        within=0.25,
    ),
    Fault(
        "200 hung plugins among 20 good ones: get_all(timeout=0.2)",
        "plugins: 20, failures: 200",
        partial(get_all, two_hundred_hung),
        partial(get_all_of_moby, two_hundred_hung),
        within=0.25,
    ),
    Fault(
        "the 200 recover: the next get_all",
        "plugins: 220, failures: 0",
        partial(get_all_later, two_hundred_hung),
        within=2.0,
    ),
    Fault(
        "another plugin's handshake hangs: get and a call of a good one",
        "a reply",
        call_during_a_hung_handshake,
        within=0.1,
    ),
    Fault(
        "ten threads wait for a plugin that hangs: a call of a good one",
        "a reply",
        call_during_hung_calls,
        within=0.1,
    ),
)
