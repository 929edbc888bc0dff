"""Find plugins on disk. Opens no connection.

A plugin is found by its name, through the files that Docker's engine looks for and in the engine's order
(moby ``pkg/plugins/discovery.go``): a socket that the plugin made, or a spec file that says where it listens.
"""

from __future__ import annotations

import errno
import os
import shlex
import stat
from collections.abc import Hashable, Iterator, Sequence
from contextlib import suppress
from itertools import chain, takewhile
from typing import NamedTuple, Protocol

from ..errors import PluginNotFound, SpecError
from ..logs import get_logger
from ..protocol import SPEC_READERS, Address, PluginSpec, check_name

StrPath = str | os.PathLike[str]

SPEC_LIMIT = 1 << 20  # bytes: a spec file holds one address
_SOCKET = ".sock"
_LINK_LIMIT = 40  # links on the way to one file: MAXSYMLINKS of Linux
_ABSENT = {errno.ENOENT, errno.ENOTDIR, errno.ENAMETOOLONG}
_NOWHERE = {*_ABSENT, errno.ELOOP}
_KINDS = {stat.S_IFDIR: "a directory", stat.S_IFIFO: "a FIFO", stat.S_IFSOCK: "a socket"}

logger = get_logger(__name__)


class Registry(Protocol):
    """Where a manager finds plugins. `LocalRegistry` is one; anything with these methods is another.

    A registry of files may also have ``directories``, paths in which ``PluginManager.watch`` notices changes at once;
    without, it looks every half second.
    """

    def scan(self) -> list[str]:
        """Return the names of all plugins that are there now, sorted, each once."""
        raise NotImplementedError

    def find(self, name: str) -> PluginSpec:
        """Return where the plugin listens.

        Raises:
            PluginNotFound: there is none; the message lists every place that was searched.
            SpecError: the name, or what was found under it, cannot be used.
        """
        raise NotImplementedError

    def stamp(self, spec: PluginSpec) -> Hashable:
        """Return the identity of what ``spec`` was made from, as it is now.

        While it equals ``spec.stamp``, ``find`` would give the same plugin and the plugin was not started anew.
        It is asked before every use of a plugin and must be cheap.
        """
        raise NotImplementedError


