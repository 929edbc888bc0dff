"""When a plugin that failed several times in a row is not waited for any more. Makes no call."""

from __future__ import annotations

import copy
import threading
from dataclasses import dataclass
from time import monotonic

from ..errors import CallTimeout, ConnectionLost, PluginUnavailable, ProtocolError


@dataclass(frozen=True)
class Breaker:
    """When calls to a plugin fail at once, because those before them failed.

    After ``failures`` calls in a row that ended in failure, calls raise `PluginUnavailable`, but for one at a time
    that is let through to see whether the plugin is back. Any answer of the plugin's, an error among them, and
    every new handshake set it to rights.

    A failure is a deadline that passed, a connection that was lost, and one that was refused until the call gave
    up. An answer that makes no sense is none: nobody waited for it. Connections that are lost together count once.

    Args:
        failures: how many calls in a row.
        pause: seconds until one is let through; doubled after each that fails.
        longest: seconds that a pause may come to; and after which another is let through beside one that has not ended.
    """

    failures: int = 5
    pause: float = 0.5
    longest: float = 10.0

    def __post_init__(self) -> None:
        if not (self.failures >= 1 and self.failures % 1 == 0 and 0 < self.pause <= self.longest):
            raise ValueError(f"{self} makes no sense: failures counts from 1, pause is more than 0, longest no less")


class Circuit:
    """What a breaker knows of one plugin. Its lock is held for bookkeeping only, never while a call is made.

    ``is_open`` says whether calls fail at once, which they never do where there is no breaker.
    """

    def __init__(self, breaker: Breaker | None) -> None:
        self.is_open = False
        self.failures = 0  # in a row
        self._breaker = breaker
        self._patience = breaker.longest if breaker else 0.0
        self._lock = threading.RLock()  # in itself, for signal handlers
        self._last: Exception | None = None
        self._failed_at = 0.0
        self._pause = 0.0
        self._next_try = 0.0
        self._probe_until = 0.0  # when a call that was let through is not waited for any longer

    @property
    def next_try(self) -> float | None:
        """When a call is let through, as ``time.monotonic()`` has it; None where all are."""
        return self._next_try if self.is_open else None

    @property
    def last_error(self) -> Exception | None:
        """The failure because of which calls are not made; None where they are."""
        return self._last if self.is_open else None

    def enter(self) -> bool:
        """Return True for a call that is to see whether the plugin is back, and is to `leave` in the end.

        Raises:
            PluginUnavailable: the call is not to be made. The last failure is chained.
        """
        with self._lock:
            if not self.is_open:
                return False
            now = monotonic()
            wait = max(self._next_try, self._probe_until) - now
            if wait <= 0:
                # A call may take for ever, or be that of the process that this one was forked from.
                self._probe_until = now + self._patience
                return True
            failures, last, is_under_way = self.failures, self._last, self._next_try <= now
        when = "under way" if is_under_way else f"in {wait:.1f} s"
        raise PluginUnavailable(
            f"not called, as {failures} calls in a row failed; the next try is {when}. The last failure: {last}",
            retry_after=wait,
        ) from last

    def leave(self) -> None:
        """Let the next one through."""
        self._probe_until = 0.0

    def answered(self) -> None:
        """Note that the plugin answered."""
        with self._lock:
            self.is_open = False
            self.failures = 0
            self._last = None

    def failed(self, failure: Exception, began: float, *, probe: bool) -> None:
        """Note how a call ended that began at a ``time.monotonic()`` value; ``probe`` is what `enter` said of it."""
        from .retry import nobody_listens  # not above: whoever builds a manager imports this module

        if isinstance(failure, ProtocolError):
            self.answered()
        elif isinstance(failure, CallTimeout | ConnectionLost) or nobody_listens(failure):
            self._count(failure, began, probe)
        # Else it says nothing of the plugin: no file descriptor was left, or the client was closed.

    def _count(self, failure: Exception, began: float, probe: bool) -> None:
        with self._lock:
            if self._breaker is None or (isinstance(failure, ConnectionLost) and began < self._failed_at):
                return  # one death of a plugin loses all its calls
            probe = probe and self.is_open  # or the plugin has answered somebody else meanwhile
            self.failures += 1
            self._failed_at = monotonic()
            self._last = copy.copy(failure)  # without its traceback, which holds the arguments of the call
            if probe or self.failures == self._breaker.failures:
                self._pause = min(2 * self._pause, self._breaker.longest) if probe else self._breaker.pause
                self._next_try = self._failed_at + self._pause
                self.is_open = True
