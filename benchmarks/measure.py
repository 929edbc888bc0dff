"""Rounds in turn, medians, ratios and their spread. Knows nothing of what is measured."""

from __future__ import annotations

import statistics
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any


@dataclass(frozen=True)
class Round:
    """What one contender did in one round: how long each call took, in ns, and the whole, in seconds."""

    times: Sequence[int]
    seconds: float = 0.0

    @property
    def median(self) -> float:
        """The time of a call."""
        return statistics.median(self.times)

    @property
    def p99(self) -> float:
        """The time within which 99 of 100 calls were done."""
        return sorted(self.times)[len(self.times) * 99 // 100]

    @property
    def rate(self) -> float:
        """Calls a second."""
        return len(self.times) / self.seconds


Contender = Callable[[], Round]
Rounds = Mapping[str, list[Round]]


def alternate(contenders: Mapping[str, Contender], rounds: int) -> Rounds:
    """Let each contender make a round, again and again: A B C A B C."""
    done: dict[str, list[Round]] = {name: [] for name in contenders}
    for _ in range(rounds):
        for name, contender in contenders.items():
            done[name].append(contender())
    return done


@dataclass(frozen=True)
class Figure:
    """A number with its spread, and what it is to be.

    Args:
        name: what is measured, as the table says it.
        value: the median over the rounds.
        low, high: the quartiles.
        rounds: how many.
        unit: ``x`` for a ratio.
        at_most, at_least: the target.
        base: the median of what stands below the line of a ratio, in words.
    """

    name: str
    value: float
    low: float
    high: float
    rounds: int
    unit: str = "x"
    at_most: float | None = None
    at_least: float | None = None
    base: str = ""

    @property
    def met(self) -> bool | None:
        """Whether the target is met; None where there is none."""
        if self.at_most is not None:
            return self.value <= self.at_most
        return None if self.at_least is None else self.value >= self.at_least

    def as_json(self) -> dict[str, Any]:
        """The figure as it stands in a file of results."""
        return {**asdict(self), "met": self.met}


def figure(name: str, values: Sequence[float], **about: Any) -> Figure:
    """Return the median and the quartiles of ``values``."""
    low, middle, high = statistics.quantiles(values, n=4, method="inclusive") if len(values) > 1 else values * 3
    return Figure(name, middle, low, high, len(values), **about)


def ratio(name: str, rounds: Rounds, above: str, below: str, quantity: str = "median", **about: Any) -> Figure | None:
    """Return ``above`` divided by ``below``, round by round; None where one of them is not there.

    ``quantity`` is a property of Round. A neighbour that takes the machine's time takes it from both.
    """
    if above not in rounds or below not in rounds:
        return None
    pairs = zip(rounds[above], rounds[below], strict=True)
    base = statistics.median(getattr(each, quantity) for each in rounds[below])
    shown = f"{base:,.0f} a second" if quantity == "rate" else f"{base / 1000:,.1f} us"
    values = [getattr(a, quantity) / getattr(b, quantity) for a, b in pairs]
    return figure(name, values, base=f"{below}: {shown}", **about)
