"""Check for entries of plugin directories that are not plugins, but may be meant to be."""

from __future__ import annotations

import os
import re
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass

from ...errors import SpecError
from ...protocol import SPEC_READERS, check_name
from ...registry.local import names_in
from ..shell import as_owner, can_quote, move, remove, shell_command
from .context import CheckContext
from .diagnosis import Diagnosis, ok, warning
from .directories import closed_parent, is_socket

EXTENSIONS = (".sock", *SPEC_READERS)
SHOWN = 5  # names of other files on one line

# The ID of a managed (v2) plugin, whose socket Docker's engine puts into ID/ (moby plugin/manager_linux.go).
_ENGINE_ID = re.compile(r"[0-9a-f]{64}")


@dataclass(frozen=True)
class Directory:
    """A directory with the extensions that are used there, and the directories for other extensions."""

    path: str
    extensions: Sequence[str]
    others: dict[str, str]  # by extension


def check(context: CheckContext) -> Iterator[Diagnosis]:
    """Check the entries of each directory that do not define a plugin."""
    others = {extension: directory for directory, known in reversed(context.extensions.items()) for extension in known}
    for directory, extensions in context.extensions.items():
        yield from _check(Directory(directory, extensions, others))


def _check(directory: Directory) -> Iterator[Diagnosis]:
    try:
        with os.scandir(directory.path) as found:
            entries = sorted(found, key=lambda entry: entry.name)
    except OSError:  # reported by the check of directories
        return
    unknown = []
    for entry in entries:
        names = list(names_in(entry, directory.extensions))
        invalid = [diagnosis for name in names for diagnosis in _invalid_name(entry, name)]
        known = next(filter(None, (check(entry, directory) for check in _CHECKS)), None) if not names else None
        yield from invalid or filter(None, [known])
        if not names and known is None and not _is_expected(entry):
            unknown.append(entry.name)
    if unknown:
        yield _unknown(directory, unknown)


def _invalid_name(entry: os.DirEntry[str], name: str) -> Iterator[Diagnosis]:
    try:
        check_name(name)
    except SpecError as wrong:
        by_hand = "" if can_quote(entry.path) else " (no command is shown, as a shell cannot safely be given its name)"
        yield warning(
            entry.path,
            f"is not used: {wrong}",
            remedy=f"remove or rename it{by_hand}",
            command=remove(entry.path),
        )


def _is_expected(entry: os.DirEntry[str]) -> bool:
    return entry.name.startswith(".") or os.path.isdir(entry.path)


def _unknown(directory: Directory, names: Sequence[str]) -> Diagnosis:
    shown = ", ".join(names[:SHOWN]) + (f" and {len(names) - SHOWN} more" if len(names) > SHOWN else "")
    return warning(
        directory.path,
        f"has files that are not plugins, as their names do not end in {' or '.join(directory.extensions)}: {shown}",
        remedy="rename a file if it is meant to be a plugin, or ignore this",
    )


# --- what an entry may be meant to be: the first match wins -----------------------------------------------


def _managed_by_docker(entry: os.DirEntry[str], directory: Directory) -> Diagnosis | None:
    if not _ENGINE_ID.fullmatch(entry.name) or not os.path.isdir(entry.path):
        return None
    return ok(entry.path, "belongs to a managed (v2) plugin of Docker's engine, which alone uses it: leave it there")


def _inaccessible(entry: os.DirEntry[str], directory: Directory) -> Diagnosis | None:
    closed = closed_parent(os.path.join(os.path.realpath(entry.path), entry.name))
    if not closed or not (entry.is_symlink() or os.path.isdir(entry.path)):
        return None
    return warning(
        entry.path,
        f"cannot be read: this user cannot enter {closed}",
        remedy="if the host needs it, give all users access",
        command=as_owner(shell_command("chmod o+x", closed), closed),
    )


def _extension_in_another_case(entry: os.DirEntry[str], directory: Directory) -> Diagnosis | None:
    stem, extension = os.path.splitext(entry.name)
    if extension == extension.lower() or extension.lower() not in EXTENSIONS:
        return None
    target = os.path.join(directory.others.get(extension.lower(), directory.path), stem + extension.lower())
    return warning(
        entry.path,
        f"is not used: its extension is {extension}, but must be {extension.lower()} in lower case",
        remedy="rename it",
        command=move(entry.path, target),
    )


def _in_the_wrong_directory(entry: os.DirEntry[str], directory: Directory) -> Diagnosis | None:
    extension = os.path.splitext(entry.name)[1]
    if extension in directory.extensions or extension not in directory.others:
        return None
    other = directory.others[extension]
    return warning(
        entry.path,
        f"is not used: {extension} files belong in {other}",
        remedy="let the plugin listen there" if extension == ".sock" else "move it there",
        command="" if extension == ".sock" else move(entry.path, os.path.join(other, entry.name)),
    )


def _file_named_as_a_socket(entry: os.DirEntry[str], directory: Directory) -> Diagnosis | None:
    if os.path.splitext(entry.name)[1] != ".sock" or is_socket(entry.path):
        return None
    return warning(
        entry.path,
        "is ignored: it is not a socket",
        remedy="remove it; a plugin creates its socket when it starts",
        command=remove(entry.path) if not os.path.isdir(entry.path) else "",
    )


def _socket_with_another_extension(entry: os.DirEntry[str], directory: Directory) -> Diagnosis | None:
    if ".sock" not in directory.extensions or not is_socket(entry.path):
        return None
    stem = entry.name.removesuffix(".socket")
    return warning(
        entry.path,
        "is a socket that is not used: its name must end in .sock",
        remedy="rename it, and configure the plugin to use that name",
        command=move(entry.path, os.path.join(directory.path, f"{stem}.sock")),
    )


def _file_in_a_subdirectory(entry: os.DirEntry[str], directory: Directory) -> Diagnosis | None:
    """Check a subdirectory D, in which only D.sock, D.spec and D.json are used."""
    if not os.path.isdir(entry.path):
        return None
    try:
        inner = sorted(os.listdir(entry.path))
    except OSError as error:
        return warning(
            entry.path,
            f"cannot be read by this user: {(error.strerror or str(error)).lower()}",
            remedy="if the host needs it, give all users access",
            command=as_owner(shell_command("chmod o+rx", entry.path), entry.path),
        )
    for name in inner:
        stem, extension = os.path.splitext(name)
        if extension in directory.extensions:
            used = entry.name + extension
            return warning(
                os.path.join(entry.path, name),
                f"is not used: in the directory {entry.name} only {used} is, for the plugin {entry.name!r}",
                remedy=f"move it up to define a plugin {stem!r}",
                command=move(os.path.join(entry.path, name), os.path.join(directory.path, name)),
            )
    return None


_CHECKS: Sequence[Callable[[os.DirEntry[str], Directory], Diagnosis | None]] = (
    _managed_by_docker,
    _inaccessible,
    _extension_in_another_case,
    _in_the_wrong_directory,
    _file_named_as_a_socket,
    _socket_with_another_extension,
    _file_in_a_subdirectory,
)
