"""Which instance of a plugin a call goes to: facts in, decision out. No lock, no clock, no I/O."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from functools import lru_cache
from itertools import count
from math import gcd
from typing import Protocol, TypeVar

from ..protocol import Endpoint


class InstanceFacts(Protocol):
    """What a choice may consider."""

    @property
    def endpoint(self) -> Endpoint:
        """What the registry says: address, zone, weight."""

    @property
    def outstanding(self) -> int:
        """How many calls this process waits for there."""


F = TypeVar("F", bound=InstanceFacts)


class Choice(Protocol):
    """Chooses an instance for each call: `RoundRobin`, `LeastOutstanding`, `SameZoneFirst`, or any object like them."""

    def choose(self, candidates: Sequence[F], turn: int) -> F:
        """Return one of the candidates. Called for every call, in any thread; must return at once.

        Args:
            candidates: the instances that can be called, at least one, in the registry's order.
            turn: a number that grows by one with each choice.
        """
        raise NotImplementedError


@dataclass(frozen=True)
class RoundRobin:
    """Choose the instances one after the other, each as often as its weight says."""

    def choose(self, candidates: Sequence[F], turn: int) -> F:
        """See `Choice`."""
        weights = [each.endpoint.weight for each in candidates]
        if weights.count(weights[0]) == len(weights):
            return candidates[turn % len(candidates)]
        unit = gcd(*weights)
        total = sum(weights) // unit
        point = turn * _stride(total) % total
        for candidate, weight in zip(candidates, weights, strict=True):
            if point < weight // unit:
                return candidate
            point -= weight // unit
        raise AssertionError("the point is below the sum of the weights")


@lru_cache
def _stride(total: int) -> int:
    """Return a step that visits every point below ``total`` once, and spreads neighbouring points over the turns."""
    return next(step for step in count(max(1, round(total * 0.618))) if gcd(step, total) == 1)


@dataclass(frozen=True)
class LeastOutstanding:
    """Choose the instance with the fewest calls under way in proportion to its weight; among equals, as `RoundRobin`.

    Only calls of this process count.
    """

    def choose(self, candidates: Sequence[F], turn: int) -> F:
        """See `Choice`."""
        loads = [each.outstanding / each.endpoint.weight for each in candidates]
        least = min(loads)
        idlest = [each for each, load in zip(candidates, loads, strict=True) if load == least]
        return RoundRobin().choose(idlest, turn)


@dataclass(frozen=True)
class SameZoneFirst:
    """Choose among the instances in the host's own zone, or among all if none is left there.

    Args:
        zone: the host's zone, as registries write it.
        among: chooses one of several.
    """

    zone: str
    among: Choice = field(default_factory=RoundRobin)

    def choose(self, candidates: Sequence[F], turn: int) -> F:
        """See `Choice`."""
        near = [each for each in candidates if each.endpoint.zone == self.zone]
        return self.among.choose(near or candidates, turn)
