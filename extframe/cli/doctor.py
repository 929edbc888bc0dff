"""``extframe doctor``: find problems on this machine, and print how to fix them. Implements no check."""

from __future__ import annotations

import logging
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import TYPE_CHECKING

import click

from .exit_codes import ExitCode
from .location import Location
from .options import output_option, registry_options, timeout_option, verbose_option
from .output import Cells, note, reader_optional, write_data, write_groups
from .progress import progress_line

if TYPE_CHECKING:
    from .checks.diagnosis import Diagnosis

EPILOG = """\b
Examples:
  extframe doctor
  extframe doctor --app myhost
  sudo -u myhost extframe doctor --dir /run/myhost/plugins
  extframe doctor -o json | jq -r '.[] | select(.verdict == "problem") | .command'

\b
Exit codes: 0 no problem (warnings are possible), 1 at least one problem.
"""


@click.command(epilog=EPILOG)
@registry_options
@click.option("--no-contact", is_flag=True, help="Read the files only; do not connect to plugins.")
@timeout_option(2.0, "Deadline for the handshakes, which run concurrently.")
@output_option
@verbose_option
@click.pass_context
def doctor(ctx: click.Context, location: Location, no_contact: bool, timeout: float, output: str) -> None:
    """Find problems and show how to fix them.

    Checks this installation, the plugin directories, the plugins, the environments that Python plugins run in and the
    installed handlers, with the permissions of this user. Each line is ok, a warning or a problem, followed by how to
    fix it, and a command to paste if there is one.

    Changes nothing, starts no plugin, and calls no handler.
    """
    from .checks import run_checks
    from .checks.context import CheckContext

    context = CheckContext(
        location.registry,
        hosted=location.hosted,
        timeout=timeout,
        contact=not no_contact,
        options=location.options,
    )
    with _quiet_log(), progress_line("checking", delay=1.0) as show:
        groups = run_checks(context, starting=lambda title: show(f"checking {title}"))
    with reader_optional():
        _write(groups, output)
    counts = Counter(each.verdict.value for group in groups.values() for each in group)
    if counts["problem"]:
        ctx.exit(ExitCode.FAILURE)


@contextmanager
def _quiet_log() -> Iterator[None]:
    """Suppress log lines, whose contents the checks report. ``-v`` keeps them."""
    logger = logging.getLogger("extframe")
    before = logger.level
    logger.setLevel(logging.DEBUG if before == logging.DEBUG else logging.CRITICAL)
    try:
        yield
    finally:
        logger.setLevel(before)


def _write(groups: Mapping[str, Sequence[Diagnosis]], output: str) -> None:
    if output != "table":
        write_data([{"group": title, **each.as_json()} for title, group in groups.items() for each in group], output)
        return
    commands: set[str] = set()
    write_groups({title: list(_rows(group, commands)) for title, group in groups.items() if group})
    note(_summary(groups))


def _rows(group: Sequence[Diagnosis], printed: set[str]) -> Iterator[Cells]:
    """Yield the lines of some diagnoses. ``printed`` collects the commands, each of which is printed once."""
    for each in group:
        place = f" ({each.where})" if each.where not in ("", each.subject) else ""
        yield each.verdict.value, f"{each.subject}{place}: {each.what}"
        if each.command and each.command in printed:
            yield "", "fixed by the command above"
            continue
        if each.remedy:
            yield "", f"{each.remedy}:" if each.command else each.remedy
        if each.command:
            yield "", f"  {each.command}"
            printed.add(each.command)


def _summary(groups: Mapping[str, Sequence[Diagnosis]]) -> str:
    from .checks.diagnosis import Verdict, counted

    counts = Counter(each.verdict for group in groups.values() for each in group)
    if not counts[Verdict.PROBLEM] and not counts[Verdict.WARNING]:
        return "no problems found"
    return f"{counted(counts[Verdict.PROBLEM], 'problem')}, {counted(counts[Verdict.WARNING], 'warning')}"
