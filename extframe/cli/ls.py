"""``extframe ls``: list the plugins. Makes no call but the handshake."""

from __future__ import annotations

import os
from collections.abc import Sequence
from typing import TYPE_CHECKING

import click

from .discovery import PluginStatus, activate_all, find_all
from .options import Location, output_option, registry_options, timeout_option, verbose_option
from .output import note, shortened, write_json, write_table

if TYPE_CHECKING:
    from ..registry.local import LocalRegistry

EPILOG = """\b
Examples:
  extframe ls
  extframe ls --dir /run/myhost/plugins --timeout 10
  extframe ls --no-contact -o json | jq -r '.[].name'
"""


@click.command(epilog=EPILOG)
@registry_options
@click.option("--no-contact", is_flag=True, help="Read the files only; do not connect to plugins.")
@timeout_option(2.0, "Deadline for the handshakes, which run concurrently.")
@output_option
@verbose_option
def ls(location: Location, no_contact: bool, timeout: float, output: str) -> None:
    """List the plugins.

    Shows the name, source, address, state and extension points of each plugin. A plugin that does not respond, or
    whose source cannot be used, is listed as failed, with the reason.
    """
    registry = location.registry
    plugins = find_all(registry)
    if not no_contact:
        plugins = list(activate_all(plugins, timeout))
    if not plugins:
        note(f"no plugins in {_searched(registry)}")
    if output == "json":
        write_json([plugin.as_json() for plugin in plugins])
    elif plugins:
        _write_table(plugins)


def _searched(registry: LocalRegistry) -> str:
    directories = dict.fromkeys((registry.sockets, *registry.specs))
    return ", ".join(each if os.path.isdir(each) else f"{each} (no such directory)" for each in directories)


def _write_table(plugins: Sequence[PluginStatus]) -> None:
    header = ["NAME", "SOURCE", "ADDRESS", "STATE", "IMPLEMENTS"]
    rows = [[each.name, each.source, each.address, each.state, ", ".join(each.implements or ())] for each in plugins]
    reasons = [shortened(each.reason) for each in plugins]
    if any(reasons):
        header += ["NEXT TRY", "LAST ERROR"]
        rows = [[*row, each.next_try, reason] for row, each, reason in zip(rows, plugins, reasons, strict=True)]
    write_table(header, rows)
    if any(len(each.reason) > len(reason) for each, reason in zip(plugins, reasons, strict=True)):
        note("`extframe inspect NAME` shows the full error")
