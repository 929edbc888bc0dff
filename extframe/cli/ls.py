"""``extframe ls``: list the plugins. Makes no call but the handshake."""

from __future__ import annotations

import os
from collections.abc import Sequence

import click

from .discovery import PluginStatus, activate_all
from .exit_codes import ExitCode
from .filters import Filter, filter_option
from .found_plugins import FoundPlugins, find_plugins
from .hints import command_here
from .location import Location
from .options import engine_option, output_formats, registry_options, timeout_option, verbose_option
from .output import hint, note, shortened, terminal_width, write_data, write_table, write_text

EPILOG = """\b
Examples:
  extframe ls
  extframe ls -o wide --dir /run/myhost/plugins --timeout 10
  extframe ls -q --filter state=failed
  extframe ls --engine
  extframe ls --no-contact -o json | jq -r '.[].name'
"""


@click.command(epilog=EPILOG)
@engine_option
@registry_options
@click.option("--no-contact", is_flag=True, help="Read the files only; do not connect to plugins.")
@click.option("-q", "--quiet", is_flag=True, help="Print the names only.")
@filter_option
@timeout_option(2.0, "Deadline for the handshakes, which run concurrently.")
@output_formats("table", "wide", "json", "yaml")
@verbose_option
@click.pass_context
def ls(
    ctx: click.Context,
    location: Location,
    no_contact: bool,
    quiet: bool,
    filters: Filter,
    timeout: float,
    output: str,
) -> None:
    """List the plugins.

    Shows the name, state and extension points of each plugin; -o wide adds its source, its address and why it failed.
    A plugin that does not respond, or whose source cannot be used, is listed as failed. The exit code is 1 if a
    directory could not be read.

    Plugins that hosts start are listed with the state of their process and with their environment; none is started.
    """
    found = find_plugins(location, filters.accepts_name)
    plugins = list(found.plugins)
    if no_contact:
        filters.check_no_contact()
    elif not quiet or filters.needs_contact:
        plugins = list(activate_all(plugins, timeout))
    plugins = [plugin for plugin in plugins if filters.accepts(plugin)]
    if not plugins and (found.count or found.is_complete):
        note("no plugin matches the filter" if found.count else _nothing_in(location, found))
    _write(ctx, plugins, "names" if quiet else output)
    for fault in found.faults:
        note(fault)
    if not found.is_complete:
        ctx.exit(ExitCode.FAILURE)


def _nothing_in(location: Location, found: FoundPlugins) -> str:
    if location.engine is not None:
        return f"no managed plugins are enabled in Docker's engine at {location.engine}"
    searched = (each if os.path.isdir(each) else f"{each} (no such directory)" for each in found.directories)
    return f"no plugins in {', '.join(searched)}"


def _write(ctx: click.Context, plugins: Sequence[PluginStatus], output: str) -> None:
    if output in ("json", "yaml"):
        write_data([plugin.as_json() for plugin in plugins], output)
    elif not plugins:
        return
    elif output == "names":
        write_text("\n".join(plugin.name for plugin in plugins))
    elif output == "wide":
        _write_wide(ctx, plugins)
    else:
        _write_table(ctx, plugins)


def _write_table(ctx: click.Context, plugins: Sequence[PluginStatus]) -> None:
    others = [["NAME", "STATE"], *([each.name, each.state] for each in plugins)]
    header, rows = _with_environments(others[0], others[1:], plugins)
    width = terminal_width()
    room = (
        None if width is None else width - sum(max(map(len, column)) + 2 for column in zip(header, *rows, strict=True))
    )
    rows = [[each.name, each.state, _list_within(each.implements or (), room)] for each in plugins]
    write_table(*_with_environments(["NAME", "STATE", "IMPLEMENTS"], rows, plugins))
    if any(plugin.error is not None for plugin in plugins):
        hint("see why a plugin failed", command_here(ctx, "ls", "-o", "wide"))


def _with_environments(
    header: list[str], rows: list[list[str]], plugins: Sequence[PluginStatus]
) -> tuple[list[str], list[list[str]]]:
    """Add a column if a plugin runs in an environment of its own."""
    environments = [each.hosted.environment_text if each.hosted is not None else "" for each in plugins]
    if not any(environments):
        return header, rows
    return [*header, "ENVIRONMENT"], [[*row, each] for row, each in zip(rows, environments, strict=True)]


def _list_within(points: Sequence[str], room: int | None) -> str:
    """Return the extension points on one line; at the end of one that is too long, how many more there are."""
    text = ", ".join(points)
    if room is None or len(text) <= room:
        return text
    for number in range(len(points) - 1, 1, -1):
        text = f"{', '.join(points[:number])}, +{len(points) - number}"
        if len(text) <= room:
            return text
    return points[0] if len(points) == 1 else f"{points[0]}, +{len(points) - 1}"


def _write_wide(ctx: click.Context, plugins: Sequence[PluginStatus]) -> None:
    header = ["NAME", "STATE", "IMPLEMENTS", "SOURCE", "ADDRESS"]
    rows = [[each.name, each.state, ", ".join(each.implements or ()), each.source, each.address] for each in plugins]
    header, rows = _with_environments(header, rows, plugins)
    reasons = [shortened(each.reason) for each in plugins]
    if any(reasons):
        header += ["NEXT TRY", "LAST ERROR"]
        rows = [[*row, each.next_try, reason] for row, each, reason in zip(rows, plugins, reasons, strict=True)]
    write_table(header, rows)
    if any(len(each.reason) > len(reason) for each, reason in zip(plugins, reasons, strict=True)):
        hint("see the full errors", command_here(ctx, "ls", "-o", "yaml"))
