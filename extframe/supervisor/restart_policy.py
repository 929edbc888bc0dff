"""Decide when a process that ended is started again. Never waits, and reads no clock."""

from __future__ import annotations

from dataclasses import dataclass

from .config import GiveUp, RestartMode

FIRST_DELAY, LONGEST_DELAY = 0.1, 30.0  # seconds after a failed start; each is twice the last
STABLE = 10.0  # seconds after which a process counts as started, even if no host made a handshake with it


@dataclass(frozen=True)
class Verdict:
    """What follows the end of a process.

    Args:
        restart: whether it is started again.
        delay: seconds before that, or, if it is not, before a connection may start it.
        gave_up: whether it stays down until it is started by name or its configuration changes.
        is_failure: whether it ended in an error.
    """

    restart: bool
    delay: float = 0.0
    gave_up: bool = False
    is_failure: bool = True


class RestartPolicy:
    """Decides for one plugin. A start succeeds with a handshake; failed starts in a row have growing delays.

    Args:
        mode: the key ``restart``.
        give_up: the key ``give_up``.
        on_demand: whether connections start it: after a failed start it then waits for the next.
    """

    def __init__(self, mode: RestartMode, give_up: GiveUp, *, on_demand: bool) -> None:
        self._mode = mode
        self._give_up = give_up
        self._on_demand = on_demand
        self._failures: list[float] = []  # times of failed starts since the last success
        self.is_good = False
        """Whether the current process has answered a handshake."""

    def starts(self) -> None:
        """Note that a process starts."""
        self.is_good = False

    def succeeded(self) -> None:
        """Note a handshake."""
        self.is_good = True
        self._failures.clear()

    def reset(self) -> None:
        """Forget failures: the plugin is started by name, or its configuration changed."""
        self._failures.clear()

    def ended(self, status: int | None, uptime: float, now: float) -> Verdict:
        """Return what follows.

        Args:
            status: the exit status; negative for a signal, None if it is not known or the program could not be run.
            uptime: how many seconds it ran.
            now: the time, in seconds.
        """
        if uptime >= STABLE:
            self.succeeded()
        is_failure = status != 0 or not self.is_good
        if self._mode == "never":
            return Verdict(False, gave_up=is_failure, is_failure=is_failure)
        if self.is_good:
            return Verdict(is_failure or self._mode == "always", is_failure=is_failure)
        self._failures = [*(each for each in self._failures if now - each < self._give_up.seconds), now]
        if len(self._failures) >= self._give_up.failures:
            return Verdict(False, gave_up=True)
        delay = min(FIRST_DELAY * 2 ** (len(self._failures) - 1), LONGEST_DELAY)
        return Verdict(not self._on_demand, delay)
