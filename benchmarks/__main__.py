"""Measure extframe beside its peers: ``python benchmarks [SUITE ...]``. Knows the suites by their names.

Every figure is a ratio of two things that were measured in turn in one run. There are no timed tests: a target that
is missed is a line in a table.
"""

from __future__ import annotations

import argparse
import json
from importlib import import_module
from pathlib import Path
from typing import Any

from bench import Bench, Report
from machine import machine
from page import as_text, write_page

SUITES = ("call", "many", "start", "dispatch", "served", "steps")


def main() -> None:
    """Run suites; show, keep and publish what they found."""
    options = _options()
    results = json.loads(options.json.read_text()) if options.json and options.json.exists() else {}
    for suite in options.suites:
        with Bench(short=options.short, go=options.go) as bench:
            report = import_module(f"suites.{suite}").run(bench)
            results[suite] = _result(report, bench)
        print(as_text(suite, results[suite]), flush=True)
    if options.json:
        options.json.write_text(json.dumps(results, indent=1) + "\n")
    if options.page:
        write_page({suite: results[suite] for suite in SUITES if suite in results}, options.page)


def _options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python benchmarks", description=__doc__.partition(":")[0])
    parser.add_argument("suites", nargs="*", metavar="SUITE", help=f"of {', '.join(SUITES)}; all by default")
    parser.add_argument("--short", action="store_true", help="only show that everything runs")
    parser.add_argument("--no-go", dest="go", action="store_false", help="build no Go program")
    parser.add_argument("--json", type=Path, help="keep the results in this file; suites that did not run stay")
    parser.add_argument("--page", type=Path, help="write the page about the results, and its plots")
    parser.add_argument("--no-run", action="store_true", help="run nothing; --page shows what --json has")
    options = parser.parse_args()
    unknown = set(options.suites) - set(SUITES)
    if unknown:
        parser.error(f"no suite {', '.join(sorted(unknown))}; there are {', '.join(SUITES)}")
    options.suites = [] if options.no_run else options.suites or list(SUITES)
    return options


def _result(report: Report, bench: Bench) -> dict[str, Any]:
    return {
        "machine": machine(),
        "figures": [figure.as_json() for figure in report.figures],
        "plots": report.plots,
        "steps": report.steps,
        "notes": report.notes,
        "skipped": bench.skipped,
    }


if __name__ == "__main__":
    main()
