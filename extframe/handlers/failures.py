"""Keep what failed and must not be in the way of the rest. Decides nothing, and raises nothing."""

from __future__ import annotations

import threading
from collections.abc import Hashable
from dataclasses import dataclass, field
from datetime import datetime, timezone

from ..text import text_of


@dataclass(frozen=True)
class Failure:
    """Something that failed and was kept out of the way of the rest.

    Args:
        what: ``entry point 'backup'``, ``handler 'backup' on plugin 'rclone' (VolumeDriver)``, ``plugin 'rclone'``.
        exception: what was raised, with its traceback.
        distribution: the name of the installed distribution that brought it, where there is one.
        version: that distribution's version.
        when: in UTC.
    """

    what: str
    exception: BaseException
    distribution: str | None = None
    version: str | None = None
    when: datetime = field(default_factory=lambda: datetime.now(timezone.utc))

    def __str__(self) -> str:
        origin = f" of {self.distribution} {self.version}" if self.distribution else ""
        return f"{self.what}{origin}: {type(self.exception).__name__}: {text_of(self.exception)}"


class Failures:
    """The failures that still stand, one per subject: a later one takes its place, a success takes it away."""

    def __init__(self) -> None:
        self._standing: dict[Hashable, Failure] = {}
        self._lock = threading.Lock()

    def note(self, subject: Hashable, failure: Failure) -> None:
        """Keep the failure of a subject."""
        with self._lock:
            self._standing[subject] = failure

    def clear(self, subject: Hashable) -> None:
        """Forget the failure of a subject that works."""
        if subject in self._standing:
            with self._lock:
                self._standing.pop(subject, None)

    def clear_all(self, *, of: str, key: Hashable) -> None:
        """Forget the failures whose subject is a tuple that begins with ``of`` and ``key``."""
        with self._lock:
            for subject in [each for each in self._standing if isinstance(each, tuple) and each[:2] == (of, key)]:
                del self._standing[subject]

    def clear_plugin(self, name: str) -> None:
        """Forget the failures of a plugin, of the entries of its manifest and of handlers on it."""
        with self._lock:
            for subject in [each for each in self._standing if _is_about(each, name)]:
                del self._standing[subject]

    def exception(self, subject: Hashable) -> BaseException | None:
        """Return what a subject raised, or None if it did not fail."""
        failure = self._standing.get(subject)
        return None if failure is None else failure.exception

    def __contains__(self, subject: Hashable) -> bool:
        return subject in self._standing

    def list(self) -> list[Failure]:
        """Return them, the oldest first."""
        with self._lock:
            return sorted(self._standing.values(), key=lambda failure: failure.when)


def _is_about(subject: Hashable, plugin: str) -> bool:
    if not isinstance(subject, tuple):
        return False
    return subject[:2] in (("plugin", plugin), ("entry", plugin)) or (subject[0] == "handler" and subject[2] == plugin)


def kind_of(error: BaseException | None) -> tuple[type[BaseException], ...]:
    """Return what tells one failure from another: the types of an error and its causes."""
    kinds = []
    while error is not None:
        kinds.append(type(error))
        error = error.__cause__
    return tuple(kinds)
