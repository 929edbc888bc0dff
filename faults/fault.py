"""A fault as a row of the table: its name, the expected outcome, and how to provoke it.

To add a fault, add a `Fault` to the FAULTS of a file in ``groups/``.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass

from outcome import Outcome
from scene import Scene


@dataclass(frozen=True)
class Fault:
    """One row of the table.

    Args:
        name: what goes wrong, and what the host does.
        expected: the text of the expected outcome.
        provoke: provokes the fault on real sockets and files and returns the outcome with extframe.
        moby: provokes it for moby's client; None if that is impossible or of no interest.
        after: the shortest expected duration in seconds.
        within: the longest expected duration in seconds.
        before: provokes it for an earlier version, with the Python that imports it; None if that is of no interest.
    """

    name: str
    expected: str
    provoke: Callable[[Scene], Outcome]
    moby: Callable[[Scene], Outcome] | None = None
    after: float = 0.0
    within: float = math.inf
    before: Callable[[Scene, str], Outcome] | None = None

    def is_as_expected(self, outcome: Outcome, slack: float = 0.0) -> bool:
        """Return whether text and duration are as expected; a slow machine is granted ``slack`` more seconds."""
        return outcome.text == self.expected and self.after <= outcome.seconds <= self.within + slack

    @property
    def bounds(self) -> str:
        """The bounds of the duration, as text; empty if there are none."""
        if self.within == math.inf:
            return ""
        return f"{self.after:g} to {self.within:g} s" if self.after else f"at most {self.within:g} s"
