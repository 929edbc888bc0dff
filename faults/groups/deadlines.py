"""Deadlines: whatever a plugin does or leaves undone, everything ends at its timeout."""

from __future__ import annotations

import io
import threading
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import partial

from fault import Fault, Seen
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
from scene import GET, PHOTOS, POINT, VOLUME, Scene, silent_but_for_handshakes
from watched import answer_of, failures_of, watched

from extframe import Interface, VolumeDriver, rpc

TITLE = "Deadlines"
TIMEOUT = 0.5  # seconds
LATE = 0.1  # seconds after the deadline, at most
DRIPPED = reply(VOLUME, headers=f"X-Padding: {'x' * 100}\r\n")

BEHAVIOURS: Mapping[str, Behaviour] = {
    "a plugin accepts, and is silent": read_and_hang,
    "a plugin sends half a header, and is silent": send_and_hang(b"HTTP/1.1 200 OK\r\nContent-Le"),
    "a plugin sends half a body, and is silent": send_and_hang(reply(b'{"Vol', length=100)),
    "a plugin sends a byte a second": drip(DRIPPED, pause=1.0),
}
BACKLOG = "a plugin accepts no more connections (its backlog is full)"


@dataclass(frozen=True)
class Act:
    """Something that a host does to a plugin that misbehaves."""

    name: str
    expected: str
    extframe: Callable[[Scene, FaultServer], Seen]
    moby: Callable[[Scene, FaultServer], Seen] | None


def call(scene: Scene, server: FaultServer) -> Seen:
    client = scene.client(server.address)
    return watched(lambda: client.call(GET, PHOTOS, timeout=TIMEOUT), answer_of)


def stream(scene: Scene, server: FaultServer) -> Seen:
    client = scene.client(server.address)

    def read() -> bytes:
        with client.stream(GET, PHOTOS, timeout=TIMEOUT) as body:
            return body.read()

    return watched(read)


def send_file(scene: Scene, server: FaultServer) -> Seen:
    client = scene.client(server.address)
    return watched(lambda: client.send_file(GET, io.BytesIO(b"photo"), timeout=TIMEOUT), answer_of)


def get(scene: Scene, _: FaultServer) -> Seen:
    manager = scene.manager()
    return watched(lambda: manager.get("p", POINT, timeout=TIMEOUT))


def driver(scene: Scene, _: FaultServer) -> Seen:
    manager = scene.manager()
    return watched(lambda: manager.driver("p", VolumeDriver, timeout=TIMEOUT))


def get_all(scene: Scene, _: FaultServer) -> Seen:
    manager = scene.manager()
    return watched(
        lambda: manager.get_all(POINT, timeout=TIMEOUT), lambda found: f"{len(found)} plugins; {failures_of(manager)}"
    )


NO_ACTIVATION = "ActivationError from CallTimeout"
ACTS = (
    Act("call", "CallTimeout", call, lambda scene, server: scene.moby().call(GET, PHOTOS, address=server.address)),
    Act("stream", "CallTimeout", stream, None),
    Act("send_file", "CallTimeout", send_file, None),
    Act("get", NO_ACTIVATION, get, lambda scene, _: scene.moby().get()),
    Act("driver", NO_ACTIVATION, driver, None),
    Act("get_all", f"0 plugins; plugin 'p': {NO_ACTIVATION}", get_all, lambda scene, _: scene.moby().get_all()),
)


def with_behaviour(behaviour: Behaviour, act: Callable[[Scene, FaultServer], Seen], scene: Scene) -> Seen:
    return act(scene, scene.plugin(behaviour=behaviour))


def with_full_backlog(act: Callable[[Scene, FaultServer], Seen], scene: Scene) -> Seen:
    server = scene.plugin(behaviour=hang, backlog=0, accepting=False)
    with full_backlog(server):
        return act(scene, server)


# --- where the timeout is set -------------------------------------------------------------------------


