"""Deadlines: every operation ends at its timeout, whatever the plugin does."""

from __future__ import annotations

import io
import threading
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import partial

from fault import Fault
from faultserver import (
    Behaviour,
    FaultServer,
    drip,
    eventually,
    full_backlog,
    hang,
    read_and_hang,
    reply,
    send_and_hang,
)
from observe import answer_of, failures_of, observe
from outcome import Outcome
from scene import GET, PHOTOS, POINT, VOLUME, Scene, silent_but_for_handshakes

from extframe import Interface, VolumeDriver, rpc

TITLE = "Deadlines"
TIMEOUT = 0.5  # seconds
LATE = 0.1  # the longest delay after a deadline, in seconds
DRIPPED = reply(VOLUME, headers=f"X-Padding: {'x' * 100}\r\n")

BEHAVIOURS: Mapping[str, Behaviour] = {
    "a plugin accepts the connection and never answers": read_and_hang,
    "a plugin stops in the middle of a header": send_and_hang(b"HTTP/1.1 200 OK\r\nContent-Le"),
    "a plugin stops in the middle of the body": send_and_hang(reply(b'{"Vol', length=100)),
    "a plugin sends one byte per second": drip(DRIPPED, pause=1.0),
}
BACKLOG = "a plugin accepts no connection (its backlog is full)"


@dataclass(frozen=True)
class Operation:
    """An operation of a host on a faulty plugin."""

    name: str
    expected: str
    extframe: Callable[[Scene, FaultServer], Outcome]
    moby: Callable[[Scene, FaultServer], Outcome] | None


def call(scene: Scene, server: FaultServer) -> Outcome:
    client = scene.client(server.address)
    return observe(lambda: client.call(GET, PHOTOS, timeout=TIMEOUT), answer_of)


def stream(scene: Scene, server: FaultServer) -> Outcome:
    client = scene.client(server.address)

    def read() -> bytes:
        with client.stream(GET, PHOTOS, timeout=TIMEOUT) as body:
            return body.read()

    return observe(read)


def send_file(scene: Scene, server: FaultServer) -> Outcome:
    client = scene.client(server.address)
    return observe(lambda: client.send_file(GET, io.BytesIO(b"photo"), timeout=TIMEOUT), answer_of)


def get(scene: Scene, _: FaultServer) -> Outcome:
    manager = scene.manager()
    return observe(lambda: manager.get("p", POINT, timeout=TIMEOUT))


def driver(scene: Scene, _: FaultServer) -> Outcome:
    manager = scene.manager()
    return observe(lambda: manager.driver("p", VolumeDriver, timeout=TIMEOUT))


def get_all(scene: Scene, _: FaultServer) -> Outcome:
    manager = scene.manager()
    return observe(
        lambda: manager.get_all(POINT, timeout=TIMEOUT), lambda found: f"{len(found)} plugins; {failures_of(manager)}"
    )


NO_ACTIVATION = "ActivationError from CallTimeout"
OPERATIONS = (
    Operation(
        "call", "CallTimeout", call, lambda scene, server: scene.moby().call(GET, PHOTOS, address=server.address)
    ),
    Operation("stream", "CallTimeout", stream, None),
    Operation("send_file", "CallTimeout", send_file, None),
    Operation("get", NO_ACTIVATION, get, lambda scene, _: scene.moby().get()),
    Operation("driver", NO_ACTIVATION, driver, None),
    Operation("get_all", f"0 plugins; plugin 'p': {NO_ACTIVATION}", get_all, lambda scene, _: scene.moby().get_all()),
)


def with_behaviour(behaviour: Behaviour, act: Callable[[Scene, FaultServer], Outcome], scene: Scene) -> Outcome:
    return act(scene, scene.plugin(behaviour=behaviour))


def with_full_backlog(act: Callable[[Scene, FaultServer], Outcome], scene: Scene) -> Outcome:
    server = scene.plugin(behaviour=hang, backlog=0, accepting=False)
    with full_backlog(server):
        return act(scene, server)


# --- where the timeout is set -------------------------------------------------------------------------


class Impatient(Interface, implements=POINT):
    """A volume driver whose interface declares a timeout."""

    @rpc("Get", timeout=TIMEOUT)
    def get(self, name: str) -> None:
        """Discard the reply."""
        raise NotImplementedError


