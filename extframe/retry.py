"""When a call is sent again: a table of waits. Sends nothing and does not wait."""

from __future__ import annotations

import math
from dataclasses import dataclass

from .errors import ConnectError, ConnectionLost

ENGINE_WAITS = (1.0, 2.0, 4.0, 8.0, 16.0, 30.0)
ENGINE_BUDGET = 30.0


@dataclass(frozen=True)
class Retry:
    """When a call is sent again: the same bytes, and only where they cannot do harm twice.

    That is where the connection did not come about, and, for a call that was declared idempotent, where it
    was lost on the way. (A kept connection that proves closed before use is replaced in any case.) For example::

        Client("unix:///run/docker/plugins/rclone.sock", retry=Retry(refused=(0.1, 0.2, 0.4)))

    Args:
        refused: the seconds to wait before each further attempt after a connection that did not come about.
        lost: the same after a connection that was lost; for idempotent calls only.
        budget: give up where the seconds since the first attempt and the next wait come to this much. The
            deadline of the call counts beside it.
    """

    refused: tuple[float, ...] = ()
    lost: tuple[float, ...] = (0.0, 0.0)
    budget: float = math.inf

    @classmethod
    def engine(cls) -> Retry:
        """Return the schedule of Docker's engine: attempts that fail at once are made at 0, 1, 3, 7 and 15 s.

        The waits are those of moby ``pkg/plugins/client.go``. The engine repeats every call whose connection
        was lost; here the call has to be idempotent.
        """
        return cls(refused=ENGINE_WAITS, lost=ENGINE_WAITS, budget=ENGINE_BUDGET)

    def wait_after(self, failure: Exception, attempts: int, elapsed: float, *, idempotent: bool) -> float | None:
        """Return the seconds to wait before the next attempt, or None where there is to be none.

        Args:
            failure: what the last attempt ended with.
            attempts: how many were made, that one included.
            elapsed: seconds since the first one began.
            idempotent: whether the call may be carried out twice.
        """
        waits: tuple[float, ...] = ()
        if isinstance(failure, ConnectError):
            waits = self.refused
        elif isinstance(failure, ConnectionLost) and idempotent:
            waits = self.lost
        if attempts > len(waits) or elapsed + waits[attempts - 1] >= self.budget:
            return None
        return waits[attempts - 1]