class Impatient(Interface, implements=POINT):
    """A volume driver whose interface says how long a call may take."""

    @rpc("Get", timeout=TIMEOUT)
    def get(self, name: str) -> None:
        """Return nothing of what came."""
        raise NotImplementedError


def timeout_of_manager(scene: Scene) -> Seen:
    scene.plugin(behaviour=silent_but_for_handshakes)
    client = scene.manager(timeout=TIMEOUT).get("p", timeout=30).client
    return watched(lambda: client.call(GET, PHOTOS), answer_of)


def timeout_of_plugin(scene: Scene) -> Seen:
    scene.plugin(behaviour=silent_but_for_handshakes)
    client = scene.manager().get("p").client
    client.timeout = TIMEOUT
    return watched(lambda: client.call(GET, PHOTOS), answer_of)


def timeout_of_method(scene: Scene) -> Seen:
    scene.plugin(behaviour=silent_but_for_handshakes)
    driver = scene.manager().driver("p", Impatient)
    return watched(lambda: driver.get("photos"))


SETTINGS = {
    "set by PluginManager(timeout=)": timeout_of_manager,
    "set by plugin.client.timeout": timeout_of_plugin,
    "set by @rpc(timeout=)": timeout_of_method,
}


# --- without a plugin directory -----------------------------------------------------------------------


def get_beside_another(scene: Scene) -> Seen:
    """Another thread's handshake, with the same plugin, has a deadline that is further away."""
    server = scene.plugin(behaviour=hang)
    manager = scene.manager()
    other = threading.Thread(target=lambda: watched(lambda: manager.get("p", timeout=30)))
    other.start()
    eventually(lambda: server.connections)
    seen = watched(lambda: manager.get("p", POINT, timeout=TIMEOUT))
    server.close()
    other.join()
    return seen


def get_all_beside_a_handler(scene: Scene) -> Seen:
    """A handler never returns."""
    scene.plugin()
    scene.plugin("good")
    manager, released = scene.manager(), threading.Event()
    manager.handle(POINT, lambda name, client: released.wait() if name == "p" else None)
    try:
        return watched(
            lambda: manager.get_all(POINT, timeout=scene.patience(TIMEOUT)),
            lambda found: f"{len(found)} plugins; {failures_of(manager)}",
        )
    finally:
        released.set()


def silent_handshake(scene: Scene) -> Seen:
    server = scene.server(hang, kind="tcp")
    client = scene.client(f"https://127.0.0.1:{server.port}")
    return watched(lambda: client.call(GET, PHOTOS, timeout=TIMEOUT), answer_of)


def silent_handshake_moby(scene: Scene) -> Seen:
    scene.spec("p.spec", f"https://127.0.0.1:{scene.server(hang, kind='tcp').port}")
    return scene.moby().get()


def large_request(scene: Scene) -> Seen:
    client, large = scene.client(scene.server(hang).address), {"Name": "x" * (16 << 20)}
    return watched(lambda: client.call(GET, large, timeout=TIMEOUT), answer_of)


def timed(
    name: str, expected: str, extframe: Callable[[Scene], Seen], moby: Callable[[Scene], Seen] | None = None
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
        for act in ACTS
    ),
    *(
        timed(
            f"{BACKLOG}: {act.name}",
            act.expected,
            partial(with_full_backlog, act.extframe),
            act.moby and partial(with_full_backlog, act.moby),
        )
        for act in ACTS
    ),
    *(
        Fault(
            f"the timeout is {how}, 0.5: call of a silent plugin",
            "CallTimeout",
            act,
            after=TIMEOUT,
            within=TIMEOUT + LATE,
        )
        for how, act in SETTINGS.items()
    ),
    timed("another thread waits for the same plugin's handshake: get", NO_ACTIVATION, get_beside_another),
    timed("a handler never returns: get_all", "1 plugins; plugin 'p': CallTimeout", get_all_beside_a_handler),
    timed("a plugin is silent in TLS's handshake: call", "CallTimeout", silent_handshake, silent_handshake_moby),
    timed("a plugin does not read a request of 16 MiB: call", "CallTimeout", large_request),
)
