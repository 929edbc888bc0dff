"""Write tables, JSON and YAML to stdout, and messages to stderr. Knows nothing about plugins.

Control characters in text from plugins and in file names are escaped, so that they cannot move the cursor, change
colours or imitate output of this command.
"""

from __future__ import annotations

import contextlib
import errno
import os
import re
import select
import sys
from collections.abc import Collection, Iterator, Mapping, Sequence
from typing import Any, TextIO

import click

from ..errors import ExtframeError
from ..text import printable as printable

REASON_WIDTH = 100  # characters of a reason in a table; JSON has the full text
_STYLES = {"active": "green", "loaded": "green", "failed": "red", "blocked": "yellow", "lost": "yellow"}
_STYLES |= {"ok": "green", "warning": "yellow", "problem": "red"}
_STYLES |= {"pass": "green", "note": "cyan", "warn": "yellow", "fail": "red"}

Cells = Sequence[str]


def shortened(reason: str) -> str:
    """Return a reason on one line, truncated for a table."""
    reason = " ".join(reason.split())
    return reason if len(reason) <= REASON_WIDTH else reason[: REASON_WIDTH - 3].rstrip() + "..."


# --- stderr -------------------------------------------------------------------------------------------


def note(message: str) -> None:
    """Write a message to stderr, on one line."""
    _write_message(f"extframe: {printable(message)}")


def hint(text: str, command: str = "") -> None:
    """Write a hint to stderr, with the command to paste on a line of its own."""
    _write_message(f"hint: {text}:\n  {command}" if command else f"hint: {text}")


def _write_message(text: str) -> None:
    try:
        click.echo(text, err=True)
    except BrokenPipeError:  # it has no reader; the exit code says the same
        discard_output(sys.stderr)


# --- stdout -------------------------------------------------------------------------------------------


def write_data(value: Any, output: str) -> None:
    """Write a value as ``json`` or ``yaml``."""
    if output == "yaml":
        from .yaml_text import as_yaml

        _write(as_yaml(value).rstrip("\n").encode(_encoding(), "backslashreplace").decode(_encoding()))
    else:
        write_json(value)


def write_json(value: Any) -> None:
    """Write a value as indented JSON, with unprintable characters escaped."""
    import json

    text = json.dumps(value, indent=2, ensure_ascii=not _encoding().lower().startswith("utf"))
    _write(re.sub(r"[^\n -~]", lambda found: _json_escape(found[0], json.dumps), text))


def _json_escape(character: str, dumps: Any) -> str:
    return character if character.isprintable() else dumps(character)[1:-1]


def _encoding() -> str:
    return getattr(sys.stdout, "encoding", None) or "utf-8"


def write_json_line(value: Any) -> None:
    """Write a value as one line of ASCII JSON."""
    import json

    _write(json.dumps(value))


def write_line(cells: Cells, widths: Sequence[int]) -> None:
    """Write a single row. ``widths`` are the widths of all cells but the last."""
    line = [_escaped(cell) for cell in cells]
    line[:-1] = [cell.ljust(width) + "  " for cell, width in zip(line[:-1], widths, strict=True)]
    if _uses_colours():
        _write_coloured([line], titles=())
    else:
        _write("".join(line))


def write_text(text: str) -> None:
    """Write several lines of this command's own."""
    _write(text.rstrip("\n"))


def write_styled(lines: Sequence[tuple[str, str]]) -> None:
    """Write lines, each with its colour on a terminal; "" for none."""
    coloured = _uses_colours() and os.environ.get("TERM") != "dumb"
    shown = ((_escaped(line, ""), colour) for line, colour in lines)
    _write("\n".join(click.style(line, fg=colour) if coloured and colour else line for line, colour in shown))


def can_encode(text: str) -> bool:
    """Return whether stdout has all characters of a text."""
    try:
        text.encode(_encoding())
    except UnicodeEncodeError:
        return False
    return True


def write_text_line(line: bytes) -> None:
    """Write a line of a file that others wrote."""
    _write(_escaped(line.decode("utf-8", "backslashreplace"), ""))


class LinePrefix:
    """Writes lines of several programs, each after the name of its program, in colours that tell them apart."""

    COLOURS = ("cyan", "yellow", "green", "magenta", "blue", "bright_cyan", "bright_yellow", "bright_green")

    def __init__(self) -> None:
        self._width = 0
        self._colours: dict[str, str] = {}

    def widen(self, names: Sequence[str]) -> None:
        """Make room for names."""
        self._width = max([self._width, *(len(_escaped(name)) for name in names)])

    def write(self, name: str, line: str) -> None:
        """Write a line."""
        prefix = f"{_escaped(name).ljust(self._width)} | "
        if _uses_colours():
            colour = self._colours.setdefault(name, self.COLOURS[len(self._colours) % len(self.COLOURS)])
            prefix = click.style(prefix, fg=colour)
        _write(prefix + _escaped(line, ""))


