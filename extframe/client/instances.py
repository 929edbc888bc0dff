"""Instances: which instances of a plugin can be called, and which one is called next. Decides; sends nothing.

Times are ``time.monotonic()`` values that the caller passes in. The lock is held for bookkeeping only.
"""

from __future__ import annotations

import itertools
import math
import threading
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping, Sequence

from ..errors import ExtframeError
from ..protocol import Address, Endpoint, Manifest, TLSConfig
from . import connection
from .choice import Choice, RoundRobin
from .circuit_breaker import Breaker, Circuit

FIRST_DELAY = 0.1  # seconds until the first handshake with an instance that was left out; doubled after each failure
MAX_DELAY = 5.0
HANDSHAKE_TIMEOUT = 10.0  # seconds
REMEMBERED = 256  # methods that an instance lacks


class Instance:
    """One instance of a plugin, and what the calls to it showed. Only `Instances` changes it."""

    __slots__ = (
        "address", "calls", "circuit", "delay", "endpoint", "failure", "handshake_at", "is_left_out", "is_outdated",
        "is_ready", "lacks", "manifest", "points", "under_way_until",
    )  # fmt: skip

    def __init__(self, endpoint: Endpoint, breaker: Breaker | None) -> None:
        self.endpoint = endpoint
        self.address = Address.parse(endpoint.address)
        self.circuit = Circuit(breaker)
        self.calls: list[None] = []
        """One for each call under way: ``append`` and ``pop`` need no lock."""
        self.manifest: Manifest | None = None
        self.points: frozenset[str] | None = None
        """The extension points for which it can be called; None if that is not known."""
        self.lacks: set[str] = set()
        """Methods that it does not have, and others may."""
        self.is_ready = False
        """Whether its last handshake succeeded, and it has neither refused nor lost a connection since."""
        self.is_left_out = False
        self.is_outdated = False
        """Whether an earlier process may answer the handshake under way, as the registry has found a change since."""
        self.failure: ExtframeError | None = None
        """Why its last handshake failed."""
        self.delay = 0.0
        self.handshake_at = -math.inf
        self.under_way_until = -math.inf

    @property
    def outstanding(self) -> int:
        """How many calls this process waits for here."""
        return len(self.calls)

    @property
    def tls(self) -> TLSConfig | None:
        """How it is verified."""
        return self.endpoint.tls

    def __repr__(self) -> str:
        return f"<Instance at {self.address}>"


