"""Many plugins: discovery, activation, calls, and the resources of idle ones."""

from __future__ import annotations

import json
import os
import socket
import statistics
import subprocess
import sys
from collections.abc import Callable, Mapping
from pathlib import Path
from time import perf_counter_ns
from typing import Any

from bench import HERE, Bench, Report, Server
from measure import Round, alternate, figure, ratio
from programs import MissingError

from extframe import LocalRegistry

COUNTS = (1, 10, 100, 200, 500, 1000)
FLAT = 1.5  # the limit for "flat": the data of a thousand plugins does not fit in a processor's cache


def run(bench: Bench) -> Report:
    """Run the suite."""
    report = Report()
    _scan(bench, report)
    try:
        bench.built("server")
    except MissingError as missing:
        bench.skip("many live plugins", missing)
        return report
    _activate(bench, report)
    _call(bench, report)
    return report


def _scan(bench: Bench, report: Report) -> None:
    points: dict[str, list[tuple[int, float]]] = {"scan": [], "scandir and stat": []}
    for count in (10, 20) if bench.short else COUNTS:
        directory = bench.directory / f"scan-{count}"
        directory.mkdir()
        for index in range(count):
            _make_socket(directory / f"{index:04}.sock")
        registry = LocalRegistry(directory, [])
        contenders = {
            "scan": _timed(registry.scan),
            "scandir and stat": _timed(lambda directory=directory: _list(directory)),
        }
        rounds = alternate(contenders, bench.several(100))
        for name, line in points.items():
            line.append((count, statistics.median(each.median for each in rounds[name]) / 1000))
    words = f"scan of {count:,} entries / os.scandir and stat"
    report.add(ratio(words, rounds, "scan", "scandir and stat", at_most=2.0))
    report.plots.append({"name": "scan", "title": "scan of N entries (us)", "lines": points, "log": True})


def _make_socket(path: Path) -> None:
    with socket.socket(socket.AF_UNIX) as sock:
        sock.bind(str(path))


def _list(directory: Path) -> list[tuple[str, int]]:
    with os.scandir(directory) as entries:
        return [(entry.name, os.stat(entry.path).st_mode) for entry in entries]


def _timed(function: Callable[[], object]) -> Callable[[], Round]:
    def contender() -> Round:
        before = perf_counter_ns()
        function()
        return Round([perf_counter_ns() - before])

    return contender


def _activate(bench: Bench, report: Report) -> None:
    points: dict[str, list[tuple[int, float]]] = {"extframe": [], "moby": []}
    for count in (5,) if bench.short else (1, 10, 50, 100, 200, 400):
        rounds = _rounds_of_get_all(bench, count, 20)
        for name in rounds:
            points[name].append((count, statistics.median(each.median for each in rounds[name]) / 1e6))
        if count == (5 if bench.short else 200):
            words = f"get_all of {count} live plugins / moby's GetAll"
            report.add(ratio(words, rounds, "extframe", "moby", at_most=2.0))
    report.plots.append({"name": "get-all", "title": "get_all of N live plugins (ms)", "lines": points, "log": True})
    count = 5 if bench.short else 1000
    left = _output_of(sys.executable, HERE / "tasks" / "activate.py", _live(bench, count))
    report.add(
        figure(f"memory of {count:,} active plugins", [left["memory"] / (1 << 20)], unit="MiB", at_most=64),
        figure(f"threads with {count:,} active plugins", [left["threads"]], unit="", at_most=8),
        figure(f"file descriptors with {count:,} active plugins", [left["descriptors"]], unit="", at_most=1024),
    )


def _live(bench: Bench, count: int) -> Path:
    directory = bench.directory / f"many-{count}"
    return directory if directory.exists() else bench.many(count)


def _rounds_of_get_all(bench: Bench, count: int, rounds: int) -> dict[str, list[Round]]:
    """Run each round in a new process: moby's client activates a plugin only once."""
    directory = _live(bench, count)
    commands: dict[str, list[Any]] = {"extframe": [sys.executable, HERE / "tasks" / "activate.py", directory]}
    try:
        commands["moby"] = [bench.built("client"), "getall", directory]
    except MissingError as missing:
        bench.skip("moby", missing)
    return rounds_of_tasks(commands, count, bench.several(rounds))


def rounds_of_tasks(commands: Mapping[str, list[Any]], count: int, rounds: int) -> dict[str, list[Round]]:
    """Run each round in a new process, which prints its duration and that it found ``count`` plugins."""

    def contender(command: list[Any]) -> Callable[[], Round]:
        def once() -> Round:
            output = _output_of(*command)
            if output["found"] != count:
                raise RuntimeError(f"{command}: {output['found']} of {count} plugins")
            return Round([output["ns"]])

        return once

    return dict(alternate({name: contender(command) for name, command in commands.items()}, rounds))


def _output_of(*command: Any) -> dict[str, Any]:
    output: dict[str, Any] = json.loads(subprocess.run(command, stdout=subprocess.PIPE, check=True).stdout)
    return output


def _call(bench: Bench, report: Report) -> None:
    counts = (1, 5) if bench.short else COUNTS
    directory = _live(bench, counts[-1])
    contenders = {}
    for count in counts:
        contender = bench.contender("extframe_many", Server(f"{directory}#{count}"), 1000)
        if contender is not None:
            contenders[str(count)] = contender
    rounds = alternate(contenders, bench.several(25))
    for count in counts[1:]:
        target = {"at_most": FLAT} if count == counts[-1] else {}
        report.add(ratio(f"a call to one of {count:,} plugins / to the only plugin", rounds, str(count), "1", **target))
    line = [(count, statistics.median(each.median for each in rounds[str(count)]) / 1000) for count in counts]
    report.plots.append(
        {"name": "spread", "title": "A call to one of N plugins (us)", "lines": {"extframe": line}, "log": True}
    )
