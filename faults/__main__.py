"""Provoke faults and record how extframe and moby's client handle them: ``python faults [NAME ...]``.

Exits with status 1 if an outcome is not as expected.
"""

from __future__ import annotations

import argparse
import json
import sys
from importlib import import_module
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

CHECKOUT = Path(__file__).parent.parent
sys.path.extend([str(CHECKOUT / "tests"), str(CHECKOUT / "benchmarks")])  # faultserver and others; programs, machine

from fault import Fault
from machine import machine
from programs import MissingError, build
from report import as_line, write_page
from run import run

GROUPS = (
    "deadlines",
    "isolation",
    "repetition",
    "restart",
    "load",
    "discovery",
    "breaker",
    "threads",
    "missing",
    "security",
    "size",
    "fuzz",
    "serve",
)
MOBY = Path(__file__).parent / "go" / "moby" / "main.go"


def main() -> int:
    """Provoke faults; print, record and publish the outcomes."""
    options = _options()
    record = json.loads(options.json.read_text()) if options.json and options.json.exists() else {}
    chosen = [] if options.no_run else [(group, fault) for group in GROUPS for fault in _chosen(group, options.names)]
    with TemporaryDirectory(prefix="moby-") as directory:
        moby, without = _moby(Path(directory), wanted=options.go)
        faults = [fault for _, fault in chosen]
        rows = run(faults, options.short, options.slack, moby, show=_show, before=options.before)
    circumstances = {"machine": machine(), "without_moby": without, "short": options.short}
    for (group, _), row in zip(chosen, rows, strict=True):
        _keep(record, group, row, circumstances)
    if options.json:
        options.json.write_text(json.dumps(record, indent=1) + "\n")
    if options.page:
        write_page([(group, record[group]) for group in GROUPS if group in record], options.page)
    unexpected = sum(not row["as_expected"] for row in rows)
    print(f"{len(rows)} faults, {unexpected} not as expected" + (f"; without moby's client: {without}" * bool(without)))
    return 1 if unexpected else 0


def _options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python faults", description=__doc__.partition(":")[0])
    parser.add_argument(
        "names", nargs="*", metavar="NAME", help=f"of {', '.join(GROUPS)}, or part of a fault's name; default: all"
    )
    parser.add_argument("--short", action="store_true", help="do less of everything")
    parser.add_argument("--no-go", dest="go", action="store_false", help="without moby's client")
    parser.add_argument(
        "--before", metavar="PYTHON", help="attack an earlier version, too: the one that this Python imports"
    )
    parser.add_argument(
        "--slack", type=float, default=0.0, metavar="SECONDS", help="add to every upper bound, for a slow machine"
    )
    parser.add_argument(
        "--json", type=Path, help="update the record in this file; faults that were not provoked keep their rows"
    )
    parser.add_argument("--page", type=Path, help="write the page from the record")
    parser.add_argument("--no-run", action="store_true", help="provoke nothing; write --page from --json")
    options = parser.parse_args()
    unknown = [name for name in options.names if not any(_chosen(group, [name]) for group in GROUPS)]
    if unknown:
        parser.error(f"no fault {', '.join(map(repr, unknown))}; the groups are {', '.join(GROUPS)}")
    return options


def _chosen(group: str, names: list[str]) -> list[Fault]:
    faults: tuple[Fault, ...] = import_module(f"groups.{group}").FAULTS
    if not names or group in names:
        return list(faults)
    parts = [name for name in names if name not in GROUPS]
    return [fault for fault in faults if any(part in fault.name for part in parts)]


def _moby(directory: Path, *, wanted: bool) -> tuple[Path | None, str]:
    """Build moby's client; return its path, or the reason why it is not available."""
    if not wanted:
        return None, "--no-go was given"
    try:
        return build(MOBY, directory / "moby", moby=True), ""
    except MissingError as missing:
        return None, str(missing)


def _show(who: str, row: dict[str, Any]) -> None:
    print(f"{as_line(who, row)}\n", end="", flush=True)  # one write: moby's rows come from many threads


def _keep(record: dict[str, Any], group: str, row: dict[str, Any], circumstances: dict[str, Any]) -> None:
    """Add a row to the record or replace it; the rows keep the order of the group."""
    before = record.get(group, {}).get("rows", [])
    rows = {each["fault"]: each for each in before}
    for other in ("moby", "before"):  # their outcomes are kept if they were not provoked
        if row.get(other) is None and rows.get(row["fault"], {}).get(other) is not None:
            row[other] = rows[row["fault"]][other]
    rows[row["fault"]] = row
    order = [fault.name for fault in _chosen(group, [])]
    if any(each["moby"] for each in rows.values()):
        circumstances = {**circumstances, "without_moby": ""}
    record[group] = {"rows": [rows[name] for name in order if name in rows], **circumstances}


if __name__ == "__main__":
    sys.exit(main())
