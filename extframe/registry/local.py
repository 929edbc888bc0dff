"""Find plugins in the directories of this machine.

A plugin is found by its name, through the files that Docker's engine looks for, in the engine's order
(moby ``pkg/plugins/discovery.go``): a socket that the plugin created, or a spec file with its address.
"""

from __future__ import annotations

import errno
import os
import shlex
import stat
import sys
from collections.abc import Collection, Hashable, Sequence
from contextlib import suppress
from itertools import chain

from ..concurrency.system import user_id
from ..errors import ExtframeError, PluginNotFound, SpecError
from ..logs import get_logger
from ..protocol import SPEC_READERS, Address, PluginSpec, SpecContent, check_name, check_path, is_name
from .base import Registry as Registry
from .base import never_waits
from .ownership import check_writers, fix_with
from .ownership import writers as writers
from .search_errors import UNREACHABLE, is_access_denied, is_systems_fault, search_error, text_of_os_error
from .sources import (
    SOCKET,
    Candidate,
    accepts,
    candidates,
    content_of,
    expected_files,
    is_source,
    stamp_of,
    status_of,
)
from .sources import SPEC_LIMIT as SPEC_LIMIT
from .sources import names_in as names_in

StrPath = str | os.PathLike[str]

DOCKER_SOCKETS = "/run/docker/plugins"
DOCKER_SPECS = (
    (os.path.join(os.environ.get("PROGRAMDATA", r"C:\ProgramData"), "docker", "plugins"),)
    if sys.platform == "win32"
    else ("/etc/docker/plugins", "/usr/lib/docker/plugins")
)

logger = get_logger(__name__)


