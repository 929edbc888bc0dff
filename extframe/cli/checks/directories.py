"""Check the registry's directories: existence, permissions, safety. Does not look at their entries."""

from __future__ import annotations

import os
import stat
from collections.abc import Callable, Iterator, Sequence
from functools import partial
from itertools import chain

from ...protocol import UNIX_PATH_LIMIT
from ...registry.ownership import path_to, writers
from ..shell import as_owner, as_root, as_user_of, can_quote, make_directory, move, remove, shell_command
from .context import CONFIGURATION, CheckContext
from .diagnosis import Diagnosis, Verdict, counted, ok, problem, warning

SHORT = 16  # bytes for the name of a plugin below which there is a warning
_SOCKET = ".sock"
_ENTER = "if the host needs it, its owner can run chmod o+x; to see what the owner sees"


def check(context: CheckContext) -> Iterator[Diagnosis]:
    """Check each directory. It is a warning only if none exists, as then there is no plugin at all."""
    all_missing = all(map(_is_missing, context.extensions))
    for directory, extensions in context.extensions.items():
        yield from _check(context, directory, extensions, all_missing=all_missing)


def _check(
    context: CheckContext, directory: str, extensions: Sequence[str], *, all_missing: bool
) -> Iterator[Diagnosis]:
    try:
        if _is_missing(directory):
            yield _missing(directory, extensions, all_missing=all_missing)
        else:
            yield from _existing(context, directory, extensions)
    except OSError as error:
        yield warning(directory, f"changed during the check: {(error.strerror or str(error)).lower()}")


def _is_missing(directory: str) -> bool:
    return not os.path.lexists(directory) and not closed_parent(directory)


def _missing(directory: str, extensions: Sequence[str], *, all_missing: bool) -> Diagnosis:
    creator = (
        "the first plugin creates it"
        if _SOCKET in extensions
        else f"it is created with the first {_kind_of(extensions)}"
    )
    if not all_missing or _SOCKET not in extensions:
        return ok(directory, f"does not exist, so it has no plugins; {creator}")
    return warning(
        directory,
        f"does not exist, and neither does any other plugin directory; {creator}",
        remedy="if there should be a plugin, check that it uses the same directories (--dir, --app); or create it",
        command=make_directory(directory),
    )


def _kind_of(extensions: Sequence[str]) -> str:
    return "NAME.toml" if extensions == CONFIGURATION else "spec file"


def _usable(context: CheckContext, directory: str) -> Diagnosis:
    found = (*context.sources.values(), *context.hosted_plugins.values())
    plugins = [each for each in found if (each.source or "").startswith(f"{directory}/")]
    return ok(directory, f"{counted(len(plugins), 'plugin')}")


def _existing(context: CheckContext, directory: str, extensions: Sequence[str]) -> list[Diagnosis]:
    for check in _CHECKS:
        found = list(check(context, directory, extensions))
        if any(each.verdict is Verdict.PROBLEM for each in found):
            return found  # the later checks would report the same fault again
        if found:
            return [_usable(context, directory), *found]
    return [_usable(context, directory)]


# --- the checks of one directory, each of which relies on those before it --------------------------------


def _parents(context: CheckContext, directory: str, extensions: Sequence[str]) -> Iterator[Diagnosis]:
    """Check that this user can enter its parent directories."""
    closed = closed_parent(directory)
    if closed:
        yield problem(
            directory,
            f"cannot be read: this user cannot enter {closed}",
            remedy=_ENTER,
            command=as_user_of(closed, context.command("doctor")),
        )


def _kind(context: CheckContext, directory: str, extensions: Sequence[str]) -> Iterator[Diagnosis]:
    if os.path.islink(directory) and not os.path.isdir(directory):
        yield _broken_link(context, directory)
    elif not os.path.isdir(directory):
        yield problem(
            directory,
            "is not a directory, so it cannot hold plugins",
            remedy="move it away",
            command=move(directory, f"{directory}.old"),
        )


