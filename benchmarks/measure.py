"""Alternating rounds, medians, ratios and their spread. Does not know what is measured."""

from __future__ import annotations

import statistics
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from time import monotonic, sleep
from typing import Any


@dataclass(frozen=True)
class Round:
    """One round of a contender: the duration of each call in ns, and of the round in seconds."""

    times: Sequence[int]
    seconds: float = 0.0

    @property
    def median(self) -> float:
        """The median duration of a call, in ns."""
        return statistics.median(self.times)

    @property
    def p99(self) -> float:
        """The 99th percentile of the durations, in ns."""
        return sorted(self.times)[len(self.times) * 99 // 100]

    @property
    def rate(self) -> float:
        """Calls per second."""
        return len(self.times) / self.seconds


Contender = Callable[[], Round]
Rounds = Mapping[str, list[Round]]


def alternate(contenders: Mapping[str, Contender], rounds: int, *, patience: float = 0.0) -> Rounds:
    """Run the rounds of all contenders alternately: A B C A B C.

    Args:
        contenders: what is compared.
        rounds: how many rounds each of them makes.
        patience: seconds to spend on waiting for moments in which no other program runs, before each first contender.
    """
    done: dict[str, list[Round]] = {name: [] for name in contenders}
    for _ in range(rounds):
        patience -= wait_until_idle(patience)
        for name, contender in contenders.items():
            done[name].append(contender())
    return done


IDLE = 0.85  # of the processors' time


def wait_until_idle(patience: float) -> float:
    """Wait until the processors were idle for a while, at most ``patience`` seconds; return how long that took."""
    started = monotonic()
    while monotonic() - started < patience:
        before = _processor_times()
        sleep(0.05)
        idle, total = (after - earlier for after, earlier in zip(_processor_times(), before, strict=True))
        if total and idle / total >= IDLE:
            break
    return monotonic() - started


def _processor_times() -> tuple[int, int]:
    """Return the idle time of all processors and their whole time, in ticks."""
    times = [int(each) for each in Path("/proc/stat").read_text().split("\n", 1)[0].split()[1:9]]
    return times[3] + times[4], sum(times)


@dataclass(frozen=True)
class Figure:
    """A number with its spread and its target.

    Args:
        name: what is measured, as shown in the table.
        value: the median over the rounds.
        low, high: the quartiles.
        rounds: the number of rounds.
        unit: ``x`` for a ratio.
        at_most, at_least: the target.
        base: the median of the denominator of a ratio, as text.
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
        """Whether the target is met; None without a target."""
        if self.at_most is not None:
            return self.value <= self.at_most
        return None if self.at_least is None else self.value >= self.at_least

    def as_json(self) -> dict[str, Any]:
        """The figure as recorded in a results file."""
        return {**asdict(self), "met": self.met}


def figure(name: str, values: Sequence[float], **about: Any) -> Figure:
    """Return the median and the quartiles of ``values``."""
    low, middle, high = statistics.quantiles(values, n=4, method="inclusive") if len(values) > 1 else values * 3
    return Figure(name, middle, low, high, len(values), **about)


def ratio(name: str, rounds: Rounds, above: str, below: str, quantity: str = "median", **about: Any) -> Figure | None:
    """Return ``above`` divided by ``below``, round by round; None if one of them is not available.

    ``quantity`` is a property of `Round`. Other load on the machine slows both.
    """
    if above not in rounds or below not in rounds:
        return None
    pairs = zip(rounds[above], rounds[below], strict=True)
    base = statistics.median(getattr(each, quantity) for each in rounds[below])
    shown = f"{base:,.0f} per second" if quantity == "rate" else f"{base / 1000:,.1f} us"
    values = [getattr(a, quantity) / getattr(b, quantity) for a, b in pairs]
    return figure(name, values, base=f"{below}: {shown}", **about)
