"""Safe repetition: nothing is done twice that must not be, and what is sent again is the same bytes."""

from __future__ import annotations

import hashlib
from collections.abc import Callable
from functools import partial

from fault import Fault, Seen
from faultserver import (
    Behaviour,
    FaultServer,
    Peer,
    Request,
    answer_with,
    close_after_read,
    eventually,
    in_turn,
    reply,
    reset_after_read,
)
from scene import CREATE, GET, PHOTOS, VOLUME, Scene
from watched import answer_of, watched

TITLE = "Safe repetition"


def requests_of(server: FaultServer) -> str:
    """Say what the server was sent: how many requests, how many different bodies, how many without any."""
    bodies = [request.body for request in server.requests]
    hashes = {hashlib.sha256(body).hexdigest() for body in bodies}
    if len(bodies) == 1:
        return "1 request"
    same = "the same body" if len(hashes) == 1 else f"{len(hashes)} different bodies"
    return f"{len(bodies)} requests with {same}" + (f", {bodies.count(b'')} of them empty" if b"" in bodies else "")


def with_requests(act: Callable[[Scene, FaultServer], Seen], behaviour: Behaviour, kind: str, scene: Scene) -> Seen:
    """Add to what was seen what the server saw."""
    server = scene.server(behaviour, kind=kind)
    seen = act(scene, server)
    return Seen(f"{seen.words}; {requests_of(server)}", seen.seconds)


def create(scene: Scene, server: FaultServer) -> Seen:
    client = scene.client(server.address)
    return watched(lambda: client.call(CREATE, PHOTOS, timeout=5), answer_of)


def get(scene: Scene, server: FaultServer) -> Seen:
    client = scene.client(server.address)
    return watched(lambda: client.call(GET, PHOTOS, timeout=5, idempotent=True), answer_of)


def get_twice(scene: Scene, server: FaultServer) -> Seen:
    client = scene.client(server.address)
    client.call(GET, PHOTOS)
    eventually(lambda: not server._open)
    return watched(lambda: client.call(CREATE, PHOTOS, timeout=5), answer_of)


def moby(method: str, scene: Scene, server: FaultServer) -> Seen:
    return scene.moby().call(method, PHOTOS, address=server.address)


def answer_or_complain(request: Request) -> bytes:
    """Answer as plugins do that need their arguments."""
    return reply(VOLUME) if request.body else reply(b'{"Err": "empty request body"}', status="400 Bad Request")


def answer_once_and_close(peer: Peer) -> None:
    """Answer a request, and close the kept connection."""
    if request := peer.read_request():
        peer.send(answer_or_complain(request))


ANSWERS = answer_with(answer_or_complain)
FAULTS = (
    Fault(
        "the connection is reset after Create was read: call",
        "ConnectionLost; 1 request",
        partial(with_requests, create, reset_after_read, "tcp"),
        partial(with_requests, partial(moby, CREATE), reset_after_read, "tcp"),
        within=0.1,
    ),
    Fault(
        "the connection is closed after Create was read: call",
        "ConnectionLost; 1 request",
        partial(with_requests, create, close_after_read, "unix"),
        partial(with_requests, partial(moby, CREATE), close_after_read, "unix"),
        within=0.1,
    ),
    Fault(
        "the same, but the plugin answers the second time: call",
        "ConnectionLost; 1 request",
        partial(with_requests, create, in_turn(close_after_read, ANSWERS), "unix"),
        partial(with_requests, partial(moby, CREATE), in_turn(close_after_read, ANSWERS), "unix"),
        within=0.1,
    ),
    Fault(
        "the connection is reset twice after Get was read: call(idempotent=True)",
        "an answer; 3 requests with the same body",
        partial(with_requests, get, in_turn(reset_after_read, reset_after_read, ANSWERS), "tcp"),
        partial(with_requests, partial(moby, GET), in_turn(reset_after_read, reset_after_read, ANSWERS), "tcp"),
        within=0.1,
    ),
    Fault(
        "a kept connection was closed by the plugin meanwhile: call",
        "an answer; 2 requests with the same body",
        partial(with_requests, get_twice, answer_once_and_close, "unix"),
        within=0.1,
    ),
)
