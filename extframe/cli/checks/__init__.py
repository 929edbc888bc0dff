"""The checks of ``extframe doctor``, one kind per file. They change nothing."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence

from . import (
    certificates,
    directories,
    environment,
    environments,
    extension_points,
    handlers,
    hosted,
    reachability,
    sources,
    stray_files,
)
from .context import CheckContext
from .diagnosis import Diagnosis, problem

Check = Callable[[CheckContext], Iterator[Diagnosis]]

CHECKS: Sequence[tuple[str, Check]] = (
    ("environment", environment.check),
    ("directories", directories.check),
    ("directories", stray_files.check),
    ("plugins", sources.check),
    ("plugins", hosted.check),
    ("plugins", reachability.check),
    ("plugins", extension_points.check),
    ("plugins", certificates.check),
    ("environments", environments.check),
    ("handlers", handlers.check),
)
"""All checks in the order of the report, each with the title of its group."""


def run_checks(
    context: CheckContext, *, starting: Callable[[str], object] = lambda title: None
) -> dict[str, list[Diagnosis]]:
    """Return the diagnoses of all checks by group. Those about a plugin are adjacent.

    ``starting`` is called before each check with the title of its group.
    """
    groups: dict[str, list[Diagnosis]] = {}
    for title, check in CHECKS:
        starting(title)
        groups.setdefault(title, []).extend(_run(title, check, context))
    groups["plugins"].sort(key=lambda diagnosis: diagnosis.subject)
    return groups


def _run(title: str, check: Check, context: CheckContext) -> Iterator[Diagnosis]:
    """Yield the diagnoses of one check. An exception in it, as when files vanish meanwhile, is a problem."""
    try:
        yield from check(context)
    except Exception as error:  # noqa: BLE001 - an error in one check must not stop the others
        yield problem(
            title,
            f"the check failed: {type(error).__name__}: {error}",
            remedy="run it again, in case something changed meanwhile",
            command=context.command("doctor"),
        )