class LocalRegistry:
    """The plugins of this machine: sockets in one directory, spec files in others.

    A plugin NAME is the first of these that exists; for spec files, whatever it is::

        SOCKETS/NAME.sock   SOCKETS/NAME/NAME.sock
        SPECS/NAME.spec     SPECS/NAME/NAME.spec     SPECS/NAME.json    SPECS/NAME/NAME.json

    the last line once for each directory in ``specs``, in order. Something else than a socket under the name
    of a socket is passed over, as the engine does. A spec file that exists and cannot be used (unreadable,
    malformed, a directory) is an error: what stands behind it in the order is not tried.

    Where this differs from the engine:

    - A name that could leave the directory is refused before anything is opened; the engine joins names into
      paths unchecked.
    - What others may write is refused, with the command that mends it: the socket or spec file, a link that
      leads to it, and the directories that hold these must belong to root or to this user, and must not be
      writable by every user (a directory may be, with its sticky bit set). A socket that a spec file names is
      not examined: who may write the spec file vouches for it.
    - A link that leads nowhere is an error, not a plugin that is missing.
    - ``scan`` sees links to sockets, wants the extension to be ``.sock``, lists each name once and in order,
      and goes on after a directory that cannot be read.
    - ``find`` does not wait for a plugin to come, and https is verified for spec files of both formats.

    Args:
        sockets: the directory in which plugins listen.
        specs: the directories of spec files, the most important first.
        allow_unsafe: accept what others may write. Whoever may write a plugin's socket or spec file, or the
            directory, can stand in for the plugin.

    Relative paths are taken from the working directory at construction. A directory need not exist. ``places`` are
    the directories in their order, each with the extensions that count there.
    """

    def __init__(
        self,
        sockets: StrPath = "/run/docker/plugins",
        specs: Sequence[StrPath] = ("/etc/docker/plugins", "/usr/lib/docker/plugins"),
        *,
        allow_unsafe: bool = False,
    ) -> None:
        if isinstance(specs, (str, bytes)):
            raise TypeError(f"specs is a sequence of directories, not one: write [{specs!r}]")
        self.sockets = os.path.abspath(sockets)
        self.specs = tuple(os.path.abspath(directory) for directory in specs)
        self.directories = (self.sockets, *self.specs)
        self.allow_unsafe = allow_unsafe
        self.places: Sequence[tuple[str, Sequence[str]]] = (
            (self.sockets, (_SOCKET,)),
            *((directory, tuple(SPEC_READERS)) for directory in self.specs),
        )
        self._unreadable: dict[str, object] = {}

    @classmethod
    def for_app(cls, app: str, *, allow_unsafe: bool = False) -> LocalRegistry:
        """Return the registry of the host program ``app``, whose directories are named as Docker's are.

        For root: sockets in ``/run/APP/plugins``, spec files in ``/etc/APP/plugins`` and ``/usr/lib/APP/plugins``.

        For anybody else: sockets in ``$XDG_RUNTIME_DIR/APP/plugins`` (``/run/user/UID`` where that is not set),
        spec files in ``$XDG_CONFIG_HOME/APP/plugins`` (``~/.config``) and ``~/.local/lib/APP/plugins``, then in
        root's two directories: what a package or the administrator offers to all is found by all, and a user's
        own file of the same name goes before it. Sockets in ``/run/APP`` belong to a host that runs as root;
        one that is meant for others is announced by a spec file in ``/etc``.

        Raises:
            SpecError: ``app`` cannot be the name of a directory.
        """
        below = os.path.join(check_name(app), "plugins")
        runtime, specs = "/run", ["/etc", "/usr/lib"]
        if os.geteuid() != 0:
            runtime = _xdg("XDG_RUNTIME_DIR", f"/run/user/{os.geteuid()}")
            own = _xdg("XDG_CONFIG_HOME", os.path.expanduser("~/.config")), os.path.expanduser("~/.local/lib")
            # A user without a home directory has a "~" that stays one.
            specs = [directory for directory in own if os.path.isabs(directory)] + specs
        return cls(
            os.path.join(runtime, below),
            [os.path.join(directory, below) for directory in specs],
            allow_unsafe=allow_unsafe,
        )

    def __repr__(self) -> str:
        unsafe = ", allow_unsafe=True" if self.allow_unsafe else ""
        return f"{type(self).__name__}({self.sockets!r}, {list(self.specs)!r}{unsafe})"

    def scan(self) -> list[str]:
        """Return the names for which ``find`` has an answer, sorted, each once.

        The answer may be that the source cannot be used: a spec file that is broken or that others may write
        is listed, so that whoever uses all plugins hears of it. A directory that is missing is empty. One that
        cannot be read is a warning, once until it can be read again; inside it, a plugin's own directory that
        cannot be entered is skipped.
        """
        names: set[str] = set()
        for directory, extensions in self.places:
            try:
                with os.scandir(directory) as entries:
                    names.update(chain.from_iterable(names_in(entry, extensions) for entry in entries))
            except FileNotFoundError:
                pass
            except OSError as error:
                self._warn_once(directory, error)
                continue
            self._unreadable.pop(directory, None)
        return sorted(filter(_is_name, names))

    def _warn_once(self, directory: str, error: OSError) -> None:
        mine = object()
        # setdefault is atomic: of threads that scan at the same time one warns.
        if self._unreadable.setdefault(directory, mine) is mine:
            logger.warning(
                "cannot read the plugin directory %s: %s; plugins in it are not seen", directory, _words(error)
            )

    def find(self, name: str) -> PluginSpec:
        """Return where the plugin ``name`` listens, and which file said so.

        Looks once; a missing plugin is not waited for.

        Raises:
            PluginNotFound: the message lists every place that was searched, and what was passed over there:
                a directory that this user may not enter is named as such, and the search goes on after it.
            SpecError: the name cannot be one; or the file, given with its line or key and what was expected,
                cannot be used or may be written by others.
        """
        passed_over: dict[str, str] = {}
        for candidate in self._candidates(check_name(name)):
            try:
                status = _status(candidate.path)
            except OSError as error:
                if candidate.directory not in passed_over:
                    passed_over[os.path.dirname(candidate.path)] = _words(error)
                continue
            if status is None:
                continue
            if not _accepts(candidate.extension, status):
                passed_over[candidate.path] = "not a socket"
                continue
            with suppress(FileNotFoundError):  # it went since its status was read, as at a restart
                return self._read(name, candidate, status)
        raise PluginNotFound(self._searched(name, passed_over), plugin=name)

    def sources(self, name: str) -> list[str]:
        """Return the files that stand for ``name``: the one that ``find`` uses, then those that it never looks at.

        Raises:
            SpecError: the name cannot be one.
        """
        found = (each.path for each in self._candidates(check_name(name)) if _is_source(each.path, each.extension))
        return list(dict.fromkeys(found))  # a directory may be given twice

    def stamp(self, spec: PluginSpec) -> Hashable:
        """Return the identity of the socket or spec file that ``spec`` came from, as it is now.

        It differs from ``spec.stamp`` when the file was changed or the socket was made anew, also under its old
        inode number: the time of the last change counts, so a chmod counts as well. It is None when the file is
        gone, or another has come to stand before it in the order. One ``stat``, and one for each place before it.
        """
        try:
            stamp = _stamp(os.stat(spec.source))
        except OSError:
            return None
        before = takewhile(lambda candidate: candidate.path != spec.source, self._candidates(spec.name))
        return None if any(_is_source(each.path, each.extension) for each in before) else stamp

    def _candidates(self, name: str) -> Iterator[_Candidate]:
        """Yield what could say where ``name`` listens, in the engine's order."""
        for directory, extensions in self.places:
            for extension in extensions:
                yield _Candidate(directory, os.path.join(directory, name + extension), extension)
                yield _Candidate(directory, os.path.join(directory, name, name + extension), extension)

    def _read(self, name: str, candidate: _Candidate, status: os.stat_result) -> PluginSpec:
        path = candidate.path
        try:
            if stat.S_ISSOCK(status.st_mode) and candidate.extension == _SOCKET:
                self._check_writers(candidate, status)
                address, tls = str(Address.parse(f"unix://{path}")), None
            else:
                content, status = _content(path, status)
                self._check_writers(candidate, status)
                address, tls = SPEC_READERS[candidate.extension](content)
        except FileNotFoundError:
            raise
        except OSError as error:
            # What leads to the file was passed, so that it is the file itself that is kept from us.
            remedy = f"chmod a+r {shlex.quote(path)}" if isinstance(error, PermissionError) else None
            message = f"{path}: cannot be read: {_words(error)}{_mended_by(remedy)}"
            raise SpecError(message, plugin=name, source=path, remedy=remedy) from error
        except SpecError as wrong:
            raise SpecError(
                f"{path}: {wrong}", plugin=name, address=wrong.address, source=path, remedy=wrong.remedy
            ) from wrong
        return PluginSpec(name, address, tls, source=path, stamp=_stamp(status))

    def _check_writers(self, candidate: _Candidate, status: os.stat_result) -> None:
        """Refuse a source that somebody besides root and this user could write, replace or redirect.

        ``status`` is of what was opened; the path may lead elsewhere by now, if others may write.
        """
        if self.allow_unsafe:
            return
        trail = list(_trail(candidate.path))
        end, _ = trail[-1]
        places = [(candidate.directory, os.stat(candidate.directory)), *trail, (end, status)]
        faults = dict(chain.from_iterable(writers(place, found) for place, found in places))
        if faults:
            remedy = " && ".join(faults)
            raise SpecError(f"refused, as {', and '.join(faults.values())}{_mended_by(remedy)}", remedy=remedy)

    def _searched(self, name: str, passed_over: dict[str, str]) -> str:
        words = f"no plugin {name!r}: looked for {name}{_SOCKET} in {self.sockets}"
        if self.specs:
            files = ", ".join(name + extension for extension in SPEC_READERS)
            words += f" and for {files} in {', '.join(self.specs)}"
        notes = "".join(f"; {place}: {reason}" for place, reason in passed_over.items())
        return f"{words}, and in {name}/ of each{notes}"


