"""The breaker: a plugin that failed several times in a row is not waited for by everyone."""

from __future__ import annotations

import time
from concurrent.futures import ThreadPoolExecutor

from fault import Fault, Seen
from faultserver import FaultServer, Peer, reply
from scene import GET, PHOTOS, POINT, VOLUME, Scene, silent_but_for_handshakes
from watched import answer_of, watched

from extframe import Breaker, Client

TITLE = "Breaker"
FAILURES = Breaker().failures
PAUSE = Breaker().pause  # seconds
CALLERS = 20


def in_good_order(peer: Peer) -> None:
    while peer.read_request():
        peer.send(reply(VOLUME))


def fail(client: Client) -> None:
    """Make calls that time out, as many as it takes."""
    for _ in range(FAILURES):
        watched(lambda: client.call(GET, PHOTOS, timeout=0.05))


def broken(scene: Scene, breaker: Breaker | None = Breaker()) -> tuple[FaultServer, Client]:  # noqa: B008
    """Return a plugin that has failed so often, and its client."""
    server = scene.plugin(behaviour=silent_but_for_handshakes)
    client = scene.manager(breaker=breaker).get("p", POINT).client
    fail(client)
    return server, client


def next_call(scene: Scene) -> Seen:
    _, client = broken(scene, Breaker(pause=scene.patience(PAUSE)))
    return watched(lambda: client.call(GET, PHOTOS, timeout=0.5), answer_of)


def next_call_without(scene: Scene) -> Seen:
    _, client = broken(scene, None)
    return watched(lambda: client.call(GET, PHOTOS, timeout=0.5), answer_of)


def next_call_of_moby(scene: Scene) -> Seen:
    scene.plugin(behaviour=silent_but_for_handshakes)
    return scene.moby().call(GET, PHOTOS, name="p")


def many_callers(scene: Scene) -> Seen:
    server, client = broken(scene)
    time.sleep(PAUSE)
    before = len(server.requests)

    def call(_: int) -> str:
        return watched(lambda: client.call(GET, PHOTOS, timeout=0.5), answer_of).words

    def all_call() -> list[str]:
        with ThreadPoolExecutor(CALLERS) as pool:
            return list(pool.map(call, range(CALLERS)))

    seen = watched(all_call, lambda words: ", ".join(f"{words.count(each)} {each}" for each in sorted(set(words))))
    return Seen(f"{seen.words}; {len(server.requests) - before} request", seen.seconds)


def recovered(scene: Scene) -> Seen:
    server, client = broken(scene)
    server.behaviour = in_good_order
    time.sleep(PAUSE)
    client.call(GET, PHOTOS, timeout=scene.patience(0.5))
    return watched(lambda: client.call(GET, PHOTOS, timeout=scene.patience(0.5)), answer_of)


FAULTS = (
    Fault(
        f"{FAILURES} calls in a row timed out: the next call(timeout=0.5)",
        "PluginUnavailable",
        next_call,
        next_call_of_moby,
        within=0.01,
    ),
    Fault(
        "the same, with breaker=None: the next call(timeout=0.5)",
        "CallTimeout",
        next_call_without,
        after=0.5,
        within=0.6,
    ),
    Fault(
        f"{FAILURES} calls in a row timed out, and {CALLERS} threads call after the pause",
        f"1 CallTimeout, {CALLERS - 1} PluginUnavailable; 1 request",
        many_callers,
        after=0.5,
        within=0.6,
    ),
    Fault("the plugin answers again: the second call after the pause", "an answer", recovered, within=0.1),
)
