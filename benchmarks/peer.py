"""Run one peer as a process: ``peer.py NAME ADDRESS [CA-FILE]``. Each peer is a module in ``peers/``.

Writes {"ready": ...} or {"skip": the reason}. Then reads one round per line, {"calls": 200, "threads": 1}, runs it and
writes the duration of each call in nanoseconds and of the round in seconds.
"""

from __future__ import annotations

import asyncio
import inspect
import json
import sys
import threading
from collections.abc import Callable
from importlib import import_module
from time import perf_counter, perf_counter_ns
from typing import Any


def main() -> None:
    """Import the peer, connect and run rounds."""
    name, address, ca = [*sys.argv[1:], ""][:3]
    try:
        peer = import_module(f"peers.{name}")
    except ImportError as missing:
        write({"skip": str(missing)})
        return
    if inspect.isasyncgenfunction(inspect.unwrap(peer.connect)):
        new_event_loop = getattr(peer, "new_event_loop", asyncio.new_event_loop)
        new_event_loop().run_until_complete(make_async_rounds(peer, address))
    else:
        make_rounds(peer.connect(address, ca))


def make_rounds(call: Callable[[], object]) -> None:
    """Run the requested rounds with a function that makes one call."""
    call()
    write({"ready": True})
    for line in sys.stdin:
        request = json.loads(line)
        measure = measure_in_threads if request["threads"] > 1 else measure_here
        write(measure(call, **request))


def measure_here(call: Callable[[], object], calls: int, threads: int) -> dict[str, Any]:
    """Make the calls one after another."""
    started = perf_counter()
    times = timed(call, calls)
    return {"times": times, "seconds": perf_counter() - started}


def measure_in_threads(call: Callable[[], object], calls: int, threads: int) -> dict[str, Any]:
    """Make the calls in threads, an equal share in each."""
    times: list[int] = []
    begin = threading.Barrier(threads + 1)

    def work() -> None:
        begin.wait()
        times.extend(timed(call, calls // threads))

    running = [threading.Thread(target=work) for _ in range(threads)]
    for thread in running:
        thread.start()
    begin.wait()
    started = perf_counter()
    for thread in running:
        thread.join()
    return {"times": times, "seconds": perf_counter() - started}


def timed(call: Callable[[], object], calls: int) -> list[int]:
    """Make the calls and return their durations."""
    times = []
    for _ in range(calls):
        before = perf_counter_ns()
        call()
        times.append(perf_counter_ns() - before)
    return times


async def make_async_rounds(peer: Any, address: str) -> None:
    """Run the rounds with a coroutine function: one event loop, in which ``threads`` tasks make an equal share each."""
    async with peer.connect(address) as call:
        await call()
        write({"ready": True})
        for line in sys.stdin:
            request = json.loads(line)
            times: list[int] = []
            started = perf_counter()
            share = request["calls"] // request["threads"]
            await asyncio.gather(*(timed_async(call, share, times) for _ in range(request["threads"])))
            write({"times": times, "seconds": perf_counter() - started})


async def timed_async(call: Callable[[], Any], calls: int, times: list[int]) -> None:
    """Make calls one after another and append their durations."""
    for _ in range(calls):
        before = perf_counter_ns()
        await call()
        times.append(perf_counter_ns() - before)


def write(line: dict[str, Any]) -> None:
    """Write a line."""
    print(json.dumps(line), flush=True)


if __name__ == "__main__":
    main()