class LocalRegistry:
    """The plugins of this machine: sockets in one directory, spec files in the same or others.

    ::

        LocalRegistry()                                # Docker's directories
        LocalRegistry("plugins")                       # sockets and spec files in ./plugins, and nowhere else
        LocalRegistry(sockets="/run/x", specs=["/etc/x"])
        LocalRegistry.for_app("myhost")                # the directories of the host program myhost

    Plugin NAME is the first of these that exists::

        SOCKETS/NAME.sock   SOCKETS/NAME/NAME.sock
        SPECS/NAME.spec     SPECS/NAME/NAME.spec     SPECS/NAME.json    SPECS/NAME/NAME.json

    with the last line once for each directory in ``specs``, in order. A file that is not a socket is skipped under the
    name of a socket, as the engine does. A spec file that cannot be used (unreadable, malformed, a directory) is an
    error: no later place is searched.

    Differences from the engine:

    - A name that could leave the directory is rejected before a file is opened; the engine does not check names.
    - Files that other users can replace are rejected, with the command that fixes it. The file, every directory up to
      the root, and every link on the way must belong to root or to this user. They must not be writable by other
      users or by a group, except for sticky directories, gid 0 and the owner's private group; a socket's group may
      write. A socket that a spec file names is not checked: the owner of the spec file vouches for it.
    - The result carries the user ids that may answer at a unix socket; a client checks them when it connects.
    - A dangling link is an error, not a missing plugin.
    - ``scan`` includes links to sockets, requires the extension ``.sock``, and returns sorted names without duplicates.
    - ``find`` does not wait for a plugin to appear, and https is verified for both formats of spec files.

    Args:
        sockets: the directory in which plugins listen; Docker's if None.
        specs: the directories of spec files, the most important first. If None: ``sockets`` alone where that is given,
            else Docker's.
        allow_unsafe: accept files that other users can replace, and any process behind a socket. Those users can then
            impersonate plugins.
        peer_uids: further user ids whose processes may answer at a unix socket. Root, this user and the socket's owner
            always may.

    Relative paths are resolved at construction. Directories need not exist. ``places`` are the directories in the order
    of the search, each with the file name extensions that count there.

    Raises:
        TypeError: ``specs`` is a single path, or given without ``sockets``.
        SpecError: the locale's encoding lacks a character of a path.
    """

    def __init__(
        self,
        sockets: StrPath | None = None,
        specs: Sequence[StrPath] | None = None,
        *,
        allow_unsafe: bool = False,
        peer_uids: Collection[int] = (),
    ) -> None:
        if isinstance(specs, (str, bytes, os.PathLike)):
            raise TypeError(f"specs is a sequence of directories, not one: write specs=[{os.fspath(specs)!r}]")
        if sockets is None and specs is not None:
            raise TypeError(f"specs= is given without sockets=: name both, or write LocalRegistry({specs[0]!r})")
        if specs is None:
            specs = DOCKER_SPECS if sockets is None else [sockets]
        self.sockets = check_path(os.path.abspath(DOCKER_SOCKETS if sockets is None else sockets))
        self.specs = tuple(check_path(os.path.abspath(directory)) for directory in specs)
        self.directories = tuple(dict.fromkeys((self.sockets, *self.specs)))
        self.allow_unsafe = allow_unsafe
        self.peer_uids = frozenset(peer_uids)
        self.places: Sequence[tuple[str, Sequence[str]]] = (
            (self.sockets, (SOCKET,)),
            *((directory, tuple(SPEC_READERS)) for directory in self.specs),
        )
        self._readable: set[str] = set()
        self._reported: dict[str, object] = {}

    @classmethod
    def for_app(cls, app: str, *, allow_unsafe: bool = False, peer_uids: Collection[int] = ()) -> LocalRegistry:
        """Return the registry of the host program ``app``, whose directories are named like Docker's.

        For root: sockets in ``/run/APP/plugins``, spec files in ``/etc/APP/plugins`` and ``/usr/lib/APP/plugins``.

        For other users: sockets in ``$XDG_RUNTIME_DIR/APP/plugins`` (``/run/user/UID`` if unset), spec files in
        ``$XDG_CONFIG_HOME/APP/plugins`` (``~/.config``), ``~/.local/lib/APP/plugins``, and then in root's two
        directories: every user finds the plugins that a package or the administrator provides, and a user's own file of
        the same name takes precedence. Sockets in ``/run/APP`` belong to a host that runs as root; a spec file in
        ``/etc`` announces one that is for other users.

        Raises:
            SpecError: ``app`` cannot be the name of a directory.
        """
        below = os.path.join(check_name(app), "plugins")
        runtime, specs = "/run", ["/etc", "/usr/lib"]
        if (user := user_id()) != 0:
            import tempfile

            runtime = xdg("XDG_RUNTIME_DIR", tempfile.gettempdir() if user is None else f"/run/user/{user}")
            own = xdg("XDG_CONFIG_HOME", os.path.expanduser("~/.config")), os.path.expanduser("~/.local/lib")
            # expanduser leaves "~" as it is for a user without a home directory.
            specs = [directory for directory in own if os.path.isabs(directory)] + specs
        return cls(
            os.path.join(runtime, below),
            [os.path.join(directory, below) for directory in specs],
            allow_unsafe=allow_unsafe,
            peer_uids=peer_uids,
        )

    def __repr__(self) -> str:
        unsafe = ", allow_unsafe=True" if self.allow_unsafe else ""
        return f"{type(self).__name__}({self.sockets!r}, {list(self.specs)!r}{unsafe})"

    @never_waits
    def scan(self) -> list[str]:
        """Return the names for which ``find`` has an answer, sorted, without duplicates.

        The answer may be that the source cannot be used: a spec file that is malformed or unsafe is included, so that
        its user is notified. A missing directory is empty. A directory that this user has never been allowed to read is
        skipped with one warning if there are plugins elsewhere; a plugin's own directory likewise, without a warning.

        Raises:
            ExtframeError: a directory cannot be read now, so that plugins would be missing from the list.
        """
        names, unreadable = self.scan_readable()
        unreachable = {path for path, error in unreadable.items() if error.errno in UNREACHABLE}
        failed = {path: error for path, error in unreadable.items() if path not in unreachable}
        never = {path for path, error in failed.items() if names and self._is_never_readable(path, error)}
        if failed.keys() - never:
            raise search_error("list plugins", failed)
        for path, error in unreadable.items():
            self._warn_once(path, text_of_os_error(error))
        return names

    def scan_readable(self) -> tuple[list[str], dict[str, OSError]]:
        """Return the names in readable directories, as `scan` does, and the errors of the others that exist by path."""
        names: set[str] = set()
        failed: dict[str, OSError] = {}
        for directory, extensions in self.places:
            error = self._scan(directory, extensions, names)
            if error is not None and error.errno != errno.ENOENT:
                failed[directory] = error
        return sorted(filter(is_name, names)), failed

    def _scan(self, directory: str, extensions: Sequence[str], names: set[str]) -> OSError | None:
        try:
            with os.scandir(directory) as entries:
                names.update(chain.from_iterable(names_in(entry, extensions) for entry in entries))
        except OSError as error:
            return error
        self._readable.add(directory)
        self._reported.pop(directory, None)
        return None

    def _is_never_readable(self, directory: str, error: OSError) -> bool:
        return is_access_denied(error) and directory not in self._readable

    def _warn_once(self, directory: str, reason: str) -> None:
        mine = object()
        # setdefault is atomic: of several threads that scan at once, one warns.
        if self._reported.setdefault(directory, mine) is mine:
            logger.warning("cannot read the plugin directory %s: %s; its plugins are ignored", directory, reason)

    @never_waits
    def find(self, name: str) -> PluginSpec:
        """Return where plugin ``name`` listens, and which file says so. Looks once, without waiting.

        Raises:
            PluginNotFound: it does not exist; the message lists every place that was searched and what was skipped.
            SpecError: the name is invalid; or the file is malformed, unreadable or can be replaced by other users. The
                message has the file with its line or key, what was expected, and the command that fixes it.
            ExtframeError: the plugin was not found in the directories that can be searched, and others cannot be
                searched: this user may not enter them, or the system is out of file descriptors or memory.
        """
        skipped: dict[str, str] = {}
        failed: dict[str, OSError] = {}
        for candidate in candidates(self.places, check_name(name)):
            try:
                status = status_of(candidate.path)
            except OSError as error:
                if candidate.directory not in failed:
                    place = os.path.dirname(candidate.path)
                    if error.errno in UNREACHABLE:
                        skipped[place] = text_of_os_error(error)
                    else:
                        failed[place] = error
                continue
            if status is None:
                continue
            if not accepts(candidate.extension, status):
                skipped[candidate.path] = "not a socket"
                continue
            with suppress(FileNotFoundError):  # it was removed since its status was read, as during a restart
                return self._read(name, candidate, status)
        if failed:
            raise search_error(f"search for plugin {name!r}", failed, plugin=name)
        searched = expected_files(name, self.sockets, self.specs)
        notes = "".join(f"; {path}: {reason}" for path, reason in skipped.items())
        raise PluginNotFound(f"no plugin {name!r}: {searched}{notes}", plugin=name)

    def sources(self, name: str) -> list[str]:
        """Return the files that announce ``name``: the one that ``find`` uses, then those that it ignores.

        Raises:
            SpecError: the name is invalid.
        """
        found = candidates(self.places, check_name(name))
        return list(dict.fromkeys(each.path for each in found if _is_source(each)))  # a directory may be given twice

    @never_waits
    def stamp(self, spec: PluginSpec) -> Hashable:
        """Return the current identity of the socket or spec file that ``spec`` was read from.

        It differs from ``spec.stamp`` if the file has changed or the socket was created again, even with the same inode
        number: it contains the change time, so chmod changes it too. It is None if the file was removed, or a file that
        takes precedence has appeared. It is ``spec.stamp`` if the file system cannot say. Costs one ``stat``, and one
        for each place with precedence.
        """
        try:
            stamp = stamp_of(os.stat(spec.source))
        except OSError as error:
            return None if error.errno in UNREACHABLE else spec.stamp
        for candidate in candidates(self.places, spec.name):
            if candidate.path == spec.source:
                break
            if _is_source(candidate):
                return None
        return stamp

    def _read(self, name: str, candidate: Candidate, status: os.stat_result) -> PluginSpec:
        path = candidate.path
        try:
            if stat.S_ISSOCK(status.st_mode) and candidate.extension == SOCKET:
                self._check_safe(path, status)
                found = SpecContent(str(Address.parse(f"unix://{path}")))
            else:
                content, status = content_of(path, status)
                self._check_safe(path, status)
                found = SPEC_READERS[candidate.extension](content)
        except FileNotFoundError:
            raise
        except OSError as error:
            raise _unreadable(name, path, error) from error
        except SpecError as wrong:
            raise SpecError(
                f"{path}: {wrong}", plugin=name, address=wrong.address, source=path, remedy=wrong.remedy
            ) from wrong
        return PluginSpec(
            name,
            found.address,
            found.tls,
            source=path,
            stamp=stamp_of(status),
            peer_uids=self._peer_uids(found, path, status),
            endpoints=found.endpoints,
        )

    def _peer_uids(self, found: SpecContent, source: str, status: os.stat_result) -> frozenset[int] | None:
        """Return the users that may answer at a socket: its owner, and for one that a spec file names, its directory's.

        That socket may not exist yet; the owner of its directory can create it. It is None where any user may.
        """
        addresses = [each.address for each in found.endpoints] or [found.address]
        sockets = [path for address in addresses if (path := Address.parse(address).path)]
        if self.allow_unsafe or not sockets:
            return None
        owners = {status.st_uid} if sockets == [source] else set()
        for each in () if sockets == [source] else (*sockets, *map(os.path.dirname, sockets)):
            with suppress(OSError):
                owners.add(os.stat(each).st_uid)
        return self.peer_uids | owners

    def _check_safe(self, path: str, status: os.stat_result) -> None:
        if not self.allow_unsafe:
            check_writers(path, status)


def _unreadable(name: str, path: str, error: OSError) -> ExtframeError:
    if is_systems_fault(error):
        return search_error(f"read the source of plugin {name!r}", {path: error}, plugin=name)
    # The directories on the way can be entered, so the file itself is unreadable.
    remedy = f"chmod a+r {shlex.quote(path)}" if isinstance(error, PermissionError) else None
    message = f"{path}: cannot be read: {text_of_os_error(error)}{fix_with(remedy)}"
    return SpecError(message, plugin=name, source=path, remedy=remedy)


def _is_source(candidate: Candidate) -> bool:
    with suppress(OSError):
        return is_source(candidate.path, candidate.extension)
    return False


def xdg(variable: str, default: str) -> str:
    """Return the directory that a variable such as ``XDG_CONFIG_HOME`` names, or ``default``."""
    # A path that is not absolute is to be ignored (XDG Base Directory Specification).
    value = os.environ.get(variable, "")
    return value if os.path.isabs(value) else default
