"""Safe retries: only calls that may be repeated are repeated, with the same bytes."""

from __future__ import annotations

import hashlib
from collections.abc import Callable
from functools import partial

from fault import Fault
from faultserver import (
    Behaviour,
    FaultServer,
    Peer,
    Request,
    answer_with,
    close_after_read,
    eventually,
    reply,
    reset_after_read,
    successively,
)
from observe import answer_of, observe
from outcome import Outcome
from scene import CREATE, GET, PHOTOS, VOLUME, Scene

TITLE = "Safe retries"


def requests_of(server: FaultServer) -> str:
    """Describe the requests to a server: their number, the number of different bodies and of empty ones."""
    bodies = [request.body for request in server.requests]
    hashes = {hashlib.sha256(body).hexdigest() for body in bodies}
    if len(bodies) == 1:
        return "1 request"
    same = "the same body" if len(hashes) == 1 else f"{len(hashes)} different bodies"
    return f"{len(bodies)} requests with {same}" + (f", {bodies.count(b'')} of them empty" if b"" in bodies else "")


def with_requests(
    act: Callable[[Scene, FaultServer], Outcome], behaviour: Behaviour, kind: str, scene: Scene
) -> Outcome:
    """Add the requests that the server received to the outcome."""
    server = scene.server(behaviour, kind=kind)
    outcome = act(scene, server)
    return Outcome(f"{outcome.text}; {requests_of(server)}", outcome.seconds)


def create(scene: Scene, server: FaultServer) -> Outcome:
    client = scene.client(server.address)
    return observe(lambda: client.call(CREATE, PHOTOS, timeout=5), answer_of)


def get(scene: Scene, server: FaultServer) -> Outcome:
    client = scene.client(server.address)
    return observe(lambda: client.call(GET, PHOTOS, timeout=5, idempotent=True), answer_of)


def get_twice(scene: Scene, server: FaultServer) -> Outcome:
    client = scene.client(server.address)
    client.call(GET, PHOTOS)
    eventually(lambda: not server._open)
    return observe(lambda: client.call(CREATE, PHOTOS, timeout=5), answer_of)


def moby(method: str, scene: Scene, server: FaultServer) -> Outcome:
    return scene.moby().call(method, PHOTOS, address=server.address)


def answer_or_complain(request: Request) -> bytes:
    """Reply with an error to a request without arguments."""
    return reply(VOLUME) if request.body else reply(b'{"Err": "empty request body"}', status="400 Bad Request")


def answer_once_and_close(peer: Peer) -> None:
    """Reply to one request and close the connection."""
    if request := peer.read_request():
        peer.send(answer_or_complain(request))


ANSWERS = answer_with(answer_or_complain)
FAULTS = (
    Fault(
        "the connection is reset after the plugin read Create: call",
        "ConnectionLost; 1 request",
        partial(with_requests, create, reset_after_read, "tcp"),
        partial(with_requests, partial(moby, CREATE), reset_after_read, "tcp"),
        within=0.1,
    ),
    Fault(
        "the connection is closed after the plugin read Create: call",
        "ConnectionLost; 1 request",
        partial(with_requests, create, close_after_read, "unix"),
        partial(with_requests, partial(moby, CREATE), close_after_read, "unix"),
        within=0.1,
    ),
    Fault(
        "the same, but the plugin answers the second time: call",
        "ConnectionLost; 1 request",
        partial(with_requests, create, successively(close_after_read, ANSWERS), "unix"),
        partial(with_requests, partial(moby, CREATE), successively(close_after_read, ANSWERS), "unix"),
        within=0.1,
    ),
    Fault(
        "the connection is reset twice after the plugin read Get: call(idempotent=True)",
        "a reply; 3 requests with the same body",
        partial(with_requests, get, successively(reset_after_read, reset_after_read, ANSWERS), "tcp"),
        partial(with_requests, partial(moby, GET), successively(reset_after_read, reset_after_read, ANSWERS), "tcp"),
        within=0.1,
    ),
    Fault(
        "the plugin closed an idle connection in the meantime: call",
        "a reply; 2 requests with the same body",
        partial(with_requests, get_twice, answer_once_and_close, "unix"),
        within=0.1,
    ),
)
