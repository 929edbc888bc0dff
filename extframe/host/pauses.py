"""How long ``get(wait=...)`` waits between attempts. Decides; never waits."""

from __future__ import annotations

from ..errors import ActivationError, ConnectError, ConnectionLost, ExtframeError

POLL = 0.02  # seconds between two attempts at a plugin that is missing or refuses connections
LONGEST_PAUSE = 1.0  # seconds between two attempts at one that closes its connections; the first pause is POLL


class Pauses:
    """How long ``get(wait=...)`` waits after each failure."""

    def __init__(self) -> None:
        self._next = POLL

    def after(self, failure: ExtframeError) -> float | None:
        """Return the seconds until the next attempt; None if waiting cannot help."""
        if not _is_transient(failure):
            return None
        if not isinstance(failure.__cause__, ConnectionLost):
            return POLL
        pause, self._next = self._next, min(2 * self._next, LONGEST_PAUSE)
        return pause


def _is_transient(failure: ExtframeError) -> bool:
    """Return whether waiting can help: the file is missing or incomplete, or no plugin is behind its socket yet."""
    if not isinstance(failure, ActivationError):
        return True
    cause = failure.__cause__
    # A forwarder accepts connections and closes them while its plugin is starting.
    return isinstance(cause, ConnectionLost) or (
        isinstance(cause, ConnectError) and isinstance(cause.__cause__, ConnectionError | FileNotFoundError)
    )
