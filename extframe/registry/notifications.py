"""Notice changes in directories, by inotify or by polling. Reads no file, and knows nothing about plugins."""

from __future__ import annotations

import os
from collections.abc import Sequence
from contextlib import suppress
from typing import Protocol

from ..logs import get_logger

RESCAN_INTERVAL = 5.0  # seconds between scans for changes whose notifications were lost

NEVER = 3600.0  # seconds between polls where changes are notified

_FALLBACK = (
    "inotify is not available (%s), so plugin directories are polled instead; "
    "raise fs.inotify.max_user_instances and fs.inotify.max_user_watches to fix this"
)

logger = get_logger(__name__)


class ChangeMonitor(Protocol):
    """Notices changes in directories and in the directories directly inside them. It may miss some."""

    rescan_interval: float
    """Seconds after which to look for missed changes."""
    poll_interval: float
    """Seconds after which to call ``has_changed`` when ``descriptor`` has not become readable."""
    descriptor: int | None
    """A file descriptor that becomes readable on a change; None if there is none."""

    def has_changed(self) -> bool:
        """Return whether there was a change since the last call."""
        raise NotImplementedError

    def refresh(self) -> None:
        """Include directories that were created meanwhile. Call it before each scan."""

    def close(self) -> None:
        """Release the system's resources."""


def monitor_changes(directories: Sequence[str], *, is_notified: bool = False) -> ChangeMonitor:
    """Return the best monitor available: inotify, or else polling of the directories' modification times.

    Without directories, as for a registry that is not file-based, it never reports a change.

    Args:
        directories: those of the registry.
        is_notified: whether the registry reports changes by itself. Without directories, it is then scanned only for
            changes whose notifications were lost.
    """
    if not directories:
        monitor = PollingMonitor(())
        monitor.poll_interval = NEVER  # there is nothing to poll, and each turn of a watch looks at every plugin
        if is_notified:
            monitor.rescan_interval = RESCAN_INTERVAL
        return monitor
    try:
        return InotifyMonitor(directories)
    except ImportError:
        return PollingMonitor(directories)
    except OSError as refused:
        logger.warning(_FALLBACK, refused.strerror)
        return PollingMonitor(directories)


class PollingMonitor:
    """Polls each directory's change time, which changes when an entry is created or removed.

    It does not see changes inside an entry: a file that is rewritten, a file in a plugin's own directory.
    """

    rescan_interval = 0.5
    poll_interval = 0.1
    descriptor: int | None = None

    def __init__(self, directories: Sequence[str]) -> None:
        self._directories = directories
        self._last = self._stamps()

    def has_changed(self) -> bool:
        """Return whether a directory was created, removed or changed since the last call."""
        last, self._last = self._last, self._stamps()
        return self._last != last

    def refresh(self) -> None:
        """Do nothing: directories are looked up by name each time."""

    def close(self) -> None:
        """Do nothing."""

    def _stamps(self) -> list[tuple[int, int, int] | None]:
        return [_stamp(directory) for directory in self._directories]


def _stamp(directory: str) -> tuple[int, int, int] | None:
    try:
        status = os.stat(directory)
    except OSError:
        return None
    return status.st_dev, status.st_ino, status.st_ctime_ns


class InotifyMonitor:
    """Watches each directory and its subdirectories with inotify; for a missing one, the nearest existing parent.

    Raises:
        ImportError: inotify_simple is not installed; the extra ``watch`` installs it.
        OSError: a limit of the system or of this user is reached.
    """

    rescan_interval = RESCAN_INTERVAL
    poll_interval = NEVER

    def __init__(self, directories: Sequence[str]) -> None:
        from inotify_simple import INotify, flags

        self._directories = directories
        self._flags = flags.CREATE | flags.DELETE | flags.MOVED_FROM | flags.MOVED_TO | flags.CLOSE_WRITE
        self._flags |= flags.ATTRIB | flags.DELETE_SELF | flags.MOVE_SELF | flags.ONLYDIR
        self._inotify = INotify(nonblocking=True)
        self._names: dict[int, str | None] = {}  # by watch: the only relevant name in the directory, None for all
        self._refused: OSError | None = None  # by the last `_watch_all`: a limit was reached
        self.descriptor: int | None = self._inotify.fileno()
        try:
            self._watch_all()
            if self._refused is not None:
                raise self._refused
        except BaseException:
            self.close()
            raise

    def has_changed(self) -> bool:
        """Return whether there was a relevant event since the last call, or the kernel's queue overflowed."""
        changed = False
        for event in self._inotify.read(timeout=0):
            relevant = self._names.get(event.wd, "" if event.wd >= 0 else None)
            changed = changed or relevant is None or (relevant != "" and event.name in (relevant, ""))
        return changed

    def refresh(self) -> None:
        """Watch the directories that exist now and no others; rescan more often where the system refuses a watch."""
        before = self._refused
        self._watch_all()
        self.rescan_interval = RESCAN_INTERVAL if self._refused is None else PollingMonitor.rescan_interval
        if self._refused is not None and before is None:
            logger.warning(_FALLBACK, self._refused.strerror)

    def _watch_all(self) -> None:
        self._refused = None
        before, self._names = self._names, {}
        for directory in self._directories:
            self._watch(directory)
        for watch in before.keys() - self._names.keys():
            with suppress(OSError):  # the directory was removed, and its watch with it
                self._inotify.rm_watch(watch)

    def close(self) -> None:
        """Close the inotify descriptor."""
        self._inotify.close()

    def _watch(self, directory: str) -> None:
        existing, missing = _nearest(directory)
        self._add(existing, missing)
        if missing is None:
            for each in _directories_in(directory):
                self._add(each, None)
        elif _nearest(directory) != (existing, missing):  # it was created before the watch was added
            self._watch(directory)

    def _add(self, directory: str, name: str | None) -> None:
        try:
            watch = self._inotify.add_watch(directory, self._flags)
        except (FileNotFoundError, NotADirectoryError, PermissionError):
            return  # a later rescan may find it
        except OSError as refused:
            self._refused = refused
            return
        self._names[watch] = name if self._names.get(watch, name) == name else None


def _nearest(directory: str) -> tuple[str, str | None]:
    """Return ``directory`` if it exists, or the nearest existing parent and the name that is missing in it."""
    missing = None
    while not os.path.isdir(directory) and directory != os.path.dirname(directory):
        directory, missing = os.path.split(directory)
    return directory, missing


def _directories_in(directory: str) -> list[str]:
    try:
        with os.scandir(directory) as entries:
            return [entry.path for entry in entries if entry.is_dir()]
    except OSError:  # unreadable, or removed meanwhile
        return []