def _broken_link(context: CheckContext, directory: str) -> Diagnosis:
    target = os.path.join(os.path.dirname(directory), os.readlink(directory))
    closed = closed_parent(os.path.normpath(target))
    what = f"is a link to {target}"
    if closed:
        command = as_user_of(closed, context.command("doctor"))
        return problem(directory, f"{what}, but this user cannot enter {closed}", remedy=_ENTER, command=command)
    if os.path.lexists(target):
        return problem(directory, f"{what}, which is not a directory", remedy="remove it", command=remove(directory))
    remedy = "remove it, or create its target"
    return problem(directory, f"{what}, which does not exist", remedy=remedy, command=make_directory(target))


def _permission(context: CheckContext, directory: str, extensions: Sequence[str]) -> Iterator[Diagnosis]:
    """Check that this user can list it, and open its entries, by trying."""
    acts: Sequence[tuple[str, Callable[[], object]]] = (
        ("list it, so that its plugins are found only by name", lambda: os.listdir(directory)),
        ("enter it, so that its plugins cannot be used", lambda: os.stat(os.path.join(directory, "."))),
    )
    denied = [text for text, act in acts if _is_denied(act)]
    if denied:
        yield problem(
            directory,
            f"this user can neither {', nor '.join(denied)}" if len(denied) > 1 else f"this user cannot {denied[0]}",
            remedy="give all users access, or run the host as another user",
            command=as_owner(shell_command("chmod o+rx", directory), directory),
        )


def _safety(context: CheckContext, directory: str, extensions: Sequence[str]) -> Iterator[Diagnosis]:
    """Check that other users can replace neither it nor a directory above it, as the registry does."""
    places = [*path_to(directory), (directory, os.stat(directory))]
    faults = dict(chain.from_iterable(writers(place, status) for place, status in places))
    if not faults:
        return
    reasons = ", and ".join(faults.values())
    if context.registry.allow_unsafe:
        yield warning(directory, f"{reasons}: another user can impersonate its plugins (--allow-unsafe accepts them)")
        return
    command = " && ".join(filter(None, faults))
    command = command if can_quote(command) else ""
    owned = [place for place, status in places if any(writers(place, status))]
    yield problem(
        directory,
        f"{reasons}: its plugins are refused, as another user can put plugins there",
        remedy="restrict write access",
        command=as_root(command) if "chown" in command else as_owner(command, *owned),
    )


def _path_length(context: CheckContext, directory: str, extensions: Sequence[str]) -> Iterator[Diagnosis]:
    """Check that the path of a socket in it fits into a socket address."""
    room = UNIX_PATH_LIMIT - len(os.fsencode(directory)) - len(f"/{_SOCKET}")
    if _SOCKET not in extensions or room >= SHORT:
        return
    limit = f"the path of a unix socket has at most {UNIX_PATH_LIMIT} bytes"
    remedy = "use a directory with a shorter path for plugins and host"
    if room < 1:
        yield problem(directory, f"its path is too long for sockets in it: {limit}", remedy=remedy)
    else:
        yield warning(directory, f"leaves {room} bytes for the name of a plugin: {limit}", remedy=remedy)


_CHECKS: Sequence[Callable[[CheckContext, str, Sequence[str]], Iterator[Diagnosis]]] = (
    _parents,
    _kind,
    _permission,
    _safety,
    _path_length,
)


def closed_parent(path: str) -> str:
    """Return the topmost parent directory of ``path`` that this user cannot enter; empty if there is none."""
    parents: list[str] = []
    while path != os.path.dirname(path):
        path = os.path.dirname(path)
        parents.insert(0, path)
    return next((each for each in parents if _is_denied(partial(os.stat, os.path.join(each, ".")))), "")


def _is_denied(act: Callable[[], object]) -> bool:
    try:
        act()
    except PermissionError:
        return True
    except OSError:  # missing, or not a directory: other checks report that
        return False
    return False


def is_socket(path: str) -> bool:
    """Return whether a path is a socket, or a link to one."""
    try:
        return stat.S_ISSOCK(os.stat(path).st_mode)
    except OSError:
        return False