class _Candidate(NamedTuple):
    directory: str  # of the registry; path may be in a subdirectory of it
    path: str
    extension: str


def _accepts(extension: str, status: os.stat_result) -> bool:
    """Whether the search ends here: for sockets at a socket or a link that leads nowhere, else at whatever exists."""
    return extension != _SOCKET or stat.S_IFMT(status.st_mode) in (stat.S_IFSOCK, stat.S_IFLNK)


def _is_name(name: str) -> bool:
    try:
        check_name(name)
    except SpecError:
        return False
    return True


def _words(error: OSError) -> str:
    return (error.strerror or str(error)).lower()


def _mended_by(command: str | None) -> str:
    return f"; to mend it: {command}" if command else ""


def _xdg(variable: str, default: str) -> str:
    """Return the directory that the variable names; a relative one does not count (XDG Base Directory)."""
    value = os.environ.get(variable, "")
    return value if os.path.isabs(value) else default


def names_in(entry: os.DirEntry[str], extensions: Sequence[str]) -> Iterator[str]:
    """Yield the names that an entry of a plugin directory makes: by itself, and as a plugin's own directory.

    A name that `check_name` refuses may be among them.
    """
    stem, dot, suffix = entry.name.rpartition(".")
    extension = dot + suffix
    if extension in extensions:
        # The directory itself says which entries are regular files: no stat for these.
        regular = entry.is_file(follow_symlinks=False)
        if extension != _SOCKET if regular else _is_source(entry.path, extension):
            yield stem
    if _is_directory(entry):
        inner = os.path.join(entry.path, entry.name)
        if any(_is_source(inner + extension, extension) for extension in extensions):
            yield entry.name