class Instances:
    """The instances of one plugin, shared by its clients.

    An instance that refuses or loses a connection is left out until a handshake with it succeeds. Handshakes are due
    at first, after a change of the registry's, and with exponential back-off while the instance is left out. A
    caller makes those that `due` returns, in the background. An instance that is draining is called only if no other is
    left, and one that has had no handshake only if no other has had one.

    Args:
        endpoints: where they listen.
        breaker: opens the circuit of an instance; None for none.
        choose: which instance a call goes to; `RoundRobin` where None.
        changed: is called when the extension points change that the instances implement together.
        points: the prefixes of methods that are not the name of their extension point, each with it.

    Raises:
        SpecError: an address is invalid.
    """

    def __init__(
        self,
        endpoints: Iterable[Endpoint],
        *,
        breaker: Breaker | None = None,
        choose: Choice | None = None,
        changed: Callable[[], object] | None = None,
        points: Mapping[str, str] = {},
    ) -> None:
        self.manifest: Manifest | None = None
        """What the instances implement together; None before the first handshake."""
        self.next_handshake = -math.inf
        """When the next handshake is due."""
        self._breaker = breaker
        self._policy: Choice = RoundRobin() if choose is None else choose
        self._changed = changed
        self._points = points
        self._lock = threading.RLock()  # reentrant, for calls made by signal handlers
        self._forks = connection.forks()
        self._turns = itertools.count()
        self._all: tuple[Instance, ...] = ()
        self._tiers: Sequence[tuple[Instance, ...]] = ()
        self._differ = False  # whether it matters for a method which instance is called
        self.update(endpoints)

    def __iter__(self) -> Iterator[Instance]:
        return iter(self._all)

    def __len__(self) -> int:
        return len(self._all)

    def __contains__(self, instance: object) -> bool:
        return instance in self._all

    def update(self, endpoints: Iterable[Endpoint]) -> None:
        """Use what the registry found; an instance that it found before is the same one.

        Raises:
            SpecError: an address is invalid; nothing has changed then.
        """
        with self._lock:
            known = {(each.endpoint.address, each.endpoint.tls): each for each in self._all}
            new: dict[Instance, Endpoint] = {}
            for endpoint in endpoints:
                instance = known.get((endpoint.address, endpoint.tls)) or Instance(endpoint, self._breaker)
                known[endpoint.address, endpoint.tls] = instance
                new[instance] = endpoint
            for instance, endpoint in new.items():
                instance.endpoint = endpoint
                instance.handshake_at = -math.inf  # it may be another process by now
                instance.is_outdated = instance.under_way_until > -math.inf
                instance.delay = 0.0
            self._all = tuple(new)
            is_changed = self._refresh()
        if is_changed and self._changed is not None:
            self._changed()

    # Which instance is called.

    def choose(self, method: str, tried: Collection[Instance] = ()) -> Instance | None:
        """Return the instance that a call goes to; None if none is left.

        Args:
            method: ``VolumeDriver.Mount``, without a leading slash. Instances that have it are preferred.
            tried: instances that are not chosen.
        """
        if self._forks != connection.forks():
            self._forget_parent()
        tiers = self._tiers
        if not tried and not self._differ:
            return self._policy.choose(tiers[0], next(self._turns)) if tiers else None
        left = [[each for each in tier if each not in tried] for tier in tiers]
        for tier in (*([each for each in tier if self._has(each, method)] for tier in left), *left):
            if tier:
                return self._policy.choose(tier, next(self._turns))
        return None

    def last_resort(self, now: float, tried: Collection[Instance] = ()) -> Instance:
        """Return the instance that a call goes to if none is left: one that has been left out."""
        everyone = self._all
        candidates = (
            [each for each in everyone if each not in tried and not _is_blocked(each, now)]
            or [each for each in everyone if not _is_blocked(each, now)]
            or everyone
        )
        return candidates[next(self._turns) % len(candidates)]

    def elsewhere(self, instance: Instance, method: str, tried: Collection[Instance]) -> Instance | None:
        """Record that an instance lacks a method, and return one that may have it: one with another manifest."""
        with self._lock:
            others = [each for each in self._all if each.is_ready and each.manifest != instance.manifest]
            if others and len(instance.lacks) < REMEMBERED:  # else the plugin as such lacks it
                instance.lacks.add(method)
                self._refresh()
        found = [each for each in others if each not in tried and method not in each.lacks]
        return self._policy.choose(found, next(self._turns)) if found else None

    # What happened to an instance.

    def leave_out(self, instance: Instance, now: float) -> None:
        """Call an instance only as a last resort until a handshake with it succeeds."""
        with self._lock:
            if not instance.is_left_out:
                instance.is_ready = False
                instance.is_left_out = True
                instance.delay = _next_delay(instance.delay)
                instance.handshake_at = now + instance.delay
                self._refresh()

    def due(self, now: float, *, everyone: bool = False) -> list[Instance]:
        """Return the instances with which the caller is to make a handshake now; it records how each ended.

        Args:
            now: the time.
            everyone: whether those that are left out are due before their time.
        """
        if self._forks != connection.forks():
            self._forget_parent()
        with self._lock:
            found = [
                each
                for each in self._all
                if each.under_way_until <= now and (each.handshake_at <= now or (everyone and not each.is_ready))
            ]
            for instance in found:
                instance.handshake_at = instance.under_way_until = now + HANDSHAKE_TIMEOUT + 1
                instance.is_outdated = False
            self._refresh()
        return found

    def record_handshake(self, instance: Instance, manifest: Manifest | None, now: float) -> None:
        """Record that an instance can be called. The manifest is None if it has no handshake."""
        with self._lock:
            instance.manifest = manifest
            instance.is_ready = True
            instance.is_left_out = False
            instance.failure = None
            instance.lacks.clear()
            instance.circuit.record_response()
            is_empty = manifest is not None and not manifest.implements  # then it is asked for again
            instance.delay = _next_delay(instance.delay) if is_empty else 0.0
            is_changed = self._end_handshake(instance, now + instance.delay if is_empty else math.inf)
        if is_changed and self._changed is not None:
            self._changed()

    def record_failed_handshake(self, instance: Instance, failure: ExtframeError, now: float) -> None:
        """Record why a handshake failed, and when the next one is due."""
        with self._lock:
            instance.failure = failure
            instance.is_ready = False
            instance.is_left_out = True
            instance.delay = _next_delay(instance.delay)
            self._end_handshake(instance, now + instance.delay)

    def abandon_handshake(self, instance: Instance) -> None:
        """Record that a handshake was not made to its end."""
        with self._lock:
            instance.under_way_until = instance.handshake_at = -math.inf
            self._refresh()

    @property
    def ready(self) -> list[Instance]:
        """The instances whose last handshake succeeded."""
        return [each for each in self._all if each.is_ready]

    @property
    def is_any_ready(self) -> bool:
        """Whether any instance can be called."""
        return any(each.is_ready for each in self._all)

    @property
    def failure(self) -> ExtframeError | None:
        """Why the last handshake with one of them failed."""
        return next((each.failure for each in self._all if each.failure is not None), None)

    @property
    def last_error(self) -> Exception | None:
        """The failure that opened the circuit breaker, if that of every instance is open."""
        errors = [each.circuit.last_error for each in self._all]
        return errors[0] if None not in errors else None

    @property
    def next_try(self) -> float | None:
        """When a circuit breaker lets a call through; None while one is closed."""
        times = [time for each in self._all if (time := each.circuit.next_try) is not None]
        return min(times) if len(times) == len(self._all) else None

    def _has(self, instance: Instance, method: str) -> bool:
        if method in instance.lacks:
            return False
        prefix = method.partition(".")[0]
        return instance.points is None or self._points.get(prefix, prefix) in instance.points

    def _forget_parent(self) -> None:
        """Forget the calls and handshakes under way in the process that this one was forked from, and its lock."""
        self._lock = threading.RLock()
        self._forks = connection.forks()  # after the lock: another thread would wait for the parent's
        for instance in self._all:
            instance.calls.clear()
            if instance.under_way_until > -math.inf:
                self.abandon_handshake(instance)

    def _end_handshake(self, instance: Instance, next_at: float) -> bool:
        """Plan the next handshake, which is due at once if an earlier process may have answered; see `_refresh`."""
        instance.under_way_until = -math.inf
        instance.handshake_at = -math.inf if instance.is_outdated else next_at
        return self._refresh()

    def _refresh(self) -> bool:
        """Compute what follows from the state of the instances; return whether their joint manifest has changed."""
        everyone, before = self._all, self.manifest
        manifests = [each.manifest for each in everyone if each.manifest is not None]
        self.manifest = _union(manifests) if manifests else None
        for each in everyone:
            each.points = _points(each.manifest, self.manifest)
        self._differ = any(each.lacks for each in everyone) or len({each.points for each in everyone}) > 1
        ready = [each for each in everyone if each.is_ready]
        tiers = (
            tuple(each for each in ready if not each.endpoint.draining),
            tuple(each for each in ready if each.endpoint.draining),
            tuple(each for each in everyone if not each.is_ready and not each.is_left_out),
        )
        self._tiers = [tier for tier in tiers if tier]
        self.next_handshake = min((each.handshake_at for each in everyone), default=math.inf)
        return None not in (before, self.manifest) and before != self.manifest


