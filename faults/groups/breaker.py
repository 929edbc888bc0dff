"""The circuit breaker: callers do not all wait for a plugin that failed several times."""

from __future__ import annotations

import time
from concurrent.futures import ThreadPoolExecutor

from fault import Fault
from faultserver import FaultServer, Peer, reply
from observe import answer_of, observe
from outcome import Outcome
from scene import GET, PHOTOS, POINT, VOLUME, Scene, silent_but_for_handshakes

from extframe import Breaker, Client

TITLE = "Circuit breaker"
FAILURES = Breaker().failures
PAUSE = Breaker().initial_delay  # seconds
CALLERS = 20


def recover(peer: Peer) -> None:
    while peer.read_request():
        peer.send(reply(VOLUME))


def fail(client: Client) -> None:
    """Let calls time out until the circuit opens."""
    for _ in range(FAILURES):
        observe(lambda: client.call(GET, PHOTOS, timeout=0.05))


def open_circuit(scene: Scene, breaker: Breaker | None = Breaker()) -> tuple[FaultServer, Client]:  # noqa: B008
    """Return a plugin and its client, whose circuit is open."""
    server = scene.plugin(behaviour=silent_but_for_handshakes)
    client = scene.manager(breaker=breaker).get("p", POINT).client
    fail(client)
    return server, client


def next_call(scene: Scene) -> Outcome:
    _, client = open_circuit(scene, Breaker(initial_delay=scene.patience(PAUSE)))
    return observe(lambda: client.call(GET, PHOTOS, timeout=0.5), answer_of)


def next_call_without(scene: Scene) -> Outcome:
    _, client = open_circuit(scene, None)
    return observe(lambda: client.call(GET, PHOTOS, timeout=0.5), answer_of)


def next_call_of_moby(scene: Scene) -> Outcome:
    scene.plugin(behaviour=silent_but_for_handshakes)
    return scene.moby().call(GET, PHOTOS, name="p")


def many_callers(scene: Scene) -> Outcome:
    server, client = open_circuit(scene)
    time.sleep(PAUSE)
    before = len(server.requests)

    def call(_: int) -> str:
        return observe(lambda: client.call(GET, PHOTOS, timeout=0.5), answer_of).text

    def all_call() -> list[str]:
        with ThreadPoolExecutor(CALLERS) as pool:
            return list(pool.map(call, range(CALLERS)))

    outcome = observe(all_call, lambda texts: ", ".join(f"{texts.count(each)} {each}" for each in sorted(set(texts))))
    return Outcome(f"{outcome.text}; {len(server.requests) - before} request", outcome.seconds)


def recovered(scene: Scene) -> Outcome:
    server, client = open_circuit(scene)
    server.behaviour = recover
    time.sleep(PAUSE)
    client.call(GET, PHOTOS, timeout=scene.patience(0.5))
    return observe(lambda: client.call(GET, PHOTOS, timeout=scene.patience(0.5)), answer_of)


FAULTS = (
    Fault(
        f"{FAILURES} consecutive calls timed out: the next call(timeout=0.5)",
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
        f"{FAILURES} consecutive calls timed out, and {CALLERS} threads call after the delay",
        f"1 CallTimeout, {CALLERS - 1} PluginUnavailable; 1 request",
        many_callers,
        after=0.5,
        within=0.6,
    ),
    Fault("the plugin answers again: the second call after the delay", "a reply", recovered, within=0.1),
)
