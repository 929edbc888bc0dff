"""Plugins that the host starts, again and again: hosts that are killed, starts and stops, crashes, environments.

``--long`` repeats everything as often as the targets say, which takes minutes.
"""

from __future__ import annotations

import importlib
import json
import os
import random
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from time import monotonic, perf_counter
from typing import Any

from bench import HERE, Bench, Report
from measure import figure

import extframe
from extframe import VolumeDriver

# Each plugin, and a child of it, writes its process id before it sleeps.
SHELL = "echo $$ >> {pids}; sh -c 'echo $$ >> {pids}; exec sleep 600' & echo $! >> {pids}; exec sleep 600"
HOST = """
import os, signal, sys, time, extframe
directory, pids, delay = sys.argv[1:]
supervisor = extframe.Supervisor(directory, run_directory=directory + "/run")
supervisor.scan()
print(supervisor._running._launcher.pid if supervisor._running._launcher else 0, flush=True)
supervisor.start("plugin")
if float(delay) < 0:
    while not os.path.exists(pids):
        time.sleep(0.001)
    delay = -float(delay)
time.sleep(float(delay))
os.kill(os.getpid(), signal.SIGKILL)
"""
PLUGIN = """
import extframe

class Volumes(extframe.VolumeDriver):
    def get(self, name):
        return extframe.Volume(name=name)

if __name__ == "__main__":
    extframe.serve(Volumes(), name="plugin")
"""


def run(bench: Bench) -> Report:
    """Run the suite."""
    report = Report()
    _killed_hosts(bench, report)
    _cycles(bench, report)
    _crash_loop(bench, report)
    _calls(bench, report)
    if not bench.short:
        _environments(bench, report)
    return report


@contextmanager
def _supervised(place: Path, **plugins: dict[str, object]) -> Iterator[extframe.Supervisor]:
    place.mkdir()
    for name, keys in plugins.items():
        _write(place / f"{name}.toml", **keys)
    with extframe.Supervisor(place, run_directory=place / "run") as supervisor:
        yield supervisor


def _write(path: Path, **keys: object) -> None:
    path.write_text("\n".join(f"{key} = {json.dumps(value)}" for key, value in keys.items()))


# --- hosts that are killed ------------------------------------------------------------------------------


def _killed_hosts(bench: Bench, report: Report) -> None:
    """Kill hosts: every other one within 5 ms of the request to start a plugin, the others within 5 ms of its start."""
    number = 3 if bench.short else 100 if bench.long else 20
    left: list[int] = []
    for index in range(number):
        place = bench.directory / f"killed{index}"
        place.mkdir()
        pids = place / "pids"
        _write(place / "plugin.toml", command=["sh", "-c", SHELL.format(pids=pids)])
        delay = random.random() * 0.005
        command = [sys.executable, "-c", HOST, str(place), str(pids), str(-delay if index % 2 else delay)]
        ended = subprocess.run(command, stdout=subprocess.PIPE, text=True, check=False)
        deadline = monotonic() + 1.0
        while monotonic() < deadline and _alive(pids, ended.stdout):
            time.sleep(0.01)
        left += _alive(pids, ended.stdout)
    report.add(figure(f"processes 1 s after kill -9 of their host, of {number} hosts", [len(left)], unit="", at_most=0))


def _alive(pids: Path, launcher: str) -> list[int]:
    found = pids.read_text().split() if pids.exists() else []
    return [pid for pid in map(int, [*found, *launcher.split()]) if pid and _runs(pid)]


def _runs(pid: int) -> bool:
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] not in ("Z", "X")
    except OSError:
        return False


# --- cycles ---------------------------------------------------------------------------------------------


def _cycles(bench: Bench, report: Report) -> None:
    number = 5 if bench.short else 1000 if bench.long else 100
    with _supervised(bench.directory / "cycles", plugin={"command": ["sleep", "600"]}) as supervisor:
        supervisor.start("plugin")
        supervisor.stop("plugin")
        before = _resources(supervisor)
        began = perf_counter()
        for _ in range(number):
            supervisor.start("plugin")
            supervisor.stop("plugin")
        duration = (perf_counter() - began) / number * 1e3
        deadline = monotonic() + 1.0
        while (after := _resources(supervisor)) != before and monotonic() < deadline:
            time.sleep(0.01)
    left = sum(max(0, now - earlier) for now, earlier in zip(after, before, strict=True))
    report.add(
        figure(f"descriptors, processes and files left by {number:,} starts and stops", [left], unit="", at_most=0),
        figure("a start and a stop of a plugin", [duration], unit="ms"),
    )


def _resources(supervisor: extframe.Supervisor) -> tuple[int, ...]:
    """Return how many descriptors, children and files there are: of this process, and of the launcher."""
    running = supervisor._running
    launcher = running._launcher.pid if running is not None and running._launcher is not None else 0
    counts: list[int] = []
    for pid in (os.getpid(), launcher):
        counts.append(len(os.listdir(f"/proc/{pid}/fd")))
        counts.append(len(Path(f"/proc/{pid}/task/{pid}/children").read_text().split()))
    files = sum(len(names) for _, _, names in os.walk(Path(supervisor.run_directory)))
    return (*counts, files)


