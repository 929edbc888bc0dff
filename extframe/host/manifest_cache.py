"""The manifests of plugins, remembered in a file for the next run of a host. Contacts no plugin."""

from __future__ import annotations

import os
import stat
import sys
import threading
import time
from collections.abc import Callable, Hashable
from contextlib import suppress

import msgspec

from ..errors import SpecError
from ..logs import get_logger
from ..protocol import Manifest, PluginSpec, check_name

MANIFEST_AGE = 24 * 3600.0  # seconds for which a manifest is remembered
SUSPECT_AGE = 600.0  # seconds for which ``get_all`` does not wait for a plugin that failed
LIMIT = 500  # plugins that are remembered
SIZE_LIMIT = 4 << 20  # bytes

logger = get_logger(__name__)


class _Entry(msgspec.Struct, omit_defaults=True):
    """What is remembered of one plugin. Times are ``time.time()`` values."""

    stamp: str
    address: str
    when: float
    implements: tuple[str, ...] = ()
    versions: tuple[tuple[str, tuple[int, ...]], ...] = ()
    settings: tuple[str, ...] = ()
    failed: bool = False


class _File(msgspec.Struct):
    version: int
    plugins: dict[str, _Entry]


class ManifestCache:
    """What is remembered of plugins between the runs of a host, by name and by the stamp of their source. Thread-safe.

    It is read at the first use and written by `save`. What cannot be read, or was written by another user, is ignored.

    Args:
        path: the file.
        clock: returns the time; ``time.time``.
    """

    def __init__(self, path: str, clock: Callable[[], float] = time.time) -> None:
        self.path = path
        self._clock = clock
        self._lock = threading.Lock()
        self._known: dict[str, _Entry] | None = None
        self._changed: dict[str, _Entry] = {}

    def manifest(self, spec: PluginSpec) -> Manifest | None:
        """Return the manifest of a plugin whose source has not changed since; None if it is not known, or failed."""
        entry = self._entry(spec, MANIFEST_AGE)
        if entry is None or entry.failed or not entry.implements or spec.endpoints:  # each instance has its own
            return None
        return Manifest(entry.implements, entry.versions, entry.settings)

    def is_suspect(self, spec: PluginSpec) -> bool:
        """Return whether a plugin whose source has not changed since was dead, or hung, a short time ago."""
        entry = self._entry(spec, SUSPECT_AGE)
        return entry is not None and entry.failed

    def record_success(self, spec: PluginSpec, manifest: Manifest) -> None:
        """Remember the response to a handshake."""
        self._record(spec, manifest, failed=False)

    def record_failure(self, spec: PluginSpec) -> None:
        """Remember that a handshake failed. A later failure does not prolong the time for which that counts."""
        if not self.is_suspect(spec):
            self._record(spec, Manifest(), failed=True)

    def save(self) -> None:
        """Write what has changed, and keep what other processes have written meanwhile. A failure is logged."""
        with self._lock:
            changed, self._changed = self._changed, {}
        if not changed:
            return
        entries = {**self._read(), **changed}
        newest = sorted(entries.items(), key=lambda item: item[1].when)[-LIMIT:]
        try:
            _write(self.path, msgspec.json.encode(_File(1, dict(newest))))
        except OSError as error:
            logger.warning("the manifests of plugins cannot be remembered in %s: %s", self.path, error)

    def _entry(self, spec: PluginSpec, age: float) -> _Entry | None:
        stamp = _text_of(spec.stamp)
        with self._lock:
            if self._known is None:
                self._known = self._read()
            entry = self._changed.get(spec.name) or self._known.get(spec.name)
        if entry is None or stamp is None or (entry.stamp, entry.address) != (stamp, spec.address):
            return None
        return entry if 0 <= self._clock() - entry.when < age else None

    def _record(self, spec: PluginSpec, manifest: Manifest, *, failed: bool) -> None:
        stamp = _text_of(spec.stamp)
        if stamp is not None:
            entry = _Entry(
                stamp,
                spec.address,
                self._clock(),
                implements=manifest.implements,
                versions=manifest.versions,
                settings=manifest.settings,
                failed=failed,
            )
            with self._lock:
                self._changed[spec.name] = entry

    def _read(self) -> dict[str, _Entry]:
        try:
            with open(self.path, "rb") as file:
                if not _is_own(os.fstat(file.fileno())):
                    logger.warning("%s is ignored: another user may have written it; remove it", self.path)
                    return {}
                found = msgspec.json.decode(file.read(SIZE_LIMIT), type=_File)
        except FileNotFoundError:
            return {}
        except (OSError, ValueError, msgspec.MsgspecError) as error:
            logger.info("%s is ignored: %s", self.path, error)
            return {}
        return found.plugins if found.version == 1 else {}


def cache_path(cache: str | os.PathLike[str]) -> str:
    """Return the file in which the manifests of plugins are remembered.

    Args:
        cache: the name of the host, for a file in the user's cache directory; or the path of the file, absolute, or a
            ``pathlib.Path``.

    Raises:
        SpecError: the name cannot be that of a directory, or the user has no home directory.
    """
    if not isinstance(cache, str) or os.path.isabs(cache):
        return os.path.abspath(os.fspath(cache))
    directory = _cache_directory()
    if not os.path.isabs(directory):
        raise SpecError(f"cache is {cache!r}, and this user has no home directory: give the path of a file")
    return os.path.join(directory, check_name(cache), "extframe-manifests.json")


def _cache_directory() -> str:
    """Return the user's directory for caches (XDG Base Directory Specification, and its like on other systems)."""
    if sys.platform == "darwin":
        return os.path.expanduser("~/Library/Caches")
    if sys.platform == "win32":
        return os.environ.get("LOCALAPPDATA") or os.path.expanduser("~\\AppData\\Local")
    given = os.environ.get("XDG_CACHE_HOME", "")
    return given if os.path.isabs(given) else os.path.expanduser("~/.cache")


def _is_own(status: os.stat_result) -> bool:
    if not hasattr(os, "geteuid"):
        return True
    return status.st_uid == os.geteuid() and not status.st_mode & (stat.S_IWGRP | stat.S_IWOTH)


def _text_of(stamp: Hashable) -> str | None:
    """Return a stamp as text that is equal if the stamp is; None if that cannot be said in another process."""
    return None if stamp is None or not _is_plain(stamp) else repr(stamp)


def _is_plain(value: object) -> bool:
    if isinstance(value, tuple):
        return all(_is_plain(each) for each in value)
    return value is None or type(value) in (str, bytes, int, float, bool)


def _write(path: str, content: bytes) -> None:
    directory = os.path.dirname(path)
    os.makedirs(directory, mode=0o700, exist_ok=True)
    draft = f"{path}.{os.getpid()}-{threading.get_ident()}"
    descriptor = os.open(draft, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
    try:
        with os.fdopen(descriptor, "wb") as file:
            file.write(content)
        os.replace(draft, path)
    except BaseException:
        with suppress(OSError):
            os.unlink(draft)
        raise