def _next_delay(delay: float) -> float:
    return min(2 * delay, MAX_DELAY) or FIRST_DELAY


def _is_blocked(instance: Instance, now: float) -> bool:
    next_try = instance.circuit.next_try
    return next_try is not None and next_try > now


def _union(manifests: Sequence[Manifest]) -> Manifest:
    """Return what instances implement together.

    The versions of an extension point are those that all of its instances have in common, or, where there are none,
    those of the first one.
    """
    points = tuple(dict.fromkeys(point for each in manifests for point in each.implements))
    named = {point for each in manifests for point, _ in each.versions}
    versions = []
    for point in (point for point in points if point in named):
        offered = [each.versions_of(point) for each in manifests if point in each.implements]
        common = [number for number in offered[0] if all(number in each for each in offered)]
        versions.append((point, tuple(common) or offered[0]))
    return Manifest(points, tuple(each for each in versions if each[1] != (1,)))


def _points(manifest: Manifest | None, union: Manifest | None) -> frozenset[str] | None:
    """Return the extension points of an instance in a version that the plugin as a whole speaks; None if not known."""
    if manifest is None or union is None:
        return None
    return frozenset(
        point
        for point in manifest.implements
        if not set(manifest.versions_of(point)).isdisjoint(union.versions_of(point))
    )
