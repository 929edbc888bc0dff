"""Provoke faults: for extframe one after another, then for moby's client, which mostly waits, many at a time."""

from __future__ import annotations

import threading
import traceback
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from pathlib import Path
from typing import Any

from fault import Fault
from outcome import Outcome
from scene import Scene

LIMIT = 240.0  # seconds after which a fault counts as a hang
AT_A_TIME = 16
FAILED = "the row itself failed"

Row = dict[str, Any]


def run(
    faults: Sequence[Fault],
    short: bool,
    slack: float,
    moby: Path | None,
    show: Callable[[str, Row], None],
    before: str | None = None,
) -> list[Row]:
    """Return a row for each fault: its expected and its actual outcome.

    Args:
        faults: in the order of the rows.
        short: do less of everything.
        slack: seconds to add to every upper bound.
        moby: the program with moby's client, or None.
        show: called with "extframe" or "moby" and the row as soon as it is complete.
        before: the Python that imports an earlier version of extframe, or None.
    """
    rows = []
    for fault in faults:
        rows.append(_row(fault, slack, _within_limit(fault.provoke, Scene(short=short))))
        show("extframe", rows[-1])
        if before is not None and fault.before is not None:
            rows[-1]["before"] = _as_json(_within_limit(partial(fault.before, python=before), Scene(short=short)))
            show("before", rows[-1])
    with ThreadPoolExecutor(AT_A_TIME) as pool:
        for fault, row in zip(faults, rows, strict=True):
            if moby is not None and fault.moby is not None:
                pool.submit(_add_moby, row, fault.moby, Scene(short=short, moby=moby), show)
    return rows


def _add_moby(row: Row, provoke: Callable[[Scene], Outcome], scene: Scene, show: Callable[[str, Row], None]) -> None:
    outcome = _outcome(provoke, scene)
    row["moby"] = _as_json(outcome)
    row["as_expected"] &= not outcome.text.startswith(FAILED)
    show("moby", row)


def _row(fault: Fault, slack: float, outcome: Outcome) -> Row:
    return {
        "fault": fault.name,
        "expected": fault.expected,
        "bounds": fault.bounds,
        **_as_json(outcome),
        "as_expected": fault.is_as_expected(outcome, slack),
        "moby": None,
    }


def _as_json(outcome: Outcome) -> Row:
    return {"seen": outcome.text, "seconds": round(outcome.seconds, 4), "detail": outcome.detail}


def _outcome(provoke: Callable[[Scene], Outcome], scene: Scene) -> Outcome:
    """Return the outcome. A row that fails does not stop the others."""
    try:
        with scene:
            return provoke(scene)
    except Exception:  # noqa: BLE001
        traceback.print_exc()
        return Outcome(f"{FAILED}: {traceback.format_exc().splitlines()[-1]}", 0.0)


def _within_limit(provoke: Callable[[Scene], Outcome], scene: Scene) -> Outcome:
    """Return the outcome; abandon a fault that hangs and return that as its outcome."""
    result: list[Outcome] = []
    thread = threading.Thread(target=lambda: result.append(_outcome(provoke, scene)), name="fault", daemon=True)
    thread.start()
    thread.join(LIMIT)
    return result[0] if result else Outcome(f"not finished within {LIMIT:g} s", LIMIT)