def write_table(header: Cells, rows: Sequence[Cells]) -> None:
    """Write rows below a header. Lines are never wrapped or truncated, so that they can be searched and copied from."""
    lines = _aligned([header, *([_escaped(cell) for cell in row] for row in rows)])
    if _uses_colours():
        _write_coloured(lines)
    else:
        _write("\n".join(map("".join, lines)))


def write_properties(properties: Mapping[str, str]) -> None:
    """Write names and values, one pair per line."""
    _write("\n".join(map("".join, _aligned([(name, _escaped(value)) for name, value in properties.items()]))))


def write_groups(groups: Mapping[str, Sequence[Cells]]) -> None:
    """Write the rows of each group below its title, with an empty line between groups."""
    lines: list[Cells] = []
    titles: list[int] = []
    for title, rows in groups.items():
        lines += [[""]] if lines else []
        titles.append(len(lines))
        lines.append([title])
        lines += [["  ", *row] for row in _aligned([[_escaped(cell, "") for cell in row] for row in rows])]
    if _uses_colours():
        _write_coloured(lines, titles)
    else:
        _write("\n".join("".join(line).rstrip() for line in lines))


def _escaped(cell: str, empty: str = "-") -> str:
    """Return a cell with only characters that print and that stdout can encode."""
    return printable(cell).encode(_encoding(), "backslashreplace").decode(_encoding()) or empty


def _aligned(rows: Sequence[Cells]) -> list[list[str]]:
    """Pad all cells but the last of each row to the width of their column."""
    widths = [max(map(len, column)) + 2 for column in zip(*rows, strict=True)]
    return [[*map(str.ljust, row[:-1], widths), row[-1]] for row in rows]


def _uses_colours() -> bool:
    return sys.stdout is not None and sys.stdout.isatty() and not os.environ.get("NO_COLOR")


def _write_coloured(lines: Sequence[Cells], titles: Collection[int] = (0,)) -> None:
    """Write lines with colours: those with an index in ``titles`` in bold, the cells of the others by their text."""
    from rich.console import Console
    from rich.text import Text

    console = Console(highlight=False)
    for number, line in enumerate(lines):
        if number in titles:
            console.print(Text("".join(line), style="bold"), soft_wrap=True)
            continue
        cells = ((cell, _STYLES.get(cell.strip(), "")) for cell in line)
        console.print(Text.assemble(*cells), soft_wrap=True)


def terminal_width() -> int | None:
    """Return the number of columns if stdout is a terminal, else None."""
    if sys.stdout is None or not sys.stdout.isatty():
        return None
    columns = os.environ.get("COLUMNS", "")
    with contextlib.suppress(OSError, ValueError):
        return int(columns) if columns.isdigit() else os.get_terminal_size(sys.stdout.fileno()).columns or 80
    return 80


def check_reader() -> None:
    """Check that stdout still has a reader.

    Raises:
        BrokenPipeError: it is a pipe whose reader has closed it.
    """
    if not hasattr(select, "poll"):  # Windows: the next write says so
        return
    reader = select.poll()
    with contextlib.suppress(AttributeError, OSError, ValueError):  # stdout is None or has no descriptor
        reader.register(sys.stdout.fileno(), 0)
    if any(event & (select.POLLERR | select.POLLHUP) for _, event in reader.poll(0)):
        raise BrokenPipeError(errno.EPIPE, os.strerror(errno.EPIPE))


def _write(text: str) -> None:
    try:
        click.echo(text)
    except BrokenPipeError:  # not a failure: the caller, or the program, ends
        raise
    except OSError as full:
        discard_output()
        raise ExtframeError(f"cannot write to standard output: {full.strerror}") from full


@contextlib.contextmanager
def reader_optional() -> Iterator[None]:
    """Go on if stdout has no reader any more: the exit code of the command counts without one, too."""
    try:
        yield
    except BrokenPipeError:
        discard_output()


def discard_output(stream: TextIO | None = None) -> None:
    """Discard buffered output, which Python would otherwise flush at exit, and fail again, with exit code 120.

    Args:
        stream: stdout by default.
    """
    with contextlib.suppress(OSError, ValueError):  # ValueError: it has no descriptor
        null = os.open(os.devnull, os.O_WRONLY)
        os.dup2(null, (sys.stdout if stream is None else stream).fileno())
        os.close(null)
