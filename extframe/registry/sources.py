"""The files that announce a plugin: which names count, what kind they are, and their content."""

from __future__ import annotations

import os
import shlex
import stat
from collections.abc import Hashable, Iterator, Sequence
from typing import NamedTuple

from ..concurrency.system import OPEN_AT_ONCE
from ..errors import SpecError
from ..protocol import SPEC_READERS
from .search_errors import ABSENT, UNREACHABLE, is_access_denied

SOCKET = ".sock"
SPEC_LIMIT = 1 << 20  # bytes: a spec file contains one address
_KINDS = {stat.S_IFDIR: "a directory", stat.S_IFIFO: "a FIFO", stat.S_IFSOCK: "a socket"}


class Candidate(NamedTuple):
    """A path at which the search looks."""

    directory: str  # of the registry; path may be in a subdirectory of it
    path: str
    extension: str


def candidates(places: Sequence[tuple[str, Sequence[str]]], name: str) -> Iterator[Candidate]:
    """Yield the paths that can announce plugin ``name``, in the engine's order."""
    for directory, extensions in places:
        for extension in extensions:
            yield Candidate(directory, os.path.join(directory, name + extension), extension)
            yield Candidate(directory, os.path.join(directory, name, name + extension), extension)


def names_in(entry: os.DirEntry[str], extensions: Sequence[str]) -> Iterator[str]:
    """Yield the names of the plugins that an entry of a plugin directory announces."""
    stem, dot, suffix = entry.name.rpartition(".")
    extension = dot + suffix
    if extension in extensions:
        # The directory says which entries are regular files: these need no stat.
        regular = entry.is_file(follow_symlinks=False)
        if extension != SOCKET if regular else may_be_source(entry.path, extension):
            yield stem
    if _is_directory(entry):
        inner = os.path.join(entry.path, entry.name)
        if any(may_be_source(inner + extension, extension) for extension in extensions):
            yield entry.name


def _is_directory(entry: os.DirEntry[str]) -> bool:
    try:
        return entry.is_dir()
    except OSError as error:  # a link to itself, or into a directory that this user cannot enter
        return not is_access_denied(error) and error.errno not in UNREACHABLE


def may_be_source(path: str, extension: str) -> bool:
    """Return whether ``find`` would stop at ``path``: it announces the plugin, or the file system fails there."""
    try:
        return is_source(path, extension)
    except OSError as error:
        return not is_access_denied(error)


def is_source(path: str, extension: str) -> bool:
    """Return whether ``path`` announces a plugin.

    Raises:
        OSError: the file system cannot say.
    """
    status = status_of(path)
    return status is not None and accepts(extension, status)


def accepts(extension: str, status: os.stat_result) -> bool:
    """Return whether the search stops at a file: for ``.sock`` if it is a socket or a dangling link, else always."""
    return extension != SOCKET or stat.S_IFMT(status.st_mode) in (stat.S_IFSOCK, stat.S_IFLNK)


def status_of(path: str) -> os.stat_result | None:
    """Return the status of the file that ``path`` leads to, or of a dangling link itself; None if there is none.

    Raises:
        OSError: the file system cannot say, in most cases as this user may not enter the directory.
    """
    try:
        status = os.lstat(path)
    except OSError as error:
        if error.errno in ABSENT:
            return None
        raise
    if not stat.S_ISLNK(status.st_mode):
        return status
    try:
        return os.stat(path)
    except OSError as error:
        if error.errno in UNREACHABLE:
            return status
        raise


def content_of(path: str, status: os.stat_result) -> tuple[bytes, os.stat_result]:
    """Return the content of a spec file, and the status of the very file that was read.

    Raises:
        SpecError: it is not a regular file, or too large.
        OSError: it cannot be read.
    """
    kind = stat.S_IFMT(status.st_mode)
    if kind == stat.S_IFLNK:
        reason = f"is a dangling link to {os.readlink(path)}; remove it, or create its target"
        raise SpecError(reason, remedy=f"rm {shlex.quote(path)}")
    if kind != stat.S_IFREG:
        raise SpecError(f"is {_KINDS.get(kind, 'a device')}; expected a file with the plugin's address")
    with open(path, "rb", opener=_open_nonblocking) as file:
        status = os.fstat(file.fileno())  # before reading: a write meanwhile changes the stamp
        content = file.read(SPEC_LIMIT + 1)
    if len(content) > SPEC_LIMIT:
        raise SpecError(f"is larger than {SPEC_LIMIT} bytes; expected a file with the plugin's address")
    return content, status


def _open_nonblocking(path: str, flags: int) -> int:
    # A FIFO that replaced the file since its status was read must not block until a process writes to it.
    return os.open(path, flags | OPEN_AT_ONCE)


def stamp_of(status: os.stat_result) -> Hashable:
    """Return the identity of a file's content."""
    # ext4 and tmpfs reuse inode numbers at once; the change time distinguishes two sockets.
    return status.st_dev, status.st_ino, status.st_ctime_ns, status.st_size


def expected_files(name: str, sockets: str, specs: Sequence[str]) -> str:
    """Return where a plugin is searched for, for a message."""
    files = ", ".join(name + extension for extension in SPEC_READERS)
    if specs == (sockets,):
        return f"looked for {name}{SOCKET}, {files} in {sockets}, and in {name}/ of it"
    places = f"looked for {name}{SOCKET} in {sockets}"
    if specs:
        places += f" and for {files} in {', '.join(specs)}"
    return f"{places}, and in {name}/ of each"
