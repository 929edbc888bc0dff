"""Measure extframe and its peers: ``python benchmarks [SUITE ...]``.

Every figure is a ratio of two contenders whose rounds alternate in one run. No test asserts a time: a missed target
is a line in a table.
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

SUITES = ("call", "asynchronous", "many", "start", "dispatch", "decode", "served", "supervised", "endurance", "steps")


def main() -> None:
    """Run suites; print, record and publish the results."""
    options = _options()
    results = json.loads(options.json.read_text()) if options.json and options.json.exists() else {}
    for suite in options.suites:
        with Bench(short=options.short, go=options.go, long=options.long) as bench:
            report = import_module(f"suites.{suite}").run(bench)
            results[suite] = _result(report, bench)
        print(as_text(suite, results[suite]), flush=True)
    if options.json:
        options.json.write_text(json.dumps(results, indent=1) + "\n")
    if options.page:
        write_page({suite: results[suite] for suite in SUITES if suite in results}, options.page)


def _options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python benchmarks", description=__doc__.partition(":")[0])
    parser.add_argument("suites", nargs="*", metavar="SUITE", help=f"of {', '.join(SUITES)}; default: all")
    parser.add_argument("--short", action="store_true", help="only check that everything runs")
    parser.add_argument("--long", action="store_true", help="repeat as often as the targets say, for minutes")
    parser.add_argument("--no-go", dest="go", action="store_false", help="do not build Go programs")
    parser.add_argument("--json", type=Path, help="update these results; suites that did not run keep theirs")
    parser.add_argument("--page", type=Path, help="write the page and its plots from the results")
    parser.add_argument("--no-run", action="store_true", help="measure nothing; write --page from --json")
    options = parser.parse_args()
    unknown = set(options.suites) - set(SUITES)
    if unknown:
        parser.error(f"no suite {', '.join(sorted(unknown))}; the suites are {', '.join(SUITES)}")
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
