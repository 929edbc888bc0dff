"""Which failed attempts are retried, and after which wait. Sends nothing and never waits."""

from __future__ import annotations

import math
from dataclasses import dataclass

from ..errors import ConnectError, ConnectionLost

ENGINE_WAITS = (1.0, 2.0, 4.0, 8.0, 16.0, 30.0)
ENGINE_BUDGET = 30.0

_RESTART_WAITS = (0.01, 0.02, 0.04)  # seconds; then the longest one repeatedly
_LONGEST_RESTART_WAIT = 0.08
_SHUTDOWN_WAITS = (0.05, 0.2)  # seconds; a process that ends closes its connections one by one, the listening one last
_NOTHING_LISTENS = (ConnectionRefusedError, FileNotFoundError, ConnectionResetError)


def nothing_listens(failure: BaseException) -> bool:
    """Return whether a connection failed because no plugin was at its other end. It may be back soon."""
    return isinstance(failure, ConnectError) and isinstance(failure.__cause__, _NOTHING_LISTENS)


@dataclass(frozen=True)
class Retry:
    """Which calls are retried: with the same bytes, and only if a second execution can do no harm.

    That is the case if no connection was made, or if the call is declared idempotent and its connection was lost. (A
    kept connection that turns out to be closed before use is replaced in any case.) For example::

        Client("unix:///run/docker/plugins/rclone.sock", retry=Retry(refused=(0.1, 0.2, 0.4)))

    Args:
        refused: seconds to wait before each further attempt after a failed connection.
        lost: the same after a lost connection; for idempotent calls only.
        restart: how many seconds a call keeps trying while nothing listens where a plugin was active before: it is
            probably restarting. 0 disables it; ``refused`` takes precedence. For the same reason an idempotent call is
            retried after 0.05 and 0.2 s if ``lost`` did not help, as the plugin may still be shutting down.
        budget: give up if the seconds since the first attempt plus the next wait reach this. The deadline of the call
            applies in addition.
    """

    refused: tuple[float, ...] = ()
    lost: tuple[float, ...] = (0.0, 0.0)
    restart: float = 10.0
    budget: float = math.inf

    @classmethod
    def engine(cls) -> Retry:
        """Return the schedule of Docker's engine: attempts that fail at once are made at 0, 1, 3, 7 and 15 s.

        The waits are from moby ``pkg/plugins/client.go``. The engine retries every call whose connection was lost; here
        the call has to be idempotent.
        """
        return cls(refused=ENGINE_WAITS, lost=ENGINE_WAITS, budget=ENGINE_BUDGET)

    def wait_after(
        self, failure: Exception, attempts: int, elapsed: float, *, idempotent: bool, was_active: bool = False
    ) -> float | None:
        """Return the seconds to wait before the next attempt, or None if there is none.

        Args:
            failure: how the last attempt ended.
            attempts: how many ended with a failure of this type, including this one.
            elapsed: seconds since the first attempt began.
            idempotent: whether the call may be executed twice.
            was_active: whether the plugin has been active, so that a refused connection means a restart.
        """
        wait = self._wait(failure, attempts, idempotent, was_active)
        return wait if wait is not None and elapsed + wait < self.budget else None

    def _wait(self, failure: Exception, attempts: int, idempotent: bool, was_active: bool) -> float | None:
        if was_active and not self.refused and nothing_listens(failure):
            return self._restart_wait(attempts)
        waits = self._waits(failure, idempotent, was_active)
        return waits[attempts - 1] if attempts <= len(waits) else None

    def _waits(self, failure: Exception, idempotent: bool, was_active: bool) -> tuple[float, ...]:
        if isinstance(failure, ConnectError):
            # An established connection that ended: one byte later it would have counted as lost.
            was_lost = idempotent and isinstance(failure.__cause__, ConnectionResetError)
            return self.refused or (self.lost if was_lost else ())
        if not (idempotent and isinstance(failure, ConnectionLost)):
            return ()
        return self.lost + _SHUTDOWN_WAITS if was_active and self.restart else self.lost

    def _restart_wait(self, attempts: int) -> float | None:
        """Return the next wait, or None once all waits come to more than ``restart`` seconds, which may be infinite."""
        wait = (*_RESTART_WAITS, _LONGEST_RESTART_WAIT)[min(attempts, len(_RESTART_WAITS) + 1) - 1]
        ends = sum(_RESTART_WAITS[:attempts]) + _LONGEST_RESTART_WAIT * max(0, attempts - len(_RESTART_WAITS))
        return wait if ends <= self.restart else None
