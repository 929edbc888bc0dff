"""Observers of calls: what they are, and how they are called without harm to a call. Sends nothing."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import TYPE_CHECKING, Protocol

from ..concurrency.once import Once
from ..logs import get_logger
from ..text import printable

if TYPE_CHECKING:
    from .observation import CallOutcome, ObservedCall
else:
    from ..concurrency.late_types import late

    CallOutcome = late("extframe.client.observation", "CallOutcome")
    ObservedCall = late("extframe.client.observation", "ObservedCall")

logger = get_logger(__name__)


class Observer(Protocol):
    """Notified of each call of a client, or of all clients of a manager: for logs, metrics and traces.

    Both methods are called in the thread or task that makes the call, and must return at once. What they raise is
    logged once and does not affect the call.
    """

    def call_started(self, call: ObservedCall) -> object:
        """Prepare for a call that is about to be made. May put headers into ``call.headers``."""

    def call_ended(self, call: ObservedCall, outcome: CallOutcome) -> object:
        """Record a call that has ended. Called once for each `call_started`, whatever happens to the call."""


class Observers:
    """The observers of a client or manager, isolated from calls and from each other.

    Args:
        observers: notified in this order, and in the opposite order at the end.

    Raises:
        TypeError: one lacks a method.
    """

    def __init__(self, observers: Iterable[Observer]) -> None:
        found = tuple(observers)
        for observer in found:
            for method in ("call_started", "call_ended"):
                if isinstance(observer, type) or not callable(getattr(observer, method, None)):
                    raise TypeError(f"{observer!r} is not an observer: expected an object with a method {method}")
        self.started: tuple[Callable[[ObservedCall], object], ...] = tuple(observer.call_started for observer in found)
        self.ended: tuple[Callable[[ObservedCall, CallOutcome], object], ...] = tuple(
            observer.call_ended for observer in reversed(found)
        )
        self._reported = Once()

    @classmethod
    def of(cls, observers: Iterable[Observer] | Observers) -> Observers | None:
        """Return observers, which several clients may share; None if there are none.

        Raises:
            TypeError: one lacks a method, or it is not iterable.
        """
        if isinstance(observers, Observers):
            return observers
        made = cls(observers)
        return made if made.started else None

    def report(self, act: object, error: Exception) -> None:
        """Log, once for each ``act``, that it failed: a method of an observer, or text."""
        if self._reported.first(act):
            what = act if isinstance(act, str) else printable(repr(act))
            logger.error(
                "observing calls failed: %s: %r; calls go on, and this is logged once", what, error, exc_info=error
            )