# --- a crash loop ---------------------------------------------------------------------------------------


def _crash_loop(bench: Bench, report: Report) -> None:
    """Count the starts of a plugin that crashes, and compare the calls to another with and without it."""
    seconds = 1.0 if bench.short else 60.0 if bench.long else 10.0
    crashing = {"command": ["sh", "-c", "exit 1"], "start": "always", "give_up": "1000 in 600s"}
    good = {"command": [sys.executable, "-c", PLUGIN]}
    with _supervised(bench.directory / "alone", good=good) as supervisor:
        alone = _p99(supervisor, seconds / 2)
    with _supervised(bench.directory / "crashes", good=good, crashing=crashing) as supervisor:
        together = _p99(supervisor, seconds)
        starts = supervisor.status("crashing").restarts + 1
    report.add(
        figure(f"starts of a plugin that crashes, in {seconds:g} s", [starts], unit="", at_most=10),
        figure("p99 of calls to another plugin meanwhile", [together / alone], base=f"without: {alone / 1e3:,.0f} us"),
    )


def _p99(supervisor: extframe.Supervisor, seconds: float) -> float:
    with extframe.PluginManager(_Borrowed(supervisor), groups=()) as manager:
        driver = manager.driver("good", VolumeDriver)
        times: list[int] = []
        deadline = monotonic() + seconds
        while monotonic() < deadline:
            began = time.perf_counter_ns()
            driver.get("photos")
            times.append(time.perf_counter_ns() - began)
            time.sleep(0.001)
    return float(sorted(times)[len(times) * 99 // 100])


class _Borrowed:
    """A supervisor that the manager does not close."""

    def __init__(self, supervisor: extframe.Supervisor) -> None:
        self.scan, self.find, self.stamp = supervisor.scan, supervisor.find, supervisor.stamp


# --- calls ----------------------------------------------------------------------------------------------


def _calls(bench: Bench, report: Report) -> None:
    """Compare a call to a plugin with a call of the same method in this process."""
    namespace: dict[str, Any] = {"__name__": "plugin"}
    exec(PLUGIN, namespace)
    inside = namespace["Volumes"]()
    number = 20 if bench.short else 2000
    script = bench.directory / "called.py"
    script.write_text(PLUGIN)
    with _supervised(bench.directory / "called", plugin={"command": [sys.executable, str(script)]}) as supervisor:
        driver = extframe.PluginManager(supervisor, groups=()).driver("plugin", VolumeDriver)
        outside = _median(lambda: driver.get("photos"), number)
    report.add(
        figure("a call to a Python plugin that the host started", [outside], unit="us"),
        figure("the same method, called in this process", [_median(lambda: inside.get("photos"), number)], unit="us"),
    )


def _median(function: Any, number: int) -> float:
    times = []
    for _ in range(number):
        began = time.perf_counter_ns()
        function()
        times.append(time.perf_counter_ns() - began)
    return sorted(times)[number // 2] / 1e3


# --- environments ---------------------------------------------------------------------------------------


def _environments(bench: Bench, report: Report) -> None:
    """Install two plugins that need different versions of one library, and see what the second one adds."""
    sys.path.append(str(HERE.parent / "tests"))
    house = importlib.import_module("wheelhouse")
    wheels = house.write_wheelhouse(bench.directory / "wheels")
    place = bench.directory / "environments"
    for name, version in (("photos", "1.0"), ("thumbs", "2.0")):
        house.write_wheel(wheels, "acme-library", version, {"acme_library.py": f"VERSION = {version!r}".encode()})
        house.write_plugin(wheels, name, f"acme-library=={version}", library="acme_library")
        command = [sys.executable, "-m", "extframe.cli", "install", name, f"acme-{name}", "--dir", str(place)]
        subprocess.run([*command, "--offline", "--find-links", str(wheels)], check=True, stderr=subprocess.DEVNULL)
    first, second = (_files(place / "environments" / name) for name in ("photos", "thumbs"))
    added = sum(size for file, size in second.items() if file not in first)
    with extframe.PluginManager(extframe.Supervisor(place, run_directory=place / "run"), groups=()) as manager:
        said = [manager.get(name, wait=30).client.call("Greeter.Greet", {"Name": "x"}) for name in ("photos", "thumbs")]
    if not ("library 1.0" in str(said[0]) and "library 2.0" in str(said[1])):
        raise RuntimeError(f"the plugins do not have libraries of their own: {said}")
    report.add(
        figure("a second environment, with another version of one library", [added / 1e6], unit="MB", at_most=5),
        figure("the first environment", [sum(first.values()) / 1e6], unit="MB"),
    )


def _files(directory: Path) -> dict[tuple[int, int], int]:
    """Return the size on disk of each file below a directory, by its identity: links to one file count once."""
    found = [path.lstat() for path in directory.rglob("*")]
    return {(each.st_dev, each.st_ino): each.st_blocks * 512 for each in found}
