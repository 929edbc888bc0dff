"""KeepAlive: whether to keep the connections of a plugin for reuse. Decides; opens and closes none."""

from __future__ import annotations

import math

SOON = 1.0  # seconds: a server that keeps connections at all keeps idle ones for longer
ENOUGH = 2  # connections in a row that were closed after their first response


class KeepAlive:
    """What was learned about one plugin's connections. Times are ``time.monotonic()`` values.

    Some servers close each connection after its response without saying so (uwsgi with --http-socket, some programs
    on http.server). The end may arrive after the next request was sent: a call that is not idempotent is lost then,
    as it must not be repeated. So the connections of such a plugin are not kept.
    """

    __slots__ = ("_closed", "_last_closed", "keeps")

    def __init__(self, keeps: bool = True) -> None:
        self.keeps = keeps
        self._closed = 0
        self._last_closed = -math.inf

    def record_close(self, now: float, *, opened: float, last_used: float, uses: int) -> bool:
        """Record that a kept connection turned out to be closed. Return whether none is kept from now on.

        Args:
            now: the time.
            opened: when the connection was opened. Of those that were open together only one counts, as a plugin that
                is restarted closes all of them.
            last_used: when its last response ended. A server may well close one that has been idle for long.
            uses: how many responses arrived over it. More than one shows that the server keeps connections.
        """
        if uses > 1:
            self._closed = 0
        elif self.keeps and now - last_used <= SOON and opened > self._last_closed:
            self._closed += 1
            self._last_closed = now
            self.keeps = self._closed < ENOUGH
            return not self.keeps
        return False
