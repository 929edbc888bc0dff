"""How long ``get(wait=...)`` waits between attempts. Decides; never waits."""

from __future__ import annotations

from ..errors import (
    ActivationError,
    ActivationVetoed,
    ConnectError,
    ConnectionLost,
    ExtframeError,
    PluginBlocked,
    SpecError,
)

POLL = 0.02  # seconds between two attempts at a plugin that is missing or refuses connections
SUSPECT_GRACE = 0.1  # seconds for a plugin that failed in the last run, once the others are done
LONGEST_PAUSE = 1.0  # seconds between two attempts at one that closes its connections; the first pause is POLL


class Pauses:
    """How long ``get(wait=...)`` waits after each failure."""

    def __init__(self) -> None:
        self._next = POLL

    def after(self, failure: ExtframeError, seconds: float) -> float | None:
        """Return the pause before the next attempt; None if waiting cannot help, or no time is left for one.

        Args:
            failure: of the last attempt.
            seconds: how long the caller still waits. A pause takes half of it at most.
        """
        if seconds <= POLL or isinstance(failure, PluginBlocked | ActivationVetoed):
            return None
        if isinstance(failure, SpecError) and failure.source is None:
            return None  # the name itself is invalid
        if not isinstance(failure, ActivationError):
            return POLL  # the file is missing or incomplete
        if _is_closed(failure.__cause__):
            pause, self._next = self._next, min(2 * self._next, LONGEST_PAUSE)
            return min(pause, seconds / 2)
        return POLL if _is_refused(failure.__cause__) else None


def _is_refused(cause: BaseException | None) -> bool:
    """Return whether nothing listens at the address yet."""
    return isinstance(cause, ConnectError) and isinstance(cause.__cause__, ConnectionRefusedError | FileNotFoundError)


def _is_closed(cause: BaseException | None) -> bool:
    """Return whether the connection was closed without a response, as by a forwarder whose plugin is starting."""
    is_reset = isinstance(cause, ConnectError) and isinstance(cause.__cause__, ConnectionResetError | BrokenPipeError)
    return is_reset or isinstance(cause, ConnectionLost)
