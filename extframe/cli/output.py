"""Write tables, JSON and messages: data to stdout, all else to stderr. Knows no plugins.

What plugins and file names say goes to a terminal with its control characters written out, so that nobody's
words move the cursor, change colours or pass for ours.
"""

from __future__ import annotations

import contextlib
import errno
import os
import re
import select
import sys
from collections.abc import Collection, Mapping, Sequence
from typing import Any

import click

from ..errors import ExtframeError
from ..text import printable as printable

REASON_WIDTH = 100  # characters of a reason that a table shows; JSON has all of it
_STYLES = {"active": "green", "loaded": "green", "failed": "red", "blocked": "yellow", "lost": "yellow"}
_STYLES |= {"ok": "green", "warning": "yellow", "problem": "red"}
_STYLES |= {"pass": "green", "warn": "yellow", "fail": "red"}

Cells = Sequence[str]


def shortened(reason: str) -> str:
    """Return a reason as a table shows it."""
    reason = " ".join(reason.split())
    return reason if len(reason) <= REASON_WIDTH else reason[: REASON_WIDTH - 3].rstrip() + "..."


# --- stderr -------------------------------------------------------------------------------------------


def note(message: str) -> None:
    """Tell the user something that is not data: one line on stderr."""
    click.echo(f"extframe: {printable(message)}", err=True)


def suggest(hint: str) -> None:
    """Tell the user what may help."""
    click.echo(f"hint: {hint}", err=True)


# --- stdout -------------------------------------------------------------------------------------------


def write_json(value: Any) -> None:
    """Write a value as indented JSON; characters that do not print are escaped, as JSON allows."""
    import json

    text = json.dumps(value, indent=2, ensure_ascii=not _encoding().lower().startswith("utf"))
    _write(re.sub(r"[^\n -~]", lambda found: _json_escape(found[0], json.dumps), text))


def _json_escape(character: str, dumps: Any) -> str:
    return character if character.isprintable() else dumps(character)[1:-1]


def _encoding() -> str:
    return getattr(sys.stdout, "encoding", None) or "utf-8"


def write_json_line(value: Any) -> None:
    """Write a value as JSON on one line, in ASCII."""
    import json

    _write(json.dumps(value))


def write_line(cells: Cells, widths: Sequence[int]) -> None:
    """Write one row that has come by itself; ``widths`` are those of all cells but the last."""
    line = [_shown(cell) for cell in cells]
    line[:-1] = [cell.ljust(width) + "  " for cell, width in zip(line[:-1], widths, strict=True)]
    if _has_colours():
        _write_coloured([line], titles=())
    else:
        _write("".join(line))


def write_table(header: Cells, rows: Sequence[Cells]) -> None:
    """Write rows below a header, each on one line as long as its cells: lines can be searched, and paths copied."""
    lines = _aligned([header, *([_shown(cell) for cell in row] for row in rows)])
    if _has_colours():
        _write_coloured(lines)
    else:
        _write("\n".join(map("".join, lines)))


def write_properties(properties: Mapping[str, str]) -> None:
    """Write names and values, one pair a line."""
    _write("\n".join(map("".join, _aligned([(name, _shown(value)) for name, value in properties.items()]))))


def write_groups(groups: Mapping[str, Sequence[Cells]]) -> None:
    """Write rows below the title of each group, one a line, with an empty line between the groups."""
    lines: list[Cells] = []
    titles: list[int] = []
    for title, rows in groups.items():
        lines += [[""]] if lines else []
        titles.append(len(lines))
        lines.append([title])
        lines += [["  ", *row] for row in _aligned([[_shown(cell, "") for cell in row] for row in rows])]
    if _has_colours():
        _write_coloured(lines, titles)
    else:
        _write("\n".join("".join(line).rstrip() for line in lines))


def _shown(cell: str, nothing: str = "-") -> str:
    """Return a cell in what stdout can take."""
    return printable(cell).encode(_encoding(), "backslashreplace").decode(_encoding()) or nothing


def _aligned(rows: Sequence[Cells]) -> list[list[str]]:
    """Return the rows with their cells filled up to the width of the column, but for the last."""
    widths = [max(map(len, column)) + 2 for column in zip(*rows, strict=True)]
    return [[*map(str.ljust, row[:-1], widths), row[-1]] for row in rows]


def _has_colours() -> bool:
    return sys.stdout is not None and sys.stdout.isatty() and not os.environ.get("NO_COLOR")


def _write_coloured(lines: Sequence[Cells], titles: Collection[int] = (0,)) -> None:
    """Write lines for a terminal: those at the places of ``titles`` bold, in the others each cell in its own style."""
    from rich.console import Console
    from rich.text import Text

    console = Console(highlight=False)
    for number, line in enumerate(lines):
        if number in titles:
            console.print(Text("".join(line), style="bold"), soft_wrap=True)
            continue
        cells = ((cell, _STYLES.get(cell.strip(), "")) for cell in line)
        console.print(Text.assemble(*cells), soft_wrap=True)


def check_reader() -> None:
    """Do nothing while somebody may read what is written to stdout.

    Raises:
        BrokenPipeError: nobody does any more.
    """
    reader = select.poll()
    with contextlib.suppress(AttributeError, OSError, ValueError):  # a stream without a descriptor, or none at all
        reader.register(sys.stdout.fileno(), 0)
    if any(event & (select.POLLERR | select.POLLHUP) for _, event in reader.poll(0)):
        raise BrokenPipeError(errno.EPIPE, os.strerror(errno.EPIPE))


def _write(text: str) -> None:
    try:
        click.echo(text)
    except BrokenPipeError:  # click's to handle: whoever read has had enough
        raise
    except OSError as full:
        _drop_output()
        raise ExtframeError(f"cannot write to standard output: {full.strerror}") from full


def _drop_output() -> None:
    """Let what is left in the buffer go nowhere: Python would try it again at its end, and complain in other words."""
    with contextlib.suppress(OSError, ValueError):  # ValueError: a stream without a descriptor
        nowhere = os.open(os.devnull, os.O_WRONLY)
        os.dup2(nowhere, sys.stdout.fileno())
        os.close(nowhere)