def timeout_of_manager(scene: Scene) -> Outcome:
    scene.plugin(behaviour=silent_but_for_handshakes)
    client = scene.manager(timeout=TIMEOUT).get("p", timeout=30).client
    return observe(lambda: client.call(GET, PHOTOS), answer_of)


def timeout_of_plugin(scene: Scene) -> Outcome:
    scene.plugin(behaviour=silent_but_for_handshakes)
    client = scene.manager().get("p").client
    client.timeout = TIMEOUT
    return observe(lambda: client.call(GET, PHOTOS), answer_of)


def timeout_of_method(scene: Scene) -> Outcome:
    scene.plugin(behaviour=silent_but_for_handshakes)
    driver = scene.manager().driver("p", Impatient)
    return observe(lambda: driver.get("photos"))


SETTINGS = {
    "set by PluginManager(timeout=)": timeout_of_manager,
    "set by plugin.client.timeout": timeout_of_plugin,
    "set by @rpc(timeout=)": timeout_of_method,
}


# --- other waits --------------------------------------------------------------------------------------


def get_while_another_thread_waits(scene: Scene) -> Outcome:
    """Another thread waits for the same plugin's handshake, with a longer deadline."""
    server = scene.plugin(behaviour=hang)
    manager = scene.manager()
    other = threading.Thread(target=lambda: observe(lambda: manager.get("p", timeout=30)))
    other.start()
    eventually(lambda: server.connections)
    outcome = observe(lambda: manager.get("p", POINT, timeout=TIMEOUT))
    server.close()
    other.join()
    return outcome


def get_all_with_a_hung_handler(scene: Scene) -> Outcome:
    """A handler never returns."""
    scene.plugin()
    scene.plugin("good")
    manager, released = scene.manager(), threading.Event()
    manager.handle(POINT, lambda name, client: released.wait() if name == "p" else None)
    try:
        return observe(
            lambda: manager.get_all(POINT, timeout=scene.patience(TIMEOUT)),
            lambda found: f"{len(found)} plugins; {failures_of(manager)}",
        )
    finally:
        released.set()


def silent_handshake(scene: Scene) -> Outcome:
    server = scene.server(hang, kind="tcp")
    client = scene.client(f"https://127.0.0.1:{server.port}")
    return observe(lambda: client.call(GET, PHOTOS, timeout=TIMEOUT), answer_of)


def silent_handshake_moby(scene: Scene) -> Outcome:
    scene.spec("p.spec", f"https://127.0.0.1:{scene.server(hang, kind='tcp').port}")
    return scene.moby().get()


def large_request(scene: Scene) -> Outcome:
    client, large = scene.client(scene.server(hang).address), {"Name": "x" * (16 << 20)}
    return observe(lambda: client.call(GET, large, timeout=TIMEOUT), answer_of)


def timed(
    name: str, expected: str, extframe: Callable[[Scene], Outcome], moby: Callable[[Scene], Outcome] | None = None
) -> Fault:
    return Fault(f"{name}(timeout={TIMEOUT:g})", expected, extframe, moby, after=TIMEOUT, within=TIMEOUT + LATE)


FAULTS = (
    *(
        timed(
            f"{fault}: {act.name}",
            act.expected,
            partial(with_behaviour, behaviour, act.extframe),
            act.moby and partial(with_behaviour, behaviour, act.moby),
        )
        for fault, behaviour in BEHAVIOURS.items()
        for act in OPERATIONS
    ),
    *(
        timed(
            f"{BACKLOG}: {act.name}",
            act.expected,
            partial(with_full_backlog, act.extframe),
            act.moby and partial(with_full_backlog, act.moby),
        )
        for act in OPERATIONS
    ),
    *(
        Fault(
            f"a timeout of 0.5 s {how}: call of a plugin that never answers",
            "CallTimeout",
            act,
            after=TIMEOUT,
            within=TIMEOUT + LATE,
        )
        for how, act in SETTINGS.items()
    ),
    timed("another thread waits for the same plugin's handshake: get", NO_ACTIVATION, get_while_another_thread_waits),
    timed("a handler never returns: get_all", "1 plugins; plugin 'p': CallTimeout", get_all_with_a_hung_handler),
    timed("a plugin never answers the TLS handshake: call", "CallTimeout", silent_handshake, silent_handshake_moby),
    timed("a plugin does not read a request of 16 MiB: call", "CallTimeout", large_request),
)