def _is_directory(entry: os.DirEntry[str]) -> bool:
    try:
        return entry.is_dir()
    except OSError:  # a link in a circle, or into a directory that may not be entered
        return False


def _is_source(path: str, extension: str) -> bool:
    """Whether ``find`` would go no further than ``path``."""
    try:
        status = _status(path)
    except OSError:
        return False
    return status is not None and _accepts(extension, status)


def _status(path: str) -> os.stat_result | None:
    """Return the status of what ``path`` leads to, of itself if it is a link that leads nowhere, None without it.

    Raises:
        OSError: that cannot be told, for want of permission mostly.
    """
    try:
        status = os.lstat(path)
    except OSError as error:
        if error.errno in _ABSENT:
            return None
        raise
    if not stat.S_ISLNK(status.st_mode):
        return status
    try:
        return os.stat(path)
    except OSError as error:
        if error.errno in _NOWHERE:
            return status
        raise


def _content(path: str, status: os.stat_result) -> tuple[bytes, os.stat_result]:
    """Return what a spec file holds, and the status of the very file that was read."""
    kind = stat.S_IFMT(status.st_mode)
    if kind == stat.S_IFLNK:
        words = f"is a link to {os.readlink(path)}, which leads nowhere; remove it, or make what it names"
        raise SpecError(words, remedy=f"rm {shlex.quote(path)}")
    if kind != stat.S_IFREG:
        raise SpecError(f"is {_KINDS.get(kind, 'a device')}; expected a file with the plugin's address")
    with open(path, "rb", opener=_open_at_once) as file:
        status = os.fstat(file.fileno())  # before the reading: what is written meanwhile changes the stamp
        content = file.read(SPEC_LIMIT + 1)
    if len(content) > SPEC_LIMIT:
        raise SpecError(f"is over {SPEC_LIMIT} bytes; expected a file with the plugin's address")
    return content, status


def _open_at_once(path: str, flags: int) -> int:
    # A FIFO that took the file's place since its status was read must not hold us until somebody writes to it.
    return os.open(path, flags | os.O_NONBLOCK)


def _stamp(status: os.stat_result) -> Hashable:
    # Inode numbers are given again at once on ext4 and tmpfs; the time of the change tells two sockets apart.
    return status.st_dev, status.st_ino, status.st_ctime_ns, status.st_size


def _trail(path: str) -> Iterator[tuple[str, os.stat_result]]:
    """Yield what decides where ``path`` leads, with its status: its directory, itself, and so on for each link."""
    for _ in range(_LINK_LIMIT):
        directory = os.path.dirname(path)
        yield directory, os.stat(directory)
        status = os.lstat(path)
        yield path, status
        if not stat.S_ISLNK(status.st_mode):
            return
        path = os.path.join(directory, os.readlink(path))


def writers(place: str, status: os.stat_result) -> Iterator[tuple[str, str]]:
    """Yield by which commands ``place`` is taken from the users who may write it, each with its reason."""
    mode, quoted = status.st_mode, shlex.quote(place)
    if status.st_uid not in (0, os.geteuid()):
        yield (
            f"chown {'-h ' if stat.S_ISLNK(mode) else ''}root {quoted}",
            f"{place} belongs to user {status.st_uid}, who is neither root nor this user ({os.geteuid()})",
        )
    # The mode of a link means nothing. In a directory with the sticky bit nobody replaces what another made.
    sticky = stat.S_ISDIR(mode) and mode & stat.S_ISVTX
    if mode & stat.S_IWOTH and not stat.S_ISLNK(mode) and not sticky:
        yield f"chmod o-w {quoted}", f"every user may write {place}"
