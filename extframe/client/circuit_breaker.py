"""The circuit breaker: calls to a plugin that keeps failing fail at once. Makes no call."""

from __future__ import annotations

import copy
import threading
from dataclasses import InitVar, dataclass

from ..errors import CallTimeout, ConnectionLost, PluginUnavailable, ProtocolError


@dataclass(frozen=True)
class Breaker:
    """When the circuit breaker of a plugin opens, and when it lets a probe through.

    It opens after ``failures`` consecutive failed calls. While it is open, calls raise `PluginUnavailable`, except for
    one probe at a time. Any response, including an error, or a new handshake closes the circuit.

    Failures are lost connections, connections that were refused until the call gave up, and deadlines that passed
    without a byte from the plugin, over this or any other connection: a slow method does not open the circuit while
    others respond. A malformed response is not a failure, as no caller waited for it. Connections that are lost
    together count once. A stream that follows counts only if its connection is refused or lost before it begins.

    Args:
        failures: consecutive failures that open the circuit.
        initial_delay: seconds until the first probe; doubled after each probe that fails.
        max_delay: the longest delay in seconds; also the time after which another probe is let through while one is
            still under way.
        pause, longest: the names of ``initial_delay`` and ``max_delay`` in version 0.1, deprecated; removed in 1.0.

    Raises:
        ValueError: ``failures`` is less than 1, or the delays are not 0 < initial_delay <= max_delay.
    """

    failures: int = 5
    initial_delay: float = 0.5
    max_delay: float = 10.0
    pause: InitVar[float | None] = None
    longest: InitVar[float | None] = None

    def __post_init__(self, pause: float | None, longest: float | None) -> None:
        self._accept("pause", "initial_delay", pause)
        self._accept("longest", "max_delay", longest)
        if not (self.failures >= 1 and self.failures % 1 == 0 and 0 < self.initial_delay <= self.max_delay):
            raise ValueError(f"{self} is invalid: expected failures of 1 or more, and 0 < initial_delay <= max_delay")

    def _accept(self, old: str, new: str, value: float | None) -> None:
        if value is not None:
            from warnings import warn

            warn(f"Breaker({old}=...) is deprecated: use {new}", DeprecationWarning, stacklevel=5)
            object.__setattr__(self, new, value)


# get_type_hints of Python 3.10 would refuse InitVar.
for _annotations in (Breaker.__annotations__, Breaker.__init__.__annotations__):
    _annotations.update(dict.fromkeys(("pause", "longest"), "float | None"))


NOT_SILENT = ("start", "name lookup", "headers", "body")
"""Phases of a call in which a deadline says nothing about the plugin: it was not contacted, or began to respond."""


class Circuit:
    """The state of one plugin's circuit breaker. Its lock is held for bookkeeping only, never during a call.

    Times are ``time.monotonic()`` values that the caller passes in. ``is_open`` says whether calls fail at once; it
    stays False where there is no breaker. ``responses`` is changed at each response.
    """

    def __init__(self, breaker: Breaker | None) -> None:
        self.is_open = False
        self.failures = 0  # consecutive
        self.responses = 0
        self._breaker = breaker
        self._lock = threading.RLock()  # reentrant, for calls made by signal handlers
        self._last: Exception | None = None
        self._failed_at = 0.0
        self._delay = 0.0
        self._next_try = 0.0
        self._probe_until = 0.0  # when a probe under way stops blocking the next one

    @property
    def next_try(self) -> float | None:
        """When a probe is let through, a ``time.monotonic()`` value; None while the circuit is closed."""
        return self._next_try if self.is_open else None

    @property
    def last_error(self) -> Exception | None:
        """The failure that opened the circuit; None while it is closed."""
        return self._last if self.is_open else None

    def admit(self, now: float) -> bool:
        """Return True for a call that is a probe, and has to call `end_probe`; False while the circuit is closed.

        Raises:
            PluginUnavailable: the circuit is open. The last failure is chained.
        """
        with self._lock:
            if not self.is_open or self._breaker is None:
                return False
            wait = max(self._next_try, self._probe_until) - now
            if wait <= 0:
                # A probe may take forever, or belong to the process that this one was forked from.
                self._probe_until = now + self._breaker.max_delay
                return True
            failures, last, is_under_way = self.failures, self._last, self._next_try <= now
        when = "is under way" if is_under_way else f"is in {wait:.1f} s"
        raise PluginUnavailable(
            f"not called: the circuit breaker is open after {failures} consecutive failures, and the next attempt "
            f"{when}. The last failure: {last}",
            retry_after=wait,
        ) from last

    def end_probe(self) -> None:
        """Let the next probe through."""
        self._probe_until = 0.0

    def record_response(self) -> None:
        """Close the circuit: the plugin responded."""
        with self._lock:
            self.is_open = False
            self.failures = 0
            self._last = None

    def record_failure(self, failure: Exception, began: float, now: float, *, is_probe: bool, responses: int) -> None:
        """Record how a call ended.

        Args:
            failure: what it raises.
            began: when its first attempt began.
            now: the time.
            is_probe: what `admit` returned.
            responses: the value of ``responses`` when the call began.
        """
        with self._lock:
            if isinstance(failure, ProtocolError):
                self.responses += 1
                self.record_response()
            elif self._breaker is not None and self._counts(failure, began, responses):
                self._count(self._breaker, failure, now, is_probe)

    def _counts(self, failure: Exception, began: float, responses: int) -> bool:
        """Return whether a failure says something about the plugin."""
        from .retry import nothing_listens  # not above: every program that builds a manager imports this module

        if isinstance(failure, CallTimeout):
            # Otherwise the plugin works, and this method is slow.
            return failure.phase not in NOT_SILENT and responses == self.responses
        if isinstance(failure, ConnectionLost):
            return began >= self._failed_at  # else it was lost together with others, when the plugin died
        return nothing_listens(failure)  # else no file descriptor was left, say, or the client was closed

    def _count(self, breaker: Breaker, failure: Exception, now: float, is_probe: bool) -> None:
        is_probe = is_probe and self.is_open  # unless the plugin has responded to another call meanwhile
        self.failures += 1
        self._failed_at = now
        self._last = copy.copy(failure)  # without the traceback, which would keep the call's arguments alive
        if is_probe or self.failures == breaker.failures:
            self._delay = min(2 * self._delay, breaker.max_delay) if is_probe else breaker.initial_delay
            self._next_try = now + self._delay
            self.is_open = True
