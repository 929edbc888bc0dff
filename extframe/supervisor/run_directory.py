"""A directory for the sockets of one running host, and the removal of those that dead hosts left."""

from __future__ import annotations

import os
import shutil
import tempfile
import weakref
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager, suppress

from ..concurrency.system import after_fork, lock, share_lock_now
from ..errors import SpecError
from ..registry.ownership import check_writers
from ..registry.search_errors import text_of_os_error

_PREFIX = "host-"
_LOCK = "lock"
_CONFIGURATION = "configuration"  # names the directories of the host's configuration


class RunDirectory:
    """A directory that this host has for itself: a second host of the same application gets another.

    Args:
        base: the directory of all hosts; created if it is missing.
        configuration: the absolute directories of this host's configuration, by which others find it.

    Raises:
        SpecError: ``base`` cannot be created, or other users can write it.
    """

    def __init__(self, base: str, configuration: Sequence[str]) -> None:
        base = os.path.abspath(base)
        try:
            os.makedirs(base, 0o755, exist_ok=True)
            check_writers(base, os.stat(base))
            with ExitStack() as undo:
                self._create(base, undo)
                with open(os.path.join(self.path, _CONFIGURATION), "wb") as file:
                    file.writelines(os.fsencode(each) + b"\0" for each in configuration)
                undo.pop_all()
        except SpecError as unsafe:
            raise SpecError(f"run directory {base}: {unsafe}", source=base, remedy=unsafe.remedy) from unsafe
        except OSError as refused:
            message = f"cannot use {base} as run directory: {text_of_os_error(refused)}; choose one with run_directory="
            raise SpecError(message, source=base) from refused
        _directories_of_this_process.add(self)
        os.chmod(self.path, 0o711)  # plugins of other users have directories in it

    def _create(self, base: str, undo: ExitStack) -> None:
        with _locked(os.path.join(base, ".lock")):
            _remove_stale(base)
            self.path = tempfile.mkdtemp(prefix=_PREFIX, dir=base)
            undo.callback(shutil.rmtree, self.path, ignore_errors=True)
            self._lock = _open_lock(os.path.join(self.path, _LOCK))
            undo.callback(os.close, self._lock)
            lock(self._lock)  # waits for a program that looks at this moment whether the lock is held

    def close(self) -> None:
        """Remove it."""
        shutil.rmtree(self.path, ignore_errors=True)
        self.release()

    def release(self) -> None:
        """Release the lock, in a process that the host forked also: it would be held as long as that one runs."""
        _directories_of_this_process.discard(self)
        os.close(self._lock)


_directories_of_this_process: weakref.WeakSet[RunDirectory] = weakref.WeakSet()


def _forget() -> None:
    for each in list(_directories_of_this_process):
        each.release()


after_fork(_forget)


def live_directories(base: str, configuration: str | None = None) -> list[str]:
    """Return the run directories of the hosts that run now, the latest first.

    Args:
        base: the directory of all hosts.
        configuration: only hosts with this directory of configuration; all if None.
    """
    found = [path for path in _directories(base) if not _is_stale(path)]
    if configuration is not None:
        found = [path for path in found if os.path.abspath(configuration) in _configuration(path)]
    return sorted(found, key=_changed, reverse=True)


def _configuration(path: str) -> list[str]:
    try:
        with open(os.path.join(path, _CONFIGURATION), "rb") as file:
            return [os.fsdecode(each) for each in file.read().split(b"\0")]
    except OSError:
        return []  # the host has ended, or has only begun


def _changed(path: str) -> float:
    with suppress(OSError):
        return os.stat(path).st_mtime
    return 0.0


def _directories(base: str) -> list[str]:
    try:
        return [os.path.join(base, name) for name in os.listdir(base) if name.startswith(_PREFIX)]
    except OSError:
        return []


def _remove_stale(base: str) -> None:
    for path in _directories(base):
        if _is_stale(path):
            shutil.rmtree(path, ignore_errors=True)


def _is_stale(path: str) -> bool:
    try:
        descriptor = os.open(os.path.join(path, _LOCK), os.O_RDWR | os.O_NOFOLLOW)
    except FileNotFoundError:
        return True  # its host died before it had the lock, which is made under the lock of all
    except OSError:
        return False  # another user's
    try:
        share_lock_now(descriptor)  # several programs may look at once
    except OSError:
        return False
    finally:
        os.close(descriptor)
    return True


def _open_lock(path: str) -> int:
    return os.open(path, os.O_RDWR | os.O_CREAT | os.O_NOFOLLOW, 0o600)


@contextmanager
def _locked(path: str) -> Iterator[None]:
    descriptor = _open_lock(path)
    try:
        lock(descriptor)
        yield
    finally:
        os.close(descriptor)
