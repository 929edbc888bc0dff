"""The registry's directories: whether they are there, may be read, and are safe. Looks at nothing in them."""

from __future__ import annotations

import os
import stat
from collections.abc import Callable, Iterator, Sequence
from functools import partial

from ...protocol import UNIX_PATH_LIMIT
from ...registry.local import writers
from .case import Case
from .commands import as_owner, as_root, as_user_of, make_directory, move, quoted, remove
from .diagnosis import Diagnosis, Verdict, counted, ok, problem, warning

SHORT = 16  # bytes that are left for a name where it becomes a nuisance
_SOCKET = ".sock"
_ENTER = "if a host's user must, its owner may let others in (chmod o+x); see what the owner sees:"


def examine(case: Case) -> Iterator[Diagnosis]:
    """Examine each directory; that all are missing is worth a warning, as then no host has a plugin."""
    all_missing = all(map(_is_missing, case.places))
    for directory, extensions in case.places.items():
        yield from _look(case, directory, extensions, all_missing=all_missing)


def _look(case: Case, directory: str, extensions: Sequence[str], *, all_missing: bool) -> Iterator[Diagnosis]:
    try:
        if _is_missing(directory):
            yield _missing(directory, extensions, all_missing=all_missing)
        else:
            yield from _state(case, directory, extensions)
    except OSError as error:
        yield warning(directory, f"changed while it was looked at: {(error.strerror or str(error)).lower()}")


def _is_missing(directory: str) -> bool:
    return not os.path.lexists(directory) and not closed_above(directory)


def _missing(directory: str, extensions: Sequence[str], *, all_missing: bool) -> Diagnosis:
    makes = "the first plugin" if _SOCKET in extensions else "whoever offers the first plugin"
    what = f"does not exist, so there is no plugin in it; {makes} makes it"
    if not all_missing or _SOCKET not in extensions:
        return ok(directory, what)
    return warning(
        directory,
        f"does not exist, nor does any other directory of plugins; {makes} makes it",
        remedy="if a plugin should be there, see whether it looks at the same directories (--dir, --app); or make it:",
        command=make_directory(directory),
    )


def _sound(case: Case, directory: str) -> Diagnosis:
    used = [found for found in case.sources.values() if (found.source or "").startswith(f"{directory}/")]
    return ok(directory, f"{counted(len(used), 'plugin')}")


def _state(case: Case, directory: str, extensions: Sequence[str]) -> list[Diagnosis]:
    for check in _CHECKS:
        found = list(check(case, directory, extensions))
        if any(each.verdict is Verdict.PROBLEM for each in found):
            return found  # what comes after it would be the same fault again
        if found:
            return [_sound(case, directory), *found]
    return [_sound(case, directory)]


# --- the checks, in an order in which each may rely on those before it ---------------------------------


def _entrance(case: Case, directory: str, extensions: Sequence[str]) -> Iterator[Diagnosis]:
    """Whether the directories above it let this user through."""
    closed = closed_above(directory)
    if closed:
        yield problem(
            directory,
            f"cannot be looked at: this user may not enter {closed}",
            remedy=_ENTER,
            command=as_user_of(closed, case.command("doctor")),
        )


def _kind(case: Case, directory: str, extensions: Sequence[str]) -> Iterator[Diagnosis]:
    if os.path.islink(directory) and not os.path.isdir(directory):
        yield _dead_link(case, directory)
    elif not os.path.isdir(directory):
        yield problem(
            directory,
            "is no directory, so there can be no plugins in it",
            remedy="put what it is out of the way:",
            command=move(directory, f"{directory}.old"),
        )


def _dead_link(case: Case, directory: str) -> Diagnosis:
    target = os.path.join(os.path.dirname(directory), os.readlink(directory))
    closed = closed_above(os.path.normpath(target))
    what = f"is a link to {target}"
    if closed:
        owner = as_user_of(closed, case.command("doctor"))
        return problem(directory, f"{what}, and this user may not enter {closed}", remedy=_ENTER, command=owner)
    if os.path.lexists(target):
        return problem(directory, f"{what}, which is no directory", remedy="remove it:", command=remove(directory))
    remedy = "remove it, or make what it names:"
    return problem(directory, f"{what}, which does not exist", remedy=remedy, command=make_directory(target))


def _permission(case: Case, directory: str, extensions: Sequence[str]) -> Iterator[Diagnosis]:
    """Whether this user may list it, and open what is in it. Tried, not worked out from the mode."""
    acts: Sequence[tuple[str, Callable[[], object]]] = (
        ("list what is in it, so that its plugins are found by name only", lambda: os.listdir(directory)),
        ("enter it, so that its plugins cannot be used", lambda: os.stat(os.path.join(directory, "."))),
    )
    denied = [words for words, act in acts if _is_denied(act)]
    if denied:
        yield problem(
            directory,
            f"this user may not {', nor '.join(denied)}",
            remedy="let every user in, or be the user as whom the host runs:",
            command=as_owner(f"chmod o+rx {quoted(directory)}", directory),
        )


def _safety(case: Case, directory: str, extensions: Sequence[str]) -> Iterator[Diagnosis]:
    """Whether others could put plugins in it: what the registry refuses."""
    faults = dict(writers(directory, os.stat(directory)))
    if faults:
        command = " && ".join(faults)
        yield problem(
            directory,
            f"{', and '.join(faults.values())}: its plugins are refused, as others could have put them there",
            remedy="take it from them:",
            command=as_root(command) if "chown" in command else as_owner(command, directory),
        )


def _room(case: Case, directory: str, extensions: Sequence[str]) -> Iterator[Diagnosis]:
    """Whether the path of a socket in it fits into an address."""
    room = UNIX_PATH_LIMIT - len(os.fsencode(directory)) - len(f"/{_SOCKET}")
    if _SOCKET not in extensions or room >= SHORT:
        return
    limit = f"the path of a unix socket has at most {UNIX_PATH_LIMIT} bytes"
    remedy = "let plugins and host use a directory with a shorter name"
    if room < 1:
        yield problem(directory, f"is too long a name for sockets in it: {limit}", remedy=remedy)
    else:
        yield warning(directory, f"leaves {room} bytes for the name of a plugin: {limit}", remedy=remedy)


_CHECKS: Sequence[Callable[[Case, str, Sequence[str]], Iterator[Diagnosis]]] = (
    _entrance,
    _kind,
    _permission,
    _safety,
    _room,
)


def closed_above(path: str) -> str:
    """Return the first directory on the way to ``path`` that this user may not enter, or nothing."""
    above: list[str] = []
    while path != os.path.dirname(path):
        path = os.path.dirname(path)
        above.insert(0, path)
    return next((each for each in above if _is_denied(partial(os.stat, os.path.join(each, ".")))), "")


def _is_denied(act: Callable[[], object]) -> bool:
    try:
        act()
    except PermissionError:
        return True
    except OSError:  # it is not there, or no directory: told elsewhere
        return False
    return False


def is_socket(path: str) -> bool:
    """Return whether a path leads to a socket."""
    try:
        return stat.S_ISSOCK(os.stat(path).st_mode)
    except OSError:
        return False
