"""Plugins that the host starts: first use, failed starts, many at once, restarts under load, a flood of output."""

from __future__ import annotations

import json
import os
import shutil
import signal
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from itertools import count
from time import perf_counter

from bench import Bench, Report
from measure import figure
from programs import MissingError

import extframe
from extframe import ExtframeError, ProcessState, VolumeDriver

PYTHON = """
import extframe

class Volumes(extframe.VolumeDriver):
    def get(self, name):
        return extframe.Volume(name=name)

extframe.serve(Volumes(), name="plugin")
"""

_number = count()


def run(bench: Bench) -> Report:
    """Run the suite."""
    report = Report()
    script = bench.directory / "volumes.py"
    script.write_text(PYTHON)
    python = [sys.executable, str(script)]
    with _supervised(bench, command=python):  # imports everything
        pass
    try:
        # The server ends with its input.
        go = ["sh", "-c", f"sleep 600 | exec {bench.built('server')} -listen unix://{{socket}}"]
        values = [_first_use(bench, command=go, socket="own") for _ in range(bench.several(9))]
        report.add(figure("first use of a Go plugin that is not running", values, unit="ms", at_most=30))
    except MissingError as missing:
        bench.skip("the Go server", missing)
    values = [_first_use(bench, command=python) for _ in range(bench.several(9))]
    report.add(figure("first use of a Python plugin that is not running", values, unit="ms", at_most=400))
    values = [_failed_start(bench) for _ in range(bench.several(9))]
    report.add(figure("a start that fails, until its error is raised", values, unit="ms", at_most=500))
    _many(bench, report)
    _killed(bench, report, python)
    _flood(bench, report)
    return report


@contextmanager
def _supervised(bench: Bench, number: int = 1, **keys: object) -> Iterator[extframe.Supervisor]:
    """Yield a supervisor with that many plugins: ``plugin``, ``plugin1``, ``plugin2``..."""
    place = bench.directory / f"supervised{next(_number)}"
    place.mkdir()
    for index in range(number):
        content = "\n".join(f"{key} = {json.dumps(value)}" for key, value in keys.items())
        (place / f"plugin{index or ''}.toml").write_text(content)
    with extframe.Supervisor(place, run_directory=place / "run") as supervisor:
        yield supervisor


def _first_use(bench: Bench, **keys: object) -> float:
    """Return the ms of a whole first use, the start of the supervisor included."""
    place = bench.directory / f"first{next(_number)}"
    place.mkdir()
    (place / "plugin.toml").write_text("\n".join(f"{key} = {json.dumps(value)}" for key, value in keys.items()))
    supervisor = extframe.Supervisor(place, run_directory=place / "run")
    with extframe.PluginManager(supervisor, groups=()) as manager:
        began = perf_counter()
        manager.driver("plugin", VolumeDriver).get("photos")
        return (perf_counter() - began) * 1e3


def _failed_start(bench: Bench) -> float:
    with _supervised(bench, command=["sh", "-c", "echo cannot read config.toml; exit 3"]) as supervisor:
        manager = extframe.PluginManager(supervisor, groups=())
        began = perf_counter()
        with suppress(ExtframeError):
            manager.get("plugin")
        duration = (perf_counter() - began) * 1e3
        exited = supervisor.status("plugin").exit
    if exited is None or exited.status != 3 or exited.last_lines != ("cannot read config.toml",):
        raise RuntimeError(f"the start did not fail as it should: {exited}")
    return duration


def _many(bench: Bench, report: Report) -> None:
    number = 3 if bench.short else 100
    names = [f"plugin{index or ''}" for index in range(number)]
    began = perf_counter()
    with _supervised(bench, number, command=["sleep", "600"], start="always") as supervisor:
        while not all(supervisor.status(name).pid for name in names):
            time.sleep(0.005)
        report.add(figure("100 plugins, until all are started", [perf_counter() - began], unit="s", at_most=2))
        began = perf_counter()
    report.add(figure("100 plugins, until all have ended", [perf_counter() - began], unit="s", at_most=1))


def _killed(bench: Bench, report: Report, python: list[str]) -> None:
    durations: list[float] = []
    errors: list[Exception] = []
    done = threading.Event()
    with _supervised(bench, command=python) as supervisor:
        driver = extframe.PluginManager(supervisor, groups=()).driver("plugin", VolumeDriver)

        def call() -> None:
            while not done.is_set():
                began = perf_counter()
                try:
                    driver.get("photos")
                except ExtframeError as error:
                    errors.append(error)
                durations.append((perf_counter() - began) * 1e3)

        callers = [threading.Thread(target=call) for _ in range(2)]
        for caller in callers:
            caller.start()
        for _ in range(bench.several(20)):
            time.sleep(0.5)
            status = supervisor.status("plugin")
            if status.pid is not None and status.state is ProcessState.RUNNING:
                os.kill(status.pid, signal.SIGKILL)
        done.set()
        for caller in callers:
            caller.join()
    report.add(
        figure("errors of idempotent calls while kill -9 comes every 0.5 s", [len(errors)], unit="errors", at_most=0),
        figure("the longest of these calls, of a Python plugin", [max(durations)], unit="ms"),
    )
    report.notes.append(f"{len(durations):,} calls were made while the plugin was killed every 0.5 s.")


def _flood(bench: Bench, report: Report) -> None:
    lines = 10_000 if bench.short else 1_000_000
    flood = f"{shutil.which('yes')} 'a line of output' | head -n {lines}"
    with _supervised(bench, command=["sh", "-c", flood], restart="never") as supervisor:
        supervisor.status("plugin")
        began, used = perf_counter(), time.process_time()
        supervisor.start("plugin")
        while supervisor.status("plugin").exit is None:
            time.sleep(0.02)
        share = (time.process_time() - used) / (perf_counter() - began)
    report.add(figure("cores of the host while a plugin writes a million lines", [share], unit="", at_most=0.3))
