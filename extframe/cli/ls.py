"""``extframe ls``: the plugins that are there. Knows no calls but the handshake."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING

import click

from .findings import Finding, ask, find_all
from .options import output_option, registry_of, registry_options, timeout_option, verbose_option
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
@click.option("--no-contact", is_flag=True, help="Only look at the files: open no connection.")
@timeout_option(2.0, "How long a plugin may take to say what it implements; all are asked at the same time.")
@output_option
@verbose_option
def ls(directory: str | None, app: str | None, no_contact: bool, timeout: float, output: str) -> None:
    """List the plugins that are there.

    Name, source, address, state, and what each implements. A plugin that does not answer, or whose file cannot
    be used, is listed as failed, with the reason.
    """
    registry = registry_of(directory, app)
    findings = find_all(registry)
    if not no_contact:
        findings = list(ask(findings, timeout))
    if not findings:
        note(f"no plugins in {_places(registry)}")
    if output == "json":
        write_json([finding.as_json() for finding in findings])
    elif findings:
        _write_table(findings)


def _places(registry: LocalRegistry) -> str:
    places = dict.fromkeys((registry.sockets, *registry.specs))
    return ", ".join(place if os.path.isdir(place) else f"{place} (no such directory)" for place in places)


def _write_table(findings: list[Finding]) -> None:
    header = ["NAME", "SOURCE", "ADDRESS", "STATE", "IMPLEMENTS"]
    rows = [[each.name, each.source, each.address, each.state, ", ".join(each.implements or ())] for each in findings]
    reasons = [shortened(each.reason) for each in findings]
    if any(reasons):
        header += ["NEXT TRY", "LAST ERROR"]
        rows = [[*row, each.next_try, reason] for row, each, reason in zip(rows, findings, reasons, strict=True)]
    write_table(header, rows)
    if any(len(each.reason) > len(reason) for each, reason in zip(findings, reasons, strict=True)):
        note("`extframe inspect NAME` gives the whole of an error")
