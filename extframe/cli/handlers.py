"""``extframe handlers``: the installed handler packages. Contacts no plugin."""

from __future__ import annotations

import contextlib
import sys
from collections.abc import Iterator
from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING

import click

from .options import output_option, verbose_option
from .output import shortened, write_json, write_table

if TYPE_CHECKING:
    from ..handlers.entry_points import EntryPoint
    from ..host.manager import PluginManager

GROUP = "extframe"  # of entry points: what a PluginManager loads unless it is told otherwise

EPILOG = """\b
Examples:
  extframe handlers
  extframe handlers --verbose -o json
  EXTFRAME_DISABLE=backup extframe handlers
"""


@dataclass(frozen=True)
class Row:
    """One entry point. Its state is loaded, failed, or blocked by EXTFRAME_DISABLE."""

    name: str
    package: str | None
    version: str | None
    state: str
    hooks: list[str]
    reason: str | None = None


@click.command(epilog=EPILOG)
@output_option
@verbose_option
def handlers(output: str) -> None:
    """List the installed handlers.

    What packages offer in this Python environment: their versions, their hooks, and what failed. They are loaded
    as a host loads them.
    """
    from ..host.manager import PluginManager

    # What a package prints while it is imported is not our data.
    with contextlib.redirect_stdout(sys.stderr), PluginManager(groups=(GROUP,)) as manager:
        rows = list(_rows(manager))
    if output == "json":
        write_json([asdict(row) for row in rows])
    else:
        _write_table(rows)


def _rows(manager: PluginManager) -> Iterator[Row]:
    from ..handlers.entry_points import entry_points
    from ..text import text_of

    failed = {(failure.what, failure.distribution, failure.version): failure for failure in manager.failures()}
    for offer in entry_points((GROUP,)):
        package, version = offer.origin
        failure = failed.get((subject(offer), package, version))
        handler = manager.get_plugin(offer.name) if failure is None else None
        hooks = [caller.name for caller in manager.get_hookcallers(handler) or ()] if handler is not None else []
        if failure is not None:
            reason = f"{type(failure.exception).__name__}: {text_of(failure.exception)}"
            yield Row(offer.name, package, version, "failed", hooks, reason)
        else:
            state = "blocked" if manager.is_blocked(offer.name) else "loaded"
            yield Row(offer.name, package, version, state, sorted(hooks))


def subject(offer: EntryPoint) -> str:
    """Return what the manager calls an entry point that failed."""
    return offer.failure(LookupError()).what


def _write_table(rows: list[Row]) -> None:
    header = ["NAME", "PACKAGE", "VERSION", "STATE", "HOOKS"]
    cells = [[row.name, row.package or "", row.version or "", row.state, ", ".join(row.hooks)] for row in rows]
    if any(row.reason for row in rows):
        header.append("REASON")
        cells = [[*line, shortened(row.reason or "")] for line, row in zip(cells, rows, strict=True)]
    write_table(header, cells)
