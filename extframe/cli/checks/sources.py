"""Check sockets and spec files: those that cannot be used, and those that are shadowed. Opens no connection."""

from __future__ import annotations

import os
import stat
from collections.abc import Iterator, Sequence

from ...errors import SpecError
from ..shell import as_owner, as_root, can_quote, edit, remove
from .context import CheckContext
from .diagnosis import Diagnosis, ok, problem, warning


def check(context: CheckContext) -> Iterator[Diagnosis]:
    """Check the source of each plugin."""
    for name, found in context.sources.items():
        if name in context.hosted_plugins:
            continue  # which takes precedence
        if isinstance(found, SpecError):
            yield unusable(name, found)
        elif not context.contact:
            yield ok(name, f"its address is {found.address}; not contacted", where=found.source)
        yield from shadowed(name, context.registry.sources(name))


def unusable(name: str, wrong: SpecError) -> Diagnosis:
    """Return the problem of a source that cannot be used, with how to fix it."""
    source = wrong.source or ""
    remedy, command = _remedy(source, wrong.remedy, is_unsafe="unsafe, because" in str(wrong))
    return problem(name, _without_remedy(wrong, source), where=source, remedy=remedy, command=command)


def _without_remedy(wrong: SpecError, source: str) -> str:
    """Return the message without its source and its remedy, which are shown separately."""
    message = str(wrong).removeprefix(f"{source}: ")
    if wrong.remedy and wrong.remedy in message:
        message = message.partition(wrong.remedy)[0].rpartition("; ")[0]
    return message.partition("; remove it")[0]


def _remedy(source: str, command: str | None, *, is_unsafe: bool) -> tuple[str, str]:
    """Return how to fix a source, in words and as a command. ``command`` is what the registry suggests."""
    if command and command.startswith("rm "):
        return "remove it", remove(source)
    if command:
        remedy = "make it readable for all users" if command.startswith("chmod a+r") else "restrict write access"
        if not can_quote(command):
            return remedy, ""
        is_owner_enough = "chown " not in command
        return remedy, as_owner(command, source, os.path.dirname(source)) if is_owner_enough else as_root(command)
    if is_unsafe:  # no command can change the owner, as in a user namespace
        return "use --allow-unsafe if you trust every user who can write it", ""
    try:
        kind = stat.S_IFMT(os.lstat(source).st_mode)
    except OSError:
        return "run this again: it was removed during the check", ""
    if kind == stat.S_IFREG or os.path.isfile(source):
        return "correct the file", edit(source)
    if kind == stat.S_IFSOCK:
        return "let the plugin listen in a directory with a shorter path", ""
    return ("move it away", "") if kind == stat.S_IFDIR else ("remove it", remove(source))


def shadowed(name: str, sources: Sequence[str]) -> Iterator[Diagnosis]:
    """Yield a warning for each file that is never used because another of the same name takes precedence.

    Args:
        name: the plugin's.
        sources: its files, in their order of precedence.
    """
    used, *others = sources or [""]
    for other in others:
        if os.path.realpath(used) != os.path.realpath(other):
            yield warning(
                name,
                f"is defined more than once: {used} takes precedence over this file, which is never used",
                where=other,
                remedy="remove one of them; removing this one changes nothing",
                command=remove(other),
            )
