"""``extframe handlers``: list the installed handler packages. Opens no connection."""

from __future__ import annotations

import contextlib
import sys
from collections.abc import Sequence
from dataclasses import asdict

import click

from .installed_handlers import InstalledHandler, installed_handlers, load_deferred
from .options import output_option, verbose_option
from .output import shortened, write_data, write_table

EPILOG = """\b
Examples:
  extframe handlers
  extframe handlers --verbose -o json
  EXTFRAME_BLOCK=backup extframe handlers
"""


@click.command(epilog=EPILOG)
@output_option
@verbose_option
def handlers(output: str) -> None:
    """List the installed handlers.

    Shows the handlers that packages in this Python environment provide: package, version, state, the seconds that the
    import took, hooks, and why a handler failed to load. They are loaded as a host loads them, all at once.
    """
    from ..handlers.entry_points import GROUP
    from ..host.manager import PluginManager

    # Keep what packages print during import out of the output.
    with contextlib.redirect_stdout(sys.stderr), PluginManager(groups=(GROUP,)) as manager:
        load_deferred(manager)
        found = list(installed_handlers(manager))
    if output == "table":
        _write_table(found)
    else:
        write_data([asdict(handler) for handler in found], output)


def _write_table(found: Sequence[InstalledHandler]) -> None:
    header = ["NAME", "PACKAGE", "VERSION", "STATE", "SECONDS", "HOOKS"]
    rows = [
        [
            each.name,
            each.package or "",
            each.version or "",
            each.state,
            "" if each.seconds is None else f"{each.seconds:.3f}",
            ", ".join(each.hooks),
        ]
        for each in found
    ]
    if any(each.reason for each in found):
        header.append("REASON")
        rows = [[*row, shortened(each.reason or "")] for row, each in zip(rows, found, strict=True)]
    write_table(header, rows)
