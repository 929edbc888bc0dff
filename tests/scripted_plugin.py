"""A volume plugin by script, in good order but for what a test changes. Knows no extframe."""

from __future__ import annotations

import json
import threading
from collections.abc import Callable, Mapping

from faultserver import Behaviour, Peer, Request, reply

JSON = "Content-Type: application/json\r\n"
Answer = bytes | Callable[[Request], bytes]


def ok(answer: object) -> bytes:
    return reply(json.dumps(answer).encode(), headers=JSON)


def error(words: str, status: str = "500 Internal Server Error") -> bytes:
    return reply(json.dumps({"Err": words}).encode(), status=status, headers=JSON)


def get_no_volume(request: Request) -> bytes:
    """Answer VolumeDriver.Get of a plugin that has no volumes."""
    try:
        arguments = json.loads(request.body)
    except ValueError as wrong:
        return error(str(wrong), "400 Bad Request")
    if not isinstance(arguments, dict) or not isinstance(arguments.get("Name"), str):
        return error("no name", "400 Bad Request")
    return error("no such volume")


VOLUMES: Mapping[str, Answer] = {
    "Plugin.Activate": ok({"Implements": ["VolumeDriver"]}),
    "VolumeDriver.Capabilities": ok({"Capabilities": {"Scope": "local"}}),
    "VolumeDriver.List": ok({"Volumes": []}),
    "VolumeDriver.Get": get_no_volume,
    "VolumeDriver.Path": error("no such volume"),
    "VolumeDriver.Remove": error("no such volume"),
    "VolumeDriver.Unmount": error("no such volume"),
    "VolumeDriver.Create": ok({}),
    "VolumeDriver.Mount": ok({"Mountpoint": "/mnt"}),
}


def answers(changes: Mapping[str, Answer], base: Mapping[str, Answer] = VOLUMES) -> Callable[[Request], bytes]:
    """Return what answers a request; ``*`` in the changes answers every one."""
    table = {**base, **changes}

    def answer(request: Request) -> bytes:
        if not request.head.startswith(b"POST "):
            return table.get("GET", reply(b"", status="405 Method Not Allowed"))  # type: ignore[return-value]
        found = table.get("*") or table.get(request.path[1:]) or table.get("absent", error("what?", "404 Not Found"))
        return found(request) if callable(found) else found

    return answer


def scripted(changes: Mapping[str, Answer] | None = None) -> Behaviour:
    """Return the behaviour of the plugin with these changes."""
    answer = answers(changes or {})

    def behaviour(peer: Peer) -> None:
        while request := peer.read_request():
            peer.send(answer(request))

    return behaviour


def at_a_time(number: int, behaviour: Behaviour) -> Behaviour:
    """Return the behaviour of a server with so many threads, each of which keeps a connection until its end."""
    threads = threading.Semaphore(number)

    def serve(peer: Peer) -> None:
        with threads:
            behaviour(peer)

    return serve
