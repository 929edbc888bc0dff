"""What lies in the registry's directories and is no plugin, though somebody may have meant it to be one."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass

from ...errors import SpecError
from ...protocol import SPEC_READERS, check_name
from ...registry.local import names_in
from .case import Case
from .commands import as_owner, move, quoted, remove
from .diagnosis import Diagnosis, warning
from .directories import closed_above, is_socket

EXTENSIONS = (".sock", *SPEC_READERS)
SHOWN = 5  # names of strangers that one line has


@dataclass(frozen=True)
class Place:
    """A directory, with the extensions that count there and the directories where others do."""

    directory: str
    extensions: Sequence[str]
    others: dict[str, str]  # by extension


def examine(case: Case) -> Iterator[Diagnosis]:
    """Examine the entries of each directory that no plugin is made of."""
    others = {extension: directory for directory, known in reversed(case.places.items()) for extension in known}
    for directory, extensions in case.places.items():
        yield from _examine(Place(directory, extensions, others))


def _examine(place: Place) -> Iterator[Diagnosis]:
    try:
        with os.scandir(place.directory) as found:
            entries = sorted(found, key=lambda entry: entry.name)
    except OSError:  # the examination of directories says why
        return
    strangers = []
    for entry in entries:
        names = list(names_in(entry, place.extensions))
        wrong = [diagnosis for name in names for diagnosis in _refused_name(entry, name)]
        known = next(filter(None, (check(entry, place) for check in _CHECKS)), None) if not names else None
        yield from wrong or filter(None, [known])
        if not names and known is None and not _is_nobodys_business(entry):
            strangers.append(entry.name)
    if strangers:
        yield _strangers(place, strangers)


def _refused_name(entry: os.DirEntry[str], name: str) -> Iterator[Diagnosis]:
    try:
        check_name(name)
    except SpecError as wrong:
        yield warning(
            entry.path,
            f"is not used: {wrong}",
            remedy="remove it, or give it another name:",
            command=remove(entry.path),
        )


def _is_nobodys_business(entry: os.DirEntry[str]) -> bool:
    return entry.name.startswith(".") or os.path.isdir(entry.path)


def _strangers(place: Place, names: Sequence[str]) -> Diagnosis:
    shown = ", ".join(names[:SHOWN]) + (f" and {len(names) - SHOWN} more" if len(names) > SHOWN else "")
    return warning(
        place.directory,
        f"holds what is no plugin, as its name does not end in {' or '.join(place.extensions)}: {shown}",
        remedy="nothing need be done, unless one of them should be a plugin: then rename it",
    )


# --- what an entry may have been meant to be; the first that knows it counts ----------------------------


def _behind_closed_doors(entry: os.DirEntry[str], place: Place) -> Diagnosis | None:
    closed = closed_above(os.path.join(os.path.realpath(entry.path), entry.name))
    if not closed or not (entry.is_symlink() or os.path.isdir(entry.path)):
        return None
    return warning(
        entry.path,
        f"cannot be looked at: this user may not enter {closed}",
        remedy="if a host's user must, let others in:",
        command=as_owner(f"chmod o+x {quoted(closed)}", closed),
    )


def _extension_in_another_case(entry: os.DirEntry[str], place: Place) -> Diagnosis | None:
    stem, extension = os.path.splitext(entry.name)
    if extension == extension.lower() or extension.lower() not in EXTENSIONS:
        return None
    target = os.path.join(place.others.get(extension.lower(), place.directory), stem + extension.lower())
    return warning(
        entry.path,
        f"is not used: its extension is {extension}, and must be {extension.lower()} to the letter",
        remedy="rename it:",
        command=move(entry.path, target),
    )


def _in_the_wrong_directory(entry: os.DirEntry[str], place: Place) -> Diagnosis | None:
    extension = os.path.splitext(entry.name)[1]
    if extension in place.extensions or extension not in place.others:
        return None
    other = place.others[extension]
    return warning(
        entry.path,
        f"is not used: {extension} files are looked for in {other}",
        remedy="let the plugin listen there" if extension == ".sock" else "move it there:",
        command="" if extension == ".sock" else move(entry.path, os.path.join(other, entry.name)),
    )


def _file_under_the_name_of_a_socket(entry: os.DirEntry[str], place: Place) -> Diagnosis | None:
    if os.path.splitext(entry.name)[1] != ".sock" or is_socket(entry.path):
        return None
    return warning(
        entry.path,
        "is passed over: it is no socket",
        remedy="remove it; a plugin that is started makes its socket itself:",
        command=remove(entry.path) if not os.path.isdir(entry.path) else "",
    )


def _socket_under_another_name(entry: os.DirEntry[str], place: Place) -> Diagnosis | None:
    if ".sock" not in place.extensions or not is_socket(entry.path):
        return None
    stem = entry.name.removesuffix(".socket")
    return warning(
        entry.path,
        "is a socket that is not used: its name must end in .sock",
        remedy="rename it, and let the plugin make it under that name:",
        command=move(entry.path, os.path.join(place.directory, f"{stem}.sock")),
    )


def _directory_of_its_own(entry: os.DirEntry[str], place: Place) -> Diagnosis | None:
    """A directory D is a plugin's by holding D.sock, say: what else has such an extension is looked for by nobody."""
    if not os.path.isdir(entry.path):
        return None
    try:
        inner = sorted(os.listdir(entry.path))
    except OSError as error:
        return warning(
            entry.path,
            f"cannot be read by this user: {(error.strerror or '').lower()}",
            command=as_owner(f"chmod o+rx {quoted(entry.path)}", entry.path),
        )
    for name in inner:
        stem, extension = os.path.splitext(name)
        if extension in place.extensions:
            wanted = entry.name + extension
            return warning(
                os.path.join(entry.path, name),
                f"is not used: in the directory {entry.name} only {wanted} is looked for, of the plugin {entry.name!r}",
                remedy=f"move it up, for a plugin {stem!r}:",
                command=move(os.path.join(entry.path, name), os.path.join(place.directory, name)),
            )
    return None


_CHECKS: Sequence[Callable[[os.DirEntry[str], Place], Diagnosis | None]] = (
    _behind_closed_doors,
    _extension_in_another_case,
    _in_the_wrong_directory,
    _file_under_the_name_of_a_socket,
    _socket_under_another_name,
    _directory_of_its_own,
)
