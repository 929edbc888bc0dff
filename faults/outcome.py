"""The outcome of a fault, as text. Knows neither extframe nor moby."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class Outcome:
    """What a fault led to.

    Args:
        text: compared with the expected text, exactly.
        seconds: the duration without the setup.
        detail: additional text, which is not compared.
    """

    text: str
    seconds: float
    detail: str = ""
