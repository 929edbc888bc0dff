"""Where the time of a call goes: the steps of ``client.call``, with a look at the clock between each two."""

from __future__ import annotations

import statistics
from collections.abc import Callable
from itertools import pairwise
from time import monotonic, perf_counter_ns
from typing import Any

from bench import Bench, Report

from extframe import Client, VolumeDriver
from extframe.client.connection import Connection, connect
from extframe.client.connection_pool import ConnectionPool, IdleConnections
from extframe.client.http1 import UNIX_HOST, Limits, RequestWriter, read_whole
from extframe.client.replies import UNTYPED, reader_of
from extframe.interface import declaration
from extframe.protocol import Address, encode_json

ARGUMENTS = {"Name": "photos"}
PATH = "/VolumeDriver.Get"

STEPS = (
    ("arguments to JSON", "protocol.encode_json"),
    ("the request's bytes", "http1.RequestWriter"),
    ("take a connection", "pool.take"),
    ("look whether it is still there", "connection.is_usable: poll, a system call"),
    ("send, and wake the plugin", "connection.send: a system call"),
    ("wait for the answer", "connection.wait: poll, a system call"),
    ("receive", "recv: a system call"),
    ("bytes to a response", "http1.read_whole"),
    ("put the connection back", "pool.put"),
    ("JSON to a dict, and its Err", "replies"),
)


class Steps:
    """The steps of a call on a connection of its own."""

    def __init__(self, address: Address) -> None:
        self._connection = Connection(connect(address, monotonic() + 10))
        self._writer, self._limits, self._read = RequestWriter(UNIX_HOST), Limits(), reader_of(UNTYPED)
        self._pool, self._shelf = ConnectionPool(), IdleConnections()
        self._pool.add(self._shelf, self._connection)
        self._pool.put(self._shelf, self._connection)
        self.body = b""

    def call(self, clock: Callable[[], int] = perf_counter_ns) -> list[int]:
        """Make one call and return what the clock showed before, between and after its steps."""
        shown = [clock()]
        body = encode_json(ARGUMENTS)
        shown.append(clock())
        request = self._writer.request(PATH, body)
        shown.append(clock())
        connection = self._pool.take(self._shelf) or self._connection
        shown.append(clock())
        connection.is_usable()
        shown.append(clock())
        connection.send(request, monotonic() + 10)
        shown.append(clock())
        connection._readable.poll(10_000)
        shown.append(clock())
        data = connection._read(1 << 16) or b""
        shown.append(clock())
        response = read_whole(data, self._limits)
        while response is None:  # a server that is not Go's may send it in pieces
            data += connection.receive(monotonic() + 10, "body")
            response = read_whole(data, self._limits)
        shown.append(clock())
        self._pool.put(self._shelf, connection)
        shown.append(clock())
        self.body = response.body
        self._read(self.body)
        shown.append(clock())
        return shown

    def close(self) -> None:
        """Close the connection."""
        self._connection.close()


def run(bench: Bench) -> Report:
    """Measure it."""
    address = Address.parse(bench.server().address)
    client, alone = Client(address.text), Steps(address)
    driver = VolumeDriver.remote(client)
    calls: dict[str, list[int]] = {"call": [], "typed": []}
    shown = []
    for _ in range(bench.several(100)):
        shown += [alone.call() for _ in range(100)]
        calls["call"] += _timed(lambda: client.call(PATH, ARGUMENTS))
        calls["typed"] += _timed(lambda: driver.get("photos"))
    times = [[after - before for before, after in pairwise(row)] for row in shown]
    found = [_us(column) for column in zip(*times, strict=True)]
    steps = [(step, us, where) for (step, where), us in zip(STEPS, found, strict=True)]
    steps += _sums(alone, _us(calls["call"]), _us(calls["typed"]), sum(found))
    alone.close()
    client.close()
    return Report(steps=[{"step": step, "us": us, "where": where} for step, us, where in steps])


def _sums(alone: Steps, call: float, typed: float, steps: float) -> list[tuple[str, float, str]]:
    get = next(method for method in declaration(VolumeDriver).methods if method.name == "get")
    return [
        ("the rest: functions that call each other, deadlines, errors' names", call - steps, "client, transport"),
        ("**client.call, in all**", call, ""),
        ("typed: arguments to a request", _us(_timed(lambda: get.encode_arguments("photos"))), "methods"),
        ("typed: JSON to a Volume", _us(_timed(lambda: get.decode_reply(alone.body))), "methods"),
        ("**a typed call, in all**", typed, ""),
    ]


def _timed(function: Callable[[], Any]) -> list[int]:
    times = []
    for _ in range(100):
        before = perf_counter_ns()
        function()
        times.append(perf_counter_ns() - before)
    return times


def _us(times: Any) -> float:
    return statistics.median(times) / 1000
