"""Size: a reply, however large, takes no more memory than its limit allows."""

from __future__ import annotations

import json
import subprocess
import sys
import threading
import zlib
from collections.abc import Callable, Iterator, Mapping
from functools import partial
from pathlib import Path

from fault import Fault, Seen
from faultserver import Behaviour, Peer, endless, reply, send_and_close
from resources import Memory
from scene import Scene

TITLE = "Size"
MIB = 1 << 20
LIMIT = 64 * MIB  # of a reply, by default
PIECE = b"x" * MIB
BEGIN, END = b'{"Err": "', b'"}'
OK, FAILED = b"HTTP/1.1 200 OK\r\n", b"HTTP/1.1 500 Internal Server Error\r\n"
METHOD = "VolumeDriver.List"
ONE_AT_A_TIME = threading.Lock()  # moby takes some GiB for each
ONE_CALL = Path(__file__).parent.parent / "one_call.py"


def sends(head: bytes, pieces: Callable[[int], Iterator[bytes]], count: int) -> Behaviour:
    """Return the behaviour of a plugin that answers with a head and ``pieces`` of so many MiB."""

    def behaviour(peer: Peer) -> None:
        if peer.read_request():
            peer.send(head)
            for piece in pieces(count):
                peer.send(piece)

    return behaviour


def plain(count: int) -> Iterator[bytes]:
    """Yield JSON of so many MiB."""
    yield BEGIN
    for _ in range(count):
        yield PIECE
    yield END


def in_chunks(count: int) -> Iterator[bytes]:
    for piece in plain(count):
        yield b"%x\r\n%b\r\n" % (len(piece), piece)
    yield b"0\r\n\r\n"


def compressed(count: int) -> Iterator[bytes]:
    packer = zlib.compressobj(1, wbits=31)
    for piece in plain(count):
        yield packer.compress(piece)
    yield packer.flush()


def announced(count: int) -> bytes:
    return b"Content-Length: %d\r\n\r\n" % (len(BEGIN) + count * MIB + len(END))


Large = Callable[[int], Behaviour]
LARGE: Mapping[str, Large] = {
    "a reply of 1 GiB, announced": lambda count: sends(OK + announced(count), plain, count),
    "a reply of 1 GiB in chunks": lambda count: sends(OK + b"Transfer-Encoding: chunked\r\n\r\n", in_chunks, count),
    "a reply of 1 GiB that ends with the connection": lambda count: sends(OK + b"\r\n", plain, count),
    "a reply of 1 GiB in a few MiB of gzip": lambda count: sends(
        OK + b"Content-Encoding: gzip\r\n\r\n", compressed, count
    ),
    "an error of 1 GiB": lambda count: sends(FAILED + b"\r\n", plain, count),
}
ENDLESS: Mapping[str, Behaviour] = {
    "headers without end": endless(OK, b"X-Flood: " + b"x" * 1000 + b"\r\n"),
    "a header without end": endless(OK + b"X-Flood: ", PIECE),
    "a status line without end": endless(b"HTTP/1.1 200 ", PIECE),
    "answers 100 Continue without end": endless(b"", b"HTTP/1.1 100 Continue\r\n\r\n" * 100),
    "a chunk's extension without end": endless(OK + b"Transfer-Encoding: chunked\r\n\r\n1;", PIECE),
    "trailers without end": endless(OK + b"Transfer-Encoding: chunked\r\n\r\n0\r\n", b"X-Flood: x\r\n" * 1000),
}
DEEP: Mapping[str, Behaviour] = {
    "a million nested lists": send_and_close(reply(b'{"Err": ' + b"[" * MIB + b"]" * MIB + b"}")),
    "a number of a million digits": send_and_close(reply(b'{"Number": 1' + b"0" * MIB + b"}")),
}


def grown(seen: Seen, growth: int) -> Seen:
    words = "at most twice the limit" if growth <= 2 * LIMIT else f"{growth / MIB:,.0f} MiB"
    return Seen(f"{seen.words}; memory grows by {words}", seen.seconds, f"{growth / MIB:,.0f} MiB")


def call(behaviour: Behaviour, scene: Scene) -> Seen:
    """Call in a process of its own, whose memory nothing else has had."""
    server = scene.server(behaviour, kind="tcp")
    command = [sys.executable, ONE_CALL, server.address, METHOD]
    came = json.loads(subprocess.run(command, stdout=subprocess.PIPE, check=True, timeout=90).stdout)
    return grown(Seen(came["words"], came["seconds"]), came["growth"])


def call_of_moby(behaviour: Behaviour, scene: Scene) -> Seen:
    server, moby = scene.server(behaviour, kind="tcp"), scene.moby()
    moby.step(str, do="nothing")  # it has started when it has answered
    memory = Memory(moby.process_id)
    seen = moby.call(METHOD, {}, address=server.address)
    growth = memory.growth()
    moby.close()
    return grown(Seen(shortened(seen.words), seen.seconds), growth)


def shortened(words: str) -> str:
    return words if len(words) < 200 else f"{words[:40]}... ({len(words) / MIB:,.0f} MiB of words)"


def large(act: Callable[[Behaviour, Scene], Seen], behaviour_of: Large, scene: Scene) -> Seen:
    with ONE_AT_A_TIME:
        return act(behaviour_of(scene.several(1024, short=80)), scene)


FAULTS = (
    *(
        Fault(
            f"{what}: call",
            "ProtocolError; memory grows by at most twice the limit",
            partial(large, call, behaviour_of),
            partial(large, call_of_moby, behaviour_of),
            within=10.0,
        )
        for what, behaviour_of in LARGE.items()
    ),
    *(
        Fault(
            f"{what}: call",
            "ProtocolError; memory grows by at most twice the limit",
            partial(call, behaviour),
            partial(call_of_moby, behaviour),
            within=1.0,
        )
        for what, behaviour in {**ENDLESS, **DEEP}.items()
    ),
)
