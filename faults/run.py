"""Put extframe through faults one after another, and then moby's client, which mostly waits, through many at a time."""

from __future__ import annotations

import threading
import traceback
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

from fault import Fault, Seen
from scene import Scene

LIMIT = 240.0  # seconds after which a fault has hung the program
AT_A_TIME = 16
FAILED = "the row itself failed"

Row = dict[str, Any]


def run(
    faults: Sequence[Fault], short: bool, slack: float, moby: Path | None, show: Callable[[str, Row], None]
) -> list[Row]:
    """Return a row for each fault: what it is, what was expected and what was seen.

    Args:
        faults: in the order of the rows.
        short: fewer of everything of which there are many.
        slack: seconds that are granted beyond the time that was expected.
        moby: the program with moby's client, where there is one.
        show: told of each row, by "extframe" or "moby", when it is there.
    """
    rows = []
    for fault in faults:
        rows.append(_row(fault, slack, _within_limit(fault.provoke, Scene(short=short))))
        show("extframe", rows[-1])
    with ThreadPoolExecutor(AT_A_TIME) as pool:
        for fault, row in zip(faults, rows, strict=True):
            if moby is not None and fault.moby is not None:
                pool.submit(_add_moby, row, fault.moby, Scene(short=short, moby=moby), show)
    return rows


def _add_moby(row: Row, provoke: Callable[[Scene], Seen], scene: Scene, show: Callable[[str, Row], None]) -> None:
    seen = _seen(provoke, scene)
    row["moby"] = _as_json(seen)
    row["as_expected"] &= not seen.words.startswith(FAILED)
    show("moby", row)


def _row(fault: Fault, slack: float, seen: Seen) -> Row:
    return {
        "fault": fault.name,
        "expected": fault.expected,
        "bounds": fault.bounds,
        **_as_json(seen),
        "as_expected": fault.is_as_expected(seen, slack),
        "moby": None,
    }


def _as_json(seen: Seen) -> Row:
    return {"seen": seen.words, "seconds": round(seen.seconds, 4), "detail": seen.detail}


def _seen(provoke: Callable[[Scene], Seen], scene: Scene) -> Seen:
    """Return what was seen. A row that itself fails is no reason to stop the others."""
    try:
        with scene:
            return provoke(scene)
    except Exception:  # noqa: BLE001
        traceback.print_exc()
        return Seen(f"{FAILED}: {traceback.format_exc().splitlines()[-1]}", 0.0)


def _within_limit(provoke: Callable[[Scene], Seen], scene: Scene) -> Seen:
    """Return what was seen; where it hangs, say so and leave it behind."""
    result: list[Seen] = []
    thread = threading.Thread(target=lambda: result.append(_seen(provoke, scene)), name="fault", daemon=True)
    thread.start()
    thread.join(LIMIT)
    return result[0] if result else Seen(f"no end within {LIMIT:g} s", LIMIT)
