"""A fault as a row: what it is called, what is expected, and how it is provoked. Knows neither extframe nor moby.

To add a fault, add a `Fault` to the FAULTS of a file in ``groups/``.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from scene import Scene


@dataclass(frozen=True)
class Seen:
    """What came of a fault.

    Args:
        words: compared with what is expected, to the letter.
        seconds: how long it took, the setting up not counted.
        detail: more to know, which is not compared.
    """

    words: str
    seconds: float
    detail: str = ""


@dataclass(frozen=True)
class Fault:
    """One row of the table.

    Args:
        name: what goes wrong, and what is done meanwhile.
        expected: the words that are seen where all is well.
        provoke: brings it about on real sockets and files, and says what extframe made of it.
        moby: does the same to moby's client; None where it cannot be done, or is not worth it.
        after: seconds that it takes at least.
        within: seconds that it takes at most.
    """

    name: str
    expected: str
    provoke: Callable[[Scene], Seen]
    moby: Callable[[Scene], Seen] | None = None
    after: float = 0.0
    within: float = math.inf

    def is_as_expected(self, seen: Seen, slack: float = 0.0) -> bool:
        """Return whether words and time are those that were expected; ``slack`` is granted to slow machines."""
        return seen.words == self.expected and self.after <= seen.seconds <= self.within + slack

    @property
    def bounds(self) -> str:
        """The time that it may take, in words."""
        if self.within == math.inf:
            return ""
        return f"{self.after:g} to {self.within:g} s" if self.after else f"at most {self.within:g} s"
