"""What ``extframe doctor`` examines, one kind a file. Each looks on and tells; none mends anything."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence

from . import certificates, contact, directories, entries, environment, handlers, points, sources
from .case import Case
from .diagnosis import Diagnosis, problem

EXAMINATIONS: Sequence[tuple[str, Callable[[Case], Iterator[Diagnosis]]]] = (
    ("environment", environment.examine),
    ("directories", directories.examine),
    ("directories", entries.examine),
    ("plugins", sources.examine),
    ("plugins", contact.examine),
    ("plugins", points.examine),
    ("plugins", certificates.examine),
    ("handlers", handlers.examine),
)
"""What is examined, in the order in which it is told, and under which title."""


def examine(case: Case) -> dict[str, list[Diagnosis]]:
    """Return what all examinations come to, by their titles; about each plugin in one place."""
    told: dict[str, list[Diagnosis]] = {}
    for title, examination in EXAMINATIONS:
        told.setdefault(title, []).extend(_carefully(title, examination, case))
    told["plugins"].sort(key=lambda diagnosis: diagnosis.subject)
    return told


def _carefully(title: str, examination: Callable[[Case], Iterator[Diagnosis]], case: Case) -> Iterator[Diagnosis]:
    """Yield what an examination comes to; one that fails itself, as files go while it looks at them, is a problem."""
    try:
        yield from examination(case)
    except Exception as error:  # noqa: BLE001 - whatever state the machine is in, the others go on
        yield problem(
            title,
            f"could not be examined to the end: {type(error).__name__}: {error}",
            remedy="try again, in case something was changing:",
            command=case.command("doctor"),
        )
