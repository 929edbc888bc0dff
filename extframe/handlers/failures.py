"""Failures of plugins, handlers and packages, recorded instead of raised. Decides nothing."""

from __future__ import annotations

import threading
from collections.abc import Hashable
from dataclasses import dataclass, field
from datetime import datetime, timezone
from typing import Any

from ..text import cut, printable, text_of

TEXT_LIMIT = 2_000  # characters of an exception in the text of a failure; the exception itself has all of them


@dataclass(frozen=True)
class Failure:
    """A failure of one plugin, handler or package, which did not affect the others.

    Args:
        what: what failed: ``entry point 'backup'``, ``handler 'backup' on plugin 'rclone' (VolumeDriver)``,
            ``plugin 'rclone'``.
        exception: the exception with its traceback.
        distribution: the name of the installed distribution that it belongs to, if any.
        version: that distribution's version.
        when: the time in UTC.
    """

    what: str
    exception: BaseException
    distribution: str | None = None
    version: str | None = None
    when: datetime = field(default_factory=lambda: datetime.now(timezone.utc))

    def __str__(self) -> str:
        origin = f" of {self.distribution} {self.version}" if self.distribution else ""
        text = cut(text_of(self.exception), TEXT_LIMIT)
        return printable(f"{self.what}{origin}: {type(self.exception).__name__}: {text}")

    def __repr__(self) -> str:
        return f"<Failure {self}>"


class Failures:
    """The current failures, one per subject: a later failure replaces it, a success clears it."""

    def __init__(self) -> None:
        self._current: dict[Hashable, Failure] = {}
        self._lock = threading.Lock()

    def note(self, subject: Hashable, failure: Failure) -> None:
        """Record the failure of a subject."""
        with self._lock:
            self._current[subject] = failure

    def clear(self, subject: Hashable) -> None:
        """Clear the failure of a subject that works again."""
        if subject in self._current:
            with self._lock:
                self._current.pop(subject, None)

    def clear_all(self, *, of: str, key: Hashable) -> None:
        """Clear the failures whose subject is a tuple that begins with ``of`` and ``key``."""
        with self._lock:
            for subject in [each for each in self._current if isinstance(each, tuple) and each[:2] == (of, key)]:
                del self._current[subject]

    def clear_plugin(self, name: str) -> None:
        """Clear the failures of a plugin, of its manifest entries and of handlers called for it."""
        with self._lock:
            for subject in [each for each in self._current if _is_about(each, name)]:
                del self._current[subject]

    def about(self, kind: str) -> list[tuple[tuple[Any, ...], Failure]]:
        """Return the failures whose subject is a tuple that begins with ``kind``, each with its subject."""
        with self._lock:
            current = list(self._current.items())
        return [(subject, each) for subject, each in current if isinstance(subject, tuple) and subject[0] == kind]

    def exception(self, subject: Hashable) -> BaseException | None:
        """Return the exception of a subject, None if it did not fail."""
        failure = self._current.get(subject)
        return None if failure is None else failure.exception

    def __contains__(self, subject: Hashable) -> bool:
        return subject in self._current

    def list(self) -> list[Failure]:
        """Return the failures, oldest first."""
        with self._lock:
            return sorted(self._current.values(), key=lambda failure: failure.when)


def _is_about(subject: Hashable, plugin: str) -> bool:
    if not isinstance(subject, tuple):
        return False
    return subject[:2] in (("plugin", plugin), ("entry", plugin)) or (subject[0] == "handler" and subject[2] == plugin)


def kind_of(error: BaseException | None) -> tuple[type[BaseException], ...]:
    """Return the types of an error and its causes, by which repeated failures are recognised."""
    kinds = []
    while error is not None:
        kinds.append(type(error))
        error = error.__cause__
    return tuple(kinds)
