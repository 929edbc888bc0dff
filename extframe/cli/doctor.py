"""``extframe doctor``: what is wrong on this machine, and what to do about it. Knows no examination, mends nothing."""

from __future__ import annotations

import logging
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import TYPE_CHECKING

import click

from .exits import Exit
from .options import output_option, registry_of, registry_options, timeout_option, verbose_option
from .output import Cells, note, write_groups, write_json

if TYPE_CHECKING:
    from .examinations.diagnosis import Diagnosis

EPILOG = """\b
Examples:
  extframe doctor
  extframe doctor --app myhost
  sudo -u myhost extframe doctor --dir /run/myhost/plugins
  extframe doctor -o json | jq -r '.[] | select(.verdict == "problem") | .command'

\b
Exit codes: 0 no problem (there may be warnings), 1 something is wrong.
"""


@click.command(epilog=EPILOG)
@registry_options
@click.option("--no-contact", is_flag=True, help="Only look at the files: open no connection.")
@timeout_option(2.0, "How long a plugin may take to say what it implements; all are asked at the same time.")
@output_option
@verbose_option
@click.pass_context
def doctor(
    ctx: click.Context, directory: str | None, app: str | None, no_contact: bool, timeout: float, output: str
) -> None:
    """Find what is wrong, and say what to do.

    The environment, the directories of plugins, the plugins in them and the installed handlers are examined, as this
    user. Each line is ok, a warning or a problem; below it stands what to do, and a command that can be pasted.

    Nothing is changed, and no handler is called.
    """
    from .examinations import examine
    from .examinations.case import Case

    registry = registry_of(directory, app)
    options = [*(["--dir", directory] if directory else []), *(["--app", app] if app else [])]
    with _log_kept_quiet():
        told = examine(Case(registry, timeout=timeout, contact=not no_contact, options=options))
    _write(told, output)
    counts = Counter(each.verdict.value for group in told.values() for each in group)
    if counts["problem"]:
        ctx.exit(Exit.FAILURE)


@contextmanager
def _log_kept_quiet() -> Iterator[None]:
    """Leave to the examinations what is a warning in the log; ``-v`` asked for all of it."""
    logger = logging.getLogger("extframe")
    before = logger.level
    logger.setLevel(logging.DEBUG if before == logging.DEBUG else logging.CRITICAL)
    try:
        yield
    finally:
        logger.setLevel(before)


def _write(told: Mapping[str, Sequence[Diagnosis]], output: str) -> None:
    if output == "json":
        write_json([{"group": title, **each.as_json()} for title, group in told.items() for each in group])
        return
    commands: set[str] = set()
    write_groups({title: list(_rows(group, commands)) for title, group in told.items() if group})
    note(_summary(told))


def _rows(group: Sequence[Diagnosis], told: set[str]) -> Iterator[Cells]:
    """Yield the lines of some diagnoses. ``told`` are the commands that stand above, each of which is told once."""
    for each in group:
        place = f" ({each.where})" if each.where not in ("", each.subject) else ""
        yield each.verdict.value, f"{each.subject}{place}: {each.what}"
        if each.command and each.command in told:
            yield "", "the command above mends this, too"
            continue
        if each.remedy:
            yield "", each.remedy
        if each.command:
            yield "", f"  {each.command}"
            told.add(each.command)


def _summary(told: Mapping[str, Sequence[Diagnosis]]) -> str:
    from .examinations.diagnosis import Verdict, counted

    counts = Counter(each.verdict for group in told.values() for each in group)
    if not counts[Verdict.PROBLEM] and not counts[Verdict.WARNING]:
        return "nothing is wrong"
    return f"{counted(counts[Verdict.PROBLEM], 'problem')}, {counted(counts[Verdict.WARNING], 'warning')}"
