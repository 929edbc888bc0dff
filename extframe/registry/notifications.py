"""Notice that something happens in directories, which may be missing. Reads no file, and knows no plugins."""

from __future__ import annotations

import os
from collections.abc import Sequence
from contextlib import suppress
from typing import Protocol

from ..logs import get_logger

RESCAN = 5.0  # seconds after which to look for what notifications lost

_REFUSED = (
    "the system gives no notifications of changes (%s); plugin directories are looked at instead. "
    "Raise fs.inotify.max_user_instances and fs.inotify.max_user_watches to mend it"
)

logger = get_logger(__name__)


class Changes(Protocol):
    """What happens in some directories and in theirs, or may have happened. Some of it may be lost."""

    rescan: float
    """Seconds after which to look for what was lost."""
    interval: float
    """Seconds after which to ask ``happened`` again, where nothing came over ``descriptor``."""
    descriptor: int | None
    """A file descriptor that is readable when something happened."""

    def happened(self) -> bool:
        """Return whether something happened since this was last asked."""
        raise NotImplementedError

    def arm(self) -> None:
        """Take in directories that have come; to be called before each look at them."""

    def close(self) -> None:
        """Let go of what the system was asked for."""


def changes_in(directories: Sequence[str]) -> Changes:
    """Return what notices changes best: the system's notifications, or else a look at the directories' times.

    Where there are none, as in a registry of something else than files, no notification can come.
    """
    if not directories:
        return DirectoryTimes(())
    try:
        return Notifications(directories)
    except ImportError:
        return DirectoryTimes(directories)
    except OSError as refused:
        logger.warning(_REFUSED, refused.strerror)
        return DirectoryTimes(directories)


class DirectoryTimes:
    """Looks at the time of each directory's last change, which entries that come and go set.

    What happens inside an entry is not seen here: a file that is written anew, a plugin's own directory.
    """

    rescan = 0.5
    interval = 0.1
    descriptor: int | None = None

    def __init__(self, directories: Sequence[str]) -> None:
        self._directories = directories
        self._seen = self._times()

    def happened(self) -> bool:
        """Return whether a directory came, went or changed."""
        seen, self._seen = self._seen, self._times()
        return self._seen != seen

    def arm(self) -> None:
        """Do nothing: directories are looked at by their names."""

    def close(self) -> None:
        """Do nothing."""

    def _times(self) -> list[tuple[int, int, int] | None]:
        return [_time(directory) for directory in self._directories]


def _time(directory: str) -> tuple[int, int, int] | None:
    try:
        status = os.stat(directory)
    except OSError:
        return None
    return status.st_dev, status.st_ino, status.st_ctime_ns


class Notifications:
    """Linux's inotify, for each directory and those in it. For one that is missing: for the nearest above it.

    Raises:
        ImportError: inotify_simple is not installed; the extra ``watch`` brings it.
        OSError: the user has as many as the system allows.
    """

    rescan = RESCAN
    interval = 3600.0

    def __init__(self, directories: Sequence[str]) -> None:
        from inotify_simple import INotify, flags

        self._directories = directories
        self._flags = flags.CREATE | flags.DELETE | flags.MOVED_FROM | flags.MOVED_TO | flags.CLOSE_WRITE
        self._flags |= flags.ATTRIB | flags.DELETE_SELF | flags.MOVE_SELF | flags.ONLYDIR
        self._inotify = INotify(nonblocking=True)
        self._names: dict[int, str | None] = {}  # by watch: the one name in the directory that counts, None for all
        self._refused: OSError | None = None  # in the last `arm`: the user has as many as the system allows
        self.descriptor: int | None = self._inotify.fileno()
        try:
            self._arm()
            if self._refused is not None:
                raise self._refused
        except BaseException:
            self.close()
            raise

    def happened(self) -> bool:
        """Return whether something happened that counts, or the system lost track."""
        happened = False
        for event in self._inotify.read(timeout=0):
            counts = self._names.get(event.wd, "" if event.wd >= 0 else None)
            happened = happened or counts is None or (counts != "" and event.name in (counts, ""))
        return happened

    def arm(self) -> None:
        """Watch what is there now, and no more than that; have it looked at more often where the system refuses."""
        before = self._refused
        self._arm()
        self.rescan = RESCAN if self._refused is None else DirectoryTimes.rescan
        if self._refused is not None and before is None:
            logger.warning(_REFUSED, self._refused.strerror)

    def _arm(self) -> None:
        self._refused = None
        before, self._names = self._names, {}
        for directory in self._directories:
            self._watch(directory)
        for watch in before.keys() - self._names.keys():
            with suppress(OSError):  # the directory is gone, and its watch with it
                self._inotify.rm_watch(watch)

    def close(self) -> None:
        """Give the descriptor back."""
        self._inotify.close()

    def _watch(self, directory: str) -> None:
        place, missing = _nearest(directory)
        self._add(place, missing)
        if missing is None:
            for each in _directories_in(directory):
                self._add(each, None)
        elif _nearest(directory) != (place, missing):  # it came before we watched
            self._watch(directory)

    def _add(self, directory: str, name: str | None) -> None:
        try:
            watch = self._inotify.add_watch(directory, self._flags)
        except (FileNotFoundError, NotADirectoryError, PermissionError):
            return  # a later look may find it
        except OSError as refused:
            self._refused = refused
            return
        self._names[watch] = name if self._names.get(watch, name) == name else None


def _nearest(directory: str) -> tuple[str, str | None]:
    """Return the directory itself, or the nearest above it that exists and the name that is missing there."""
    missing = None
    while not os.path.isdir(directory) and directory != os.path.dirname(directory):
        directory, missing = os.path.split(directory)
    return directory, missing


def _directories_in(directory: str) -> list[str]:
    try:
        with os.scandir(directory) as entries:
            return [entry.path for entry in entries if entry.is_dir()]
    except OSError:  # it cannot be read, or has gone
        return []
