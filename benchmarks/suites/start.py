"""Startup: the import, handlers among many distributions, and the command."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Callable, Mapping
from pathlib import Path
from time import perf_counter, perf_counter_ns

from bench import Bench, Report
from measure import Round, alternate, figure, ratio

DISTRIBUTIONS, HANDLERS = 300, 30

EXTFRAME = f"""
import extframe
manager = extframe.PluginManager()
assert len(manager.hook.volume_driver.get_hookimpls()) > {HANDLERS}
"""
STEVEDORE = f"""
import stevedore
assert len(stevedore.ExtensionManager("bench_plain").names()) == {HANDLERS}
"""
PLUGGY = f"""
import pluggy
assert pluggy.PluginManager("extframe").load_setuptools_entrypoints("bench_hook") == {HANDLERS}
"""
PLAIN_MODULE = """
def volume_driver(name, client):
    return None
"""
HOOK_MODULE = """
import pluggy

@pluggy.HookimplMarker("extframe")
def volume_driver(name, client):
    return None
"""


def run(bench: Bench) -> Report:
    """Run the suite."""
    report = Report()
    _import(bench, report)
    _handlers(bench, report)
    _command(bench, report)
    return report


def _import(bench: Bench, report: Report) -> None:
    bare = _process([sys.executable, "-c", "pass"])
    ours = _process([sys.executable, "-c", "import extframe"])
    rounds = alternate({"python": bare, "import extframe": ours}, bench.several(60))
    pairs = zip(rounds["import extframe"], rounds["python"], strict=True)
    report.add(
        figure(
            "import extframe, minus a bare interpreter",
            [(a.median - b.median) / 1e6 for a, b in pairs],
            unit="ms",
            at_most=10,
        ),
        ratio("python -c 'import extframe' / python -c pass", rounds, "import extframe", "python"),
    )


def _handlers(bench: Bench, report: Report) -> None:
    site = bench.directory / "site"
    make_distributions(site)
    caches = bench.directory / "caches"
    number = iter(range(10_000))
    # The second slash matters only to stevedore, which keeps no cache for an interpreter in /tmp.
    python = f"/{sys.executable}"

    def process(code: str, *, cold: bool) -> Callable[[], Round]:
        def contender() -> Round:
            # stevedore caches entry points in the user's cache directory; extframe and pluggy cache nothing.
            cache = caches / (str(next(number)) if cold else "kept")
            variables = {"PYTHONPATH": str(site), "XDG_CACHE_HOME": str(cache)}
            return _process([python, "-c", code], variables)()

        return contender

    for name_of_start, cold in (("cold", True), ("warm", False)):
        codes = {"extframe": EXTFRAME, "pluggy": PLUGGY, "stevedore": STEVEDORE}
        try:
            import stevedore  # noqa: F401
        except ImportError as missing:
            bench.skip("stevedore", missing)
            del codes["stevedore"]
        contenders = {name: process(code, cold=cold) for name, code in codes.items()}
        alternate(contenders, 1)  # writes the bytecode and fills the disk cache
        if "stevedore" in codes and not any(caches.rglob("python-entrypoints/*")):
            bench.skip("stevedore's cache", "it wrote none: its warm start equals its cold start")
        rounds = alternate(contenders, bench.several(25))
        words = f"a manager with {HANDLERS} handlers among {DISTRIBUTIONS} distributions"
        report.add(
            ratio(f"{words} / stevedore, {name_of_start}", rounds, "extframe", "stevedore", at_most=1.0),
            ratio(f"{words} / plain pluggy, {name_of_start}", rounds, "extframe", "pluggy"),
        )


def make_distributions(site: Path, count: int = DISTRIBUTIONS) -> None:
    """Install distributions. Each of the last `HANDLERS` has a handler, and a plain module for stevedore."""
    site.mkdir()
    for index in range(count):
        metadata = site / f"bench_{index:03}-1.0.dist-info"
        metadata.mkdir()
        (metadata / "METADATA").write_text(f"Metadata-Version: 2.1\nName: bench-{index:03}\nVersion: 1.0\n")
        entries = [f"[console_scripts]\nbench-{index:03} = bench:main\n"]
        if index >= count - HANDLERS:
            groups = {"extframe": "hook", "bench_hook": "hook", "bench_plain": "plain"}
            entries += [f"[{group}]\nbench{index:03} = bench_{kind}_{index:03}\n" for group, kind in groups.items()]
            (site / f"bench_plain_{index:03}.py").write_text(PLAIN_MODULE)
            (site / f"bench_hook_{index:03}.py").write_text(HOOK_MODULE)
        (metadata / "entry_points.txt").write_text("\n".join(entries))


def _command(bench: Bench, report: Report) -> None:
    directory = bench.directory / "none"
    directory.mkdir()
    command = [sys.executable, "-m", "extframe.cli", "ls", "--no-contact", "--dir", str(directory)]
    rounds = alternate({"ls": _process(command)}, bench.several(30))
    report.add(
        figure("extframe ls --no-contact, total", [each.median / 1e6 for each in rounds["ls"]], unit="ms", at_most=150)
    )


def _process(command: list[str], variables: Mapping[str, str] | None = None) -> Callable[[], Round]:
    """Return a function that runs a command once, with bytecode files even if this process writes none."""
    environment = {**os.environ, **(variables or {})}
    environment.pop("PYTHONDONTWRITEBYTECODE", None)

    def contender() -> Round:
        started, before = perf_counter(), perf_counter_ns()
        subprocess.run(
            command,
            check=True,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
            env=environment,
            cwd="/",
        )
        return Round([perf_counter_ns() - before], perf_counter() - started)

    return contender
