"""Size: a reply of any size takes no more memory than the limit allows."""

from __future__ import annotations

import json
import subprocess
import sys
import threading
import zlib
from collections.abc import Callable, Iterator, Mapping
from functools import partial
from pathlib import Path

from fault import Fault
from faultserver import Behaviour, Peer, endless, reply, send_and_close
from outcome import Outcome
from peak_memory import PeakMemory
from scene import Scene

TITLE = "Size"
MIB = 1 << 20
LIMIT = 16 * MIB  # of a reply, by default
PIECE = b"x" * MIB
BEGIN, END = b'{"Err": "', b'"}'
OK, FAILED = b"HTTP/1.1 200 OK\r\n", b"HTTP/1.1 500 Internal Server Error\r\n"
METHOD = "VolumeDriver.List"
ONE_AT_A_TIME = threading.Lock()  # moby uses several GiB for each
ONE_CALL = Path(__file__).parent.parent / "one_call.py"


def sends(head: bytes, pieces: Callable[[int], Iterator[bytes]], count: int) -> Behaviour:
    """Return the behaviour of a plugin that replies with a head and ``pieces`` of ``count`` MiB."""

    def behaviour(peer: Peer) -> None:
        if peer.read_request():
            peer.send(head)
            for piece in pieces(count):
                peer.send(piece)

    return behaviour


def plain(count: int) -> Iterator[bytes]:
    """Yield JSON of ``count`` MiB."""
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
    "a reply of 1 GiB with Content-Length": lambda count: sends(OK + announced(count), plain, count),
    "a reply of 1 GiB in chunks": lambda count: sends(OK + b"Transfer-Encoding: chunked\r\n\r\n", in_chunks, count),
    "a reply of 1 GiB that ends with the connection": lambda count: sends(OK + b"\r\n", plain, count),
    "a reply of 1 GiB in a few MiB of gzip": lambda count: sends(
        OK + b"Content-Encoding: gzip\r\n\r\n", compressed, count
    ),
    "an error of 1 GiB": lambda count: sends(FAILED + b"\r\n", plain, count),
}
ENDLESS: Mapping[str, Behaviour] = {
    "endless headers": endless(OK, b"X-Flood: " + b"x" * 1000 + b"\r\n"),
    "an endless header": endless(OK + b"X-Flood: ", PIECE),
    "an endless status line": endless(b"HTTP/1.1 200 ", PIECE),
    "endless 100 Continue responses": endless(b"", b"HTTP/1.1 100 Continue\r\n\r\n" * 100),
    "an endless chunk extension": endless(OK + b"Transfer-Encoding: chunked\r\n\r\n1;", PIECE),
    "endless trailers": endless(OK + b"Transfer-Encoding: chunked\r\n\r\n0\r\n", b"X-Flood: x\r\n" * 1000),
}
DEEP: Mapping[str, Behaviour] = {
    "16 MiB of empty lists": send_and_close(reply(b'{"Lists": [' + b"[]," * (5 * MIB) + b"[]]}")),
    "a million nested lists": send_and_close(reply(b'{"Err": ' + b"[" * MIB + b"]" * MIB + b"}")),
    "a number of a million digits": send_and_close(reply(b'{"Number": 1' + b"0" * MIB + b"}")),
}


def grown(outcome: Outcome, growth: int) -> Outcome:
    text = "at most twice the limit" if growth <= 2 * LIMIT else f"{growth / MIB:,.0f} MiB"
    return Outcome(f"{outcome.text}; memory grows by {text}", outcome.seconds, f"{growth / MIB:,.0f} MiB")


def call(behaviour: Behaviour, scene: Scene) -> Outcome:
    """Call in a new process, whose memory no other call has used."""
    server = scene.server(behaviour, kind="tcp")
    command = [sys.executable, ONE_CALL, server.address, METHOD]
    result = json.loads(subprocess.run(command, stdout=subprocess.PIPE, check=True, timeout=90).stdout)
    return grown(Outcome(result["text"], result["seconds"]), result["growth"])


def call_of_moby(behaviour: Behaviour, scene: Scene) -> Outcome:
    server, moby = scene.server(behaviour, kind="tcp"), scene.moby()
    moby.step(str, do="nothing")  # it has started once it replies
    memory = PeakMemory(moby.process_id)
    outcome = moby.call(METHOD, {}, address=server.address)
    growth = memory.growth()
    moby.close()
    return grown(Outcome(shortened(outcome.text), outcome.seconds), growth)


def shortened(text: str) -> str:
    return text if len(text) < 200 else f"{text[:40]}... ({len(text) / MIB:,.0f} MiB of text)"


def large(act: Callable[[Behaviour, Scene], Outcome], behaviour_of: Large, scene: Scene) -> Outcome:
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
