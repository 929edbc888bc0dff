"""The files that stand for plugins: those that cannot be used, and those that another one hides. Contacts nobody."""

from __future__ import annotations

import os
import stat
from collections.abc import Iterator

from ...errors import SpecError
from .case import Case
from .commands import as_owner, as_root, edit, remove
from .diagnosis import Diagnosis, ok, problem, warning


def examine(case: Case) -> Iterator[Diagnosis]:
    """Examine the file of each plugin."""
    for name, found in case.sources.items():
        if isinstance(found, SpecError):
            yield _unusable(name, found)
        elif not case.contact:
            yield ok(name, f"listens at {found.address}, as it says; it was not asked", where=found.source)
        yield from _hidden(case, name)


def _unusable(name: str, wrong: SpecError) -> Diagnosis:
    source = wrong.source or ""
    remedy, command = _remedy(source, wrong.remedy)
    what = str(wrong).removeprefix(f"{source}: ")
    for told_below in ("; fix with: ", "; remove it, "):
        what = what.partition(told_below)[0]
    return problem(name, what, where=source, remedy=remedy, command=command)


def _remedy(source: str, command: str | None) -> tuple[str, str]:
    if command and command.startswith("rm "):
        return "remove it:", remove(source)
    if command:
        is_own = as_owner(command, source, os.path.dirname(source))
        words = "let every user read it:" if command.startswith("chmod a+r") else "take it from them:"
        return words, as_root(command) if "chown " in command else is_own
    try:
        kind = stat.S_IFMT(os.lstat(source).st_mode)
    except OSError:
        return "look again: it has just gone", ""
    if kind == stat.S_IFREG or os.path.isfile(source):
        return "correct it:", edit(source)
    if kind == stat.S_IFSOCK:
        return "let the plugin listen in a directory with a shorter name", ""
    return ("put it out of the way", "") if kind == stat.S_IFDIR else ("remove it:", remove(source))


def _hidden(case: Case, name: str) -> Iterator[Diagnosis]:
    """Tell of the files that are never used, as others of the same name go before them."""
    files = case.registry.sources(name)
    for used, hidden in [(files[0], each) for each in files[1:]]:
        if os.path.realpath(used) != os.path.realpath(hidden):
            yield warning(
                name,
                f"is there more than once: {used} goes before this file, which is never used",
                where=hidden,
                remedy="remove the one that is not meant; this is the one that changes nothing:",
                command=remove(hidden),
            )
