"""When a call is sent again: a table of waits. Sends nothing and does not wait."""

from __future__ import annotations

import math
from dataclasses import dataclass

from ..errors import ConnectError, ConnectionLost

ENGINE_WAITS = (1.0, 2.0, 4.0, 8.0, 16.0, 30.0)
ENGINE_BUDGET = 30.0

_SHORT_WAITS = (0.01, 0.02, 0.04)  # seconds; then the longest, again and again
_LONGEST_WAIT = 0.08
_WHILE_IT_ENDS = (0.05, 0.2)  # seconds; a process that ends closes its connections one by one, the listening one last
_NOBODY_LISTENS = (ConnectionRefusedError, FileNotFoundError, ConnectionResetError)


def nobody_listens(failure: BaseException) -> bool:
    """Return whether a connection did not come about because there was no plugin at its end: it may be back soon."""
    return isinstance(failure, ConnectError) and isinstance(failure.__cause__, _NOBODY_LISTENS)


@dataclass(frozen=True)
class Retry:
    """When a call is sent again: the same bytes, and only where they cannot do harm twice.

    That is where the connection did not come about, and, for a call that was declared idempotent, where it
    was lost on the way. (A kept connection that proves closed before use is replaced in any case.) For example::

        Client("unix:///run/docker/plugins/rclone.sock", retry=Retry(refused=(0.1, 0.2, 0.4)))

    Args:
        refused: the seconds to wait before each further attempt after a connection that did not come about.
        lost: the same after a connection that was lost; for idempotent calls only.
        restart: for how many seconds a call goes on trying while nobody listens where a plugin was active
            before: it is probably being restarted. 0 for not at all; ``refused`` goes before it. For the same reason
            an idempotent call is sent again after 0.05 and 0.2 s where ``lost`` did not help, as the plugin may still
            be ending.
        budget: give up where the seconds since the first attempt and the next wait come to this much. The
            deadline of the call counts beside it.
    """

    refused: tuple[float, ...] = ()
    lost: tuple[float, ...] = (0.0, 0.0)
    restart: float = 10.0
    budget: float = math.inf

    @classmethod
    def engine(cls) -> Retry:
        """Return the schedule of Docker's engine: attempts that fail at once are made at 0, 1, 3, 7 and 15 s.

        The waits are those of moby ``pkg/plugins/client.go``. The engine repeats every call whose connection
        was lost; here the call has to be idempotent.
        """
        return cls(refused=ENGINE_WAITS, lost=ENGINE_WAITS, budget=ENGINE_BUDGET)

    def wait_after(
        self, failure: Exception, attempts: int, elapsed: float, *, idempotent: bool, was_active: bool = False
    ) -> float | None:
        """Return the seconds to wait before the next attempt, or None where there is to be none.

        Args:
            failure: what the last attempt ended with.
            attempts: how many ended with its kind, that one included.
            elapsed: seconds since the first one began.
            idempotent: whether the call may be carried out twice.
            was_active: whether the plugin has been active, so that a connection that is refused means a restart.
        """
        wait = self._wait(failure, attempts, idempotent, was_active)
        return wait if wait is not None and elapsed + wait < self.budget else None

    def _wait(self, failure: Exception, attempts: int, idempotent: bool, was_active: bool) -> float | None:
        if was_active and not self.refused and nobody_listens(failure):
            return self._restart_wait(attempts)
        waits = self._waits(failure, idempotent, was_active)
        return waits[attempts - 1] if attempts <= len(waits) else None

    def _waits(self, failure: Exception, idempotent: bool, was_active: bool) -> tuple[float, ...]:
        if isinstance(failure, ConnectError):
            # The end of a connection that was there: one byte later it would have been a lost one.
            was_lost = idempotent and isinstance(failure.__cause__, ConnectionResetError)
            return self.refused or (self.lost if was_lost else ())
        if not (idempotent and isinstance(failure, ConnectionLost)):
            return ()
        return self.lost + _WHILE_IT_ENDS if was_active and self.restart else self.lost

    def _restart_wait(self, attempts: int) -> float | None:
        """Return the wait that ends within ``restart``, counted from the first; there may be no end."""
        wait = (*_SHORT_WAITS, _LONGEST_WAIT)[min(attempts, len(_SHORT_WAITS) + 1) - 1]
        ends = sum(_SHORT_WAITS[:attempts]) + _LONGEST_WAIT * max(0, attempts - len(_SHORT_WAITS))
        return wait if ends <= self.restart else None
