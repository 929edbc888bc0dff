"""``extframe graph``: draw the plugins and handlers of this machine. Makes no call but the handshake."""

from __future__ import annotations

import contextlib
import os
import sys
from typing import TYPE_CHECKING

import click

from .discovery import activate_all
from .exit_codes import ExitCode
from .found_plugins import FoundPlugins, find_plugins
from .location import Location
from .options import engine_option, registry_options, timeout_option, verbose_option
from .output import can_encode, note, printable, terminal_width, write_json, write_styled, write_text
from .progress import progress_line

if TYPE_CHECKING:
    from .graphs.model import Graph
    from .installed_handlers import InstalledHandler

EPILOG = """\b
Examples:
  extframe graph
  extframe graph --app myhost -o svg > system.svg
  extframe graph -o mermaid >> README.md
"""
_COLOURS = {"failed": "red", "active": "green", "no handler": "yellow", "blocked": "yellow"}


@click.command(epilog=EPILOG)
@engine_option
@registry_options
@click.option("--no-contact", is_flag=True, help="Read the files only; do not connect to plugins.")
@timeout_option(2.0, "Deadline for the handshakes, which run concurrently.")
@click.option(
    "-o",
    "--output",
    type=click.Choice(["text", "mermaid", "svg", "json"]),
    help="The output format.  [default: text on a terminal, else mermaid]",
)
@verbose_option
@click.pass_context
def graph(ctx: click.Context, location: Location, no_contact: bool, timeout: float, output: str | None) -> None:
    """Draw the plugins and handlers of this machine.

    Shows the registry's directories, the plugins in them with their states, the extension points that they implement,
    and the handlers of the packages in this Python environment that a host calls for them. Failures are red.

    The exit code is 1 if a directory could not be read.
    """
    from .graphs.model import build_graph

    with progress_line("looking at plugins and handlers", delay=1.0):
        found = find_plugins(location)
        plugins = found.plugins if no_contact else list(activate_all(found.plugins, timeout))
        drawn = build_graph(_places(location, found), plugins, _handlers())
    _write(drawn, output or ("text" if terminal_width() else "mermaid"))
    for fault in found.faults:
        note(fault)
    if not found.is_complete:
        ctx.exit(ExitCode.FAILURE)


def _places(location: Location, found: FoundPlugins) -> dict[str, tuple[str, str]]:
    """Return the state of each registry, and details."""
    from ..registry.search_errors import text_of_os_error

    if location.engine is not None:
        return {f"Docker's engine at {location.engine}": ("", "")}
    failed = {path: ("failed", text_of_os_error(error)) for path, error in found.unreadable.items()}
    return {
        each: failed.get(each, ("" if os.path.isdir(each) else "no such directory", "")) for each in found.directories
    }


def _handlers() -> list[InstalledHandler]:
    from ..handlers.entry_points import GROUP
    from ..host.manager import PluginManager
    from .installed_handlers import installed_handlers

    # Keep what packages print during import out of the output.
    with contextlib.redirect_stdout(sys.stderr), PluginManager(groups=(GROUP,)) as manager:
        return list(installed_handlers(manager))


def _write(drawn: Graph, output: str) -> None:
    if output == "json":
        write_json(drawn.as_json())
    elif output == "text":
        _write_tree(drawn)
    elif output == "svg":
        from .graphs.svg import as_svg

        write_text(as_svg(drawn))
    else:
        from .graphs.mermaid import as_mermaid

        write_text(as_mermaid(drawn))


def _write_tree(drawn: Graph) -> None:
    from .graphs.text import as_text

    lines = as_text(drawn, unicode=can_encode("│├└─"), width=terminal_width())
    write_styled([(printable(line), _COLOURS.get(state, "")) for line, state in lines])
