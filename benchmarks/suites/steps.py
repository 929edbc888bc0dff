"""Where the time of a call goes: the steps of ``client.call``, with a clock reading after each."""

from __future__ import annotations

import statistics
from collections.abc import Callable
from itertools import pairwise
from time import monotonic, perf_counter_ns
from typing import Any

from bench import Bench, Report

from extframe import Client, VolumeDriver
from extframe.client.connection import Connection
from extframe.client.connection_pool import ConnectionPool, IdleConnections
from extframe.client.http1 import UNIX_HOST, Limits, RequestWriter, read_whole
from extframe.client.replies import UNTYPED, reader_of
from extframe.client.sockets import connect
from extframe.interface import declaration
from extframe.protocol import Address, encode_json

ARGUMENTS = {"Name": "photos"}
PATH = "/VolumeDriver.Get"

STEPS = (
    ("arguments to JSON", "protocol.encode_json"),
    ("the request's bytes", "http1.RequestWriter"),
    ("take a connection from the pool", "connection_pool.take"),
    ("check that it is still open", "connection.is_usable: poll, one system call"),
    ("send and wake the plugin", "connection.send: one system call"),
    ("wait for the response", "connection.wait: poll, one system call"),
    ("receive", "recv: one system call"),
    ("bytes to a response", "http1.read_whole"),
    ("return the connection to the pool", "connection_pool.put"),
    ("JSON to a dict, and its Err", "replies"),
)


class Steps:
    """The steps of a call on a separate connection."""

    def __init__(self, address: Address) -> None:
        self._connection = Connection(connect(address, monotonic() + 10))
        self._writer, self._limits, self._read = RequestWriter(UNIX_HOST), Limits(), reader_of(UNTYPED)
        self._pool, self._idle = ConnectionPool(), IdleConnections()
        self._pool.add(self._idle, self._connection)
        self._pool.put(self._idle, self._connection)
        self.body = b""

    def call(self, clock: Callable[[], int] = perf_counter_ns) -> list[int]:
        """Make one call and return the clock readings before, between and after its steps."""
        readings = [clock()]
        body = encode_json(ARGUMENTS)
        readings.append(clock())
        request = self._writer.request(PATH, body)
        readings.append(clock())
        connection = self._pool.take(self._idle) or self._connection
        readings.append(clock())
        connection.is_usable()
        readings.append(clock())
        connection.send(request, monotonic() + 10)
        readings.append(clock())
        connection._readable.poll(10_000)
        readings.append(clock())
        data = connection._read(1 << 16) or b""
        readings.append(clock())
        response = read_whole(data, self._limits)
        while response is None:  # other servers than Go's may send it in pieces
            data += connection.receive(monotonic() + 10, "body")
            response = read_whole(data, self._limits)
        readings.append(clock())
        self._pool.put(self._idle, connection)
        readings.append(clock())
        self.body = response.body
        self._read(self.body)
        readings.append(clock())
        return readings

    def close(self) -> None:
        """Close the connection."""
        self._connection.close()


def run(bench: Bench) -> Report:
    """Run the suite."""
    address = Address.parse(bench.server().address)
    client, alone = Client(address.text), Steps(address)
    driver = VolumeDriver.remote(client)
    calls: dict[str, list[int]] = {"call": [], "typed": []}
    readings = []
    for _ in range(bench.several(100)):
        readings += [alone.call() for _ in range(100)]
        calls["call"] += _timed(lambda: client.call(PATH, ARGUMENTS))
        calls["typed"] += _timed(lambda: driver.get("photos"))
    times = [[after - before for before, after in pairwise(row)] for row in readings]
    found = [_us(column) for column in zip(*times, strict=True)]
    steps = [(step, us, where) for (step, where), us in zip(STEPS, found, strict=True)]
    steps += _sums(alone, _us(calls["call"]), _us(calls["typed"]), sum(found))
    alone.close()
    client.close()
    return Report(steps=[{"step": step, "us": us, "where": where} for step, us, where in steps])


def _sums(alone: Steps, call: float, typed: float, steps: float) -> list[tuple[str, float, str]]:
    get = next(method for method in declaration(VolumeDriver).methods if method.name == "get")
    return [
        ("the rest: function calls, deadlines, context for errors", call - steps, "client, transport"),
        ("**client.call, total**", call, ""),
        ("typed: arguments to a request", _us(_timed(lambda: get.encode_arguments("photos"))), "methods"),
        ("typed: JSON to a Volume", _us(_timed(lambda: get.decode_reply(alone.body))), "methods"),
        ("**a typed call, total**", typed, ""),
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
