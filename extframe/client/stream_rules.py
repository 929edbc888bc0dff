"""StreamRules: the deadlines of one stream, and what it says about the plugin. Decides; never sends or waits.

The sync and the async client drive the same object, so that there is one set of rules.
"""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

from ..errors import TransportError

if TYPE_CHECKING:
    from .attempts import Attempts
    from .failover import Failover


class StreamRules:
    """What applies to one stream. All times are ``time.monotonic()`` values.

    =========================  ================  ===============  ==============  ==============
    the stream                 connect and send  headers          body            an error's body
    =========================  ================  ===============  ==============  ==============
    has a timeout              deadline          deadline         deadline        deadline
    has the client's timeout   deadline          deadline         none            deadline
    follows                    deadline          none             none            as long again
    =========================  ================  ===============  ==============  ==============

    A stream that follows, such as that of a log, may be silent for days: once its request is sent, its silence counts
    neither for nor against the plugin. What arrives over any stream closes the circuit, and a connection that ends
    before the response begins counts as lost, as for any call.

    A client drives it like this; an async client does the same with ``await``::

        rules = StreamRules(attempts.deadline, seconds, whole=timeout is not None, follow=follow, attempts=attempts)
        exchange = ...  # as for any call; only where rules.follows is False, the headers are part of the attempt
        rules.record_sent()
        ...  # wait for the headers until rules.headers_deadline, for the body until rules.body_deadline(status, now)
        rules.record_data()  # whenever bytes of the response have arrived
        rules.record_failure(failure, now)  # if the stream ends with an error

    Args:
        deadline: of the call.
        seconds: the timeout of the call.
        whole: whether the deadline includes the body.
        follow: whether the stream follows.
        attempts: of the call; None to report nothing.
    """

    __slots__ = ("_attempts", "_deadline", "_has_response", "_seconds", "_whole", "failure", "follows")

    def __init__(
        self,
        deadline: float,
        seconds: float = math.inf,
        *,
        whole: bool = True,
        follow: bool = False,
        attempts: Attempts | Failover | None = None,
    ) -> None:
        self.follows = follow
        self._deadline = deadline
        self._seconds = seconds
        self._whole = whole
        self._attempts = attempts
        self._has_response = False
        self.failure: BaseException | None = None
        """The error with which reading ended, if it did."""

    @property
    def headers_deadline(self) -> float:
        """The deadline for the headers of the response."""
        return math.inf if self.follows else self._deadline

    def body_deadline(self, status: int, now: float) -> float:
        """Return the deadline for the body of a response whose headers arrived at ``now``."""
        if status != 200:  # an error message, which has an end
            return now + self._seconds if self.follows else self._deadline
        return math.inf if self.follows or not self._whole else self._deadline

    def record_sent(self) -> None:
        """Record that the request was sent and, unless the stream follows, that its headers have arrived."""
        if not self.follows:
            self.record_data()
        elif self._attempts is not None:
            self._attempts.follow()

    def record_data(self) -> None:
        """Record that bytes of the response have arrived."""
        self._has_response = True
        if self._attempts is not None:
            self._attempts.succeed()

    def record_failure(self, failure: BaseException, now: float) -> None:
        """Record how the stream ended after `record_sent`."""
        self.failure = failure
        is_waiting = self.follows and not self._has_response
        if is_waiting and self._attempts is not None and isinstance(failure, TransportError):
            self._attempts.give_up(failure, now)
