"""Calls from an event loop, with many in flight, compared with moby's client, aiohttp and httpx."""

from __future__ import annotations

import json
import statistics
import subprocess
import sys
from collections.abc import Mapping
from functools import partial
from typing import Any

from bench import HERE, Bench, Report
from measure import Contender, Rounds, alternate, figure, ratio, wait_until_idle
from programs import MissingError

from suites.many import rounds_of_tasks

UVLOOP, ASYNCIO, TYPED = "extframe_async", "extframe_asyncio", "extframe_async_typed"
IN_FLIGHT = (1, 4, 16, 64, 256)
GOROUTINES = (1, 4, 8, 16, 32, 64)
PLOTTED = {UVLOOP: "extframe (uvloop)", ASYNCIO: "extframe (asyncio's loop)", "moby": "moby (goroutines)"}
CALLS = 1280  # of a round with several in flight
HUNG_CALLS, HUNG_SECONDS = 10_000, 8.0


def run(bench: Bench) -> Report:
    """Run the suite."""
    report = Report()
    _throughput(bench, report)
    _others(bench, report)
    _one(bench, report)
    _many(bench, report)
    _hung(bench, report)
    _import(bench, report)
    report.notes.append(
        "All safeguards are on: the deadline of each call, retries, circuit breaker, the limits of replies, and the "
        "check of a connection before it is used again. That check is made before each call that is not idempotent, "
        "such as those of `AsyncClient.call` here; and before an idempotent one, such as `get` of the typed driver, if "
        "the connection has been idle for more than a millisecond. Pairs of rounds began when the processors had been "
        "idle for 50 ms, as far as 20 s of waiting per row allowed."
    )
    return report


def _throughput(bench: Bench, report: Report) -> None:
    server = bench.server()
    wanted = {(peer, tasks) for peer in (UVLOOP, ASYNCIO) for tasks in IN_FLIGHT}
    wanted |= {(TYPED, 64), *(("moby", goroutines) for goroutines in GOROUTINES)}
    contenders = _contenders(bench, server, sorted(wanted))
    rounds = alternate(contenders, bench.several(9), patience=bench.patience)
    best = max((name for name in rounds if name.startswith("moby")), key=lambda name: _rate(rounds, name), default="")
    compare = partial(_compare, bench, report, contenders)
    compare("calls per second, 64 in flight / moby's best", f"{UVLOOP} 64", best, at_least=1.4)
    compare("the same in asyncio's loop, 64", f"{ASYNCIO} 64", best)
    compare("calls per second, 4 in flight / moby's, 4 goroutines", f"{UVLOOP} 4", "moby 4", at_least=1.2)
    compare("the same in asyncio's loop, 4", f"{ASYNCIO} 4", "moby 4")
    compare("typed calls per second, 64 in flight / moby's best", f"{TYPED} 64", best, at_least=1.3)
    compare("p99, 64 in flight / moby's, 64 goroutines", f"{UVLOOP} 64", "moby 64", "p99", at_most=1.0)
    compare("the same in asyncio's loop, p99", f"{ASYNCIO} 64", "moby 64", "p99")
    lines = {
        words: sorted((int(name.split()[1]), _rate(rounds, name)) for name in rounds if name.split()[0] == peer)
        for peer, words in PLOTTED.items()
    }
    title = "Calls per second, by calls in flight"
    report.plots.append({"name": "in-flight", "title": title, "lines": lines, "log": True})


def _compare(
    bench: Bench,
    report: Report,
    contenders: Mapping[str, Contender],
    words: str,
    above: str,
    below: str,
    quantity: str = "rate",
    **target: float,
) -> None:
    """Add a ratio of two contenders, whose short rounds alternate in moments in which the machine is quiet."""
    pair = {name: contenders[name] for name in (above, below) if name in contenders}
    if len(pair) == 2:
        rounds = alternate(pair, bench.several(30), patience=bench.patience)
        report.add(ratio(words, rounds, above, below, quantity, **target))


def _contenders(bench: Bench, server: Any, wanted: list[tuple[str, int]]) -> Mapping[str, Contender]:
    found = {f"{peer} {tasks}": bench.contender(peer, server, max(CALLS, 2 * tasks), tasks) for peer, tasks in wanted}
    return {name: contender for name, contender in found.items() if contender is not None}


def _rate(rounds: Rounds, name: str) -> float:
    return statistics.median(each.rate for each in rounds[name])


def _others(bench: Bench, report: Report) -> None:
    wanted = [(UVLOOP, 64), ("aiohttp_async", 64), (UVLOOP, 4), ("httpx_async", 4)]
    compare = partial(_compare, bench, report, _contenders(bench, bench.server(), wanted))
    compare("calls per second, 64 in flight / aiohttp's", f"{UVLOOP} 64", "aiohttp_async 64", at_least=4)
    compare("calls per second, 4 in flight / httpx's", f"{UVLOOP} 4", "httpx_async 4", at_least=12)


def _one(bench: Bench, report: Report) -> None:
    contenders = bench.contenders(bench.server(), 300, UVLOOP, ASYNCIO, "moby")
    compare = partial(_compare, bench, report, contenders)
    compare("one call in flight / moby's client, one goroutine", UVLOOP, "moby", "median", at_most=0.85)
    compare("the same in asyncio's loop, 1", ASYNCIO, "moby", "median")


def _many(bench: Bench, report: Report) -> None:
    count = 5 if bench.short else 1000
    try:
        directory = bench.many(count)
        commands = {
            "extframe": [sys.executable, HERE / "tasks" / "handshakes.py", directory],
            "moby": [bench.built("client"), "getall", directory],
        }
    except MissingError as missing:
        bench.skip(f"{count:,} plugins at once", missing)
        return
    rounds = rounds_of_tasks(commands, count, bench.several(7))
    report.add(ratio(f"one call to each of {count:,} plugins at once / moby's GetAll", rounds, "extframe", "moby"))


def _hung(bench: Bench, report: Report) -> None:
    calls, seconds = (50, 1.0) if bench.short else (HUNG_CALLS, HUNG_SECONDS)
    place = bench.place()
    bench.child(sys.executable, HERE / "tasks" / "hang.py", place.removeprefix("unix://")).line()
    wait_until_idle(bench.patience)
    found = _output_of("hung_calls.py", place, calls, seconds)
    report.add(
        figure(
            f"memory of {calls:,} calls in flight to a hung plugin",
            [found["memory"] / (1 << 20)],
            unit="MiB",
            at_most=64,
        ),
        figure("the last of them ends after its deadline by", [found["late"] * 1000], unit="ms", at_most=100),
    )


def _import(bench: Bench, report: Report) -> None:
    found = _output_of("sync_host.py", bench.server().address)
    report.add(figure("async modules that a sync host imports", [float(len(found))], unit="", at_most=0))


def _output_of(task: str, *arguments: object) -> Any:
    command = [sys.executable, HERE / "tasks" / task, *map(str, arguments)]
    return json.loads(subprocess.run(command, stdout=subprocess.PIPE, check=True).stdout)
