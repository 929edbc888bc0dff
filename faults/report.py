"""Format the record: as lines for a terminal, and as a page. Provokes nothing."""

from __future__ import annotations

from collections.abc import Sequence
from importlib import import_module
from pathlib import Path
from typing import Any

from machine import measured_on

NOTES = Path(__file__).parent / "notes.md"
HEAD = """# Faults

How extframe handles faults of plugins, compared with moby's client, which Docker's engine uses. A few lines in
[`faults/groups/`](../faults/groups/) provoke each fault on real sockets and real files and state the expected outcome.
An outcome is as expected if the text matches exactly and the time is within the bounds; any other outcome is in bold,
and the command exits with status 1.

`tox -e faults` generates this page from [`faults/results/record.json`](../faults/results/record.json).
"""
COLUMNS = ["fault", "expected", "extframe", "time"]
OTHERS = {"moby": "moby's client", "before": "earlier version"}


def as_line(who: str, row: dict[str, Any]) -> str:
    """Return one row for a terminal."""
    if who in OTHERS:
        return f"{who:6}{_seconds(row[who]):>8}  {row['fault']}: {row[who]['seen']}{_detail(row[who])}"
    verdict = "ok   " if row["as_expected"] else "FAULT"
    line = f"{verdict} {_seconds(row):>8}  {row['fault']}: {row['seen']}{_detail(row)}"
    return line if row["as_expected"] else f"{line}\n{'':16}expected: {_expected(row)}"


def write_page(groups: Sequence[tuple[str, dict[str, Any]]], page: Path) -> None:
    """Write the page: a table for each group, with the machine, the versions and the date."""
    circumstances = [_circumstances(group) for _, group in groups]
    in_one_run = len(set(circumstances)) == 1
    parts = [HEAD, circumstances[0] if in_one_run else ""]
    for (name, group), text in zip(groups, circumstances, strict=True):
        parts += [f"## {import_module(f'groups.{name}').TITLE}\n", _table(group["rows"]), "" if in_one_run else text]
    page.write_text("\n".join([*filter(None, parts), NOTES.read_text()]))


def _circumstances(group: dict[str, Any]) -> str:
    text = measured_on(group["machine"])
    if group["without_moby"]:
        text += f"\nWithout moby's client: {group['without_moby']}.\n"
    if group["short"]:
        text += "\nA short run, which does less of everything.\n"
    return text


def _table(rows: Sequence[dict[str, Any]]) -> str:
    other = "before" if any(row.get("before") for row in rows) else "moby"
    columns = [*COLUMNS, OTHERS[other], "time"]
    lines = [columns, ["---"] * len(columns), *(_cells(row, row.get(other)) for row in rows)]
    return "\n".join(f"| {' | '.join(cells)} |" for cells in lines) + "\n"


def _cells(row: dict[str, Any], other: dict[str, Any] | None) -> list[str]:
    seen = _plain(row["seen"] + _detail(row))
    return [
        _plain(row["fault"]),
        _plain(_expected(row)),
        seen if row["as_expected"] else f"**{seen}**",
        _seconds(row) if row["as_expected"] else f"**{_seconds(row)}**",
        _plain(other["seen"] + _detail(other)) if other else "",
        _seconds(other) if other else "",
    ]


def _expected(row: dict[str, Any]) -> str:
    return f"{row['expected']}; {row['bounds']}" if row["bounds"] else str(row["expected"])


def _detail(seen: dict[str, Any]) -> str:
    return f" ({seen['detail']})" if seen["detail"] else ""


def _seconds(seen: dict[str, Any]) -> str:
    seconds = float(seen["seconds"])
    return f"{seconds:.1f} s" if seconds >= 10 else f"{seconds:.2f} s" if seconds >= 1 else f"{seconds * 1000:.0f} ms"


def _plain(text: str) -> str:
    """Escape text for a Markdown table."""
    for character in "\\|<>*_":
        text = text.replace(character, f"\\{character}")
    return " ".join(text.split())
