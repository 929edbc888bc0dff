"""Decoding: a typed reply of 16 MiB as plugins may write it, compared with plain msgspec."""

from __future__ import annotations

from collections.abc import Callable
from time import perf_counter_ns

import msgspec
from bench import Bench, Report
from measure import Round, alternate, ratio

from extframe import VolumeDriver
from extframe.interface import declaration
from extframe.subsystems.volume import Volume

SIZE = 16 << 20
ITEMS = {
    "exact keys": b'{"Name":"photos","Mountpoint":"/mnt/photos"}',
    "keys in lower case": b'{"name":"photos","mountpoint":"/mnt/photos"}',
    "a key that is unknown": b'{"Name":"photos","Mountpoint":"/mnt/photos","Later":1}',
    "a null": b'{"Name":"photos","Mountpoint":"/mnt/photos","CreatedAt":null}',
}


class Volumes(msgspec.Struct, rename="pascal"):
    """The reply, of the same type but without leniency."""

    volumes: list[Volume] = []
    err: str = ""


def run(bench: Bench) -> Report:
    """Run the suite."""
    decode = next(method for method in declaration(VolumeDriver).methods if method.name == "list").decode_reply
    plain = msgspec.json.Decoder(Volumes).decode
    size = SIZE // 64 if bench.short else SIZE
    bodies = {what: _body(item, size) for what, item in ITEMS.items()}
    contenders = {what: _timed(lambda body=body: decode(body)) for what, body in bodies.items()}
    contenders["plain msgspec"] = _timed(lambda: plain(bodies["exact keys"]))
    rounds = alternate(contenders, bench.several(7))
    report = Report()
    for what in ITEMS:
        words = f"16 MiB of volumes, {what} / plain msgspec with exact keys"
        report.add(ratio(words, rounds, what, "plain msgspec", at_most=8.0))
    return report


def _body(item: bytes, size: int) -> bytes:
    return b'{"Volumes":[' + b",".join([item] * (size // (len(item) + 1))) + b'],"Err":""}'


def _timed(function: Callable[[], object]) -> Callable[[], Round]:
    def contender() -> Round:
        before = perf_counter_ns()
        decoded = function()
        time = perf_counter_ns() - before
        del decoded
        return Round([time])

    return contender
