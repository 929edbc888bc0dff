"""Load what handler packages offer through entry points. Alone knows importlib_metadata; registers nothing."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from functools import partial
from itertools import chain
from typing import Any, Protocol

import importlib_metadata

from .failures import Failure


class Distribution(Protocol):
    """An installed distribution, as importlib_metadata gives it."""

    @property
    def metadata(self) -> Any:
        """Its core metadata: ``metadata["Name"]``."""

    @property
    def version(self) -> str:
        """Its version."""
        raise NotImplementedError

    @property
    def entry_points(self) -> importlib_metadata.EntryPoints:
        """What it offers, in all groups."""
        raise NotImplementedError


@dataclass(frozen=True)
class Offer:
    """One entry point: its name, the distribution that brings it, and what it loads."""

    name: str
    value: str
    distribution: Distribution | None
    load: Callable[[], Any]

    def failure(self, exception: BaseException) -> Failure:
        """Return the failure of this entry point."""
        return Failure(f"entry point {self.name!r} ({self.value})", exception, *origin(self.distribution))


def origin(distribution: Distribution | None) -> tuple[str | None, str | None]:
    """Return a distribution's name and version, None for each where its metadata cannot be read."""
    if distribution is None:
        return None, None
    try:
        return distribution.metadata["Name"], distribution.version
    except (OSError, LookupError, ValueError):  # half a package: what an interrupted pip leaves behind
        return None, None


def offers(groups: Sequence[str]) -> Iterator[Offer]:
    """Yield the entry points of some groups: extframe's own first, then by distribution and name.

    The order is the same on every machine, so that of two packages that clash the same one yields. A
    distribution whose entry points cannot be read is an offer that cannot be loaded.
    """
    for group in groups:
        found = [(offer, (origin(offer.distribution)[0] or "").lower()) for offer in _offers(group)]
        for offer, _ in sorted(found, key=lambda pair: (pair[1] != "extframe", pair[1], pair[0].name)):
            yield offer


def _offers(group: str) -> list[Offer]:
    try:
        entries = importlib_metadata.entry_points(group=group)
    except Exception:  # noqa: BLE001 - one entry_points.txt makes no sense; the others are read one by one
        return list(chain.from_iterable(_offers_of(each, group) for each in _distributions()))
    return [Offer(entry.name, entry.value, entry.dist, entry.load) for entry in entries]


def _offers_of(distribution: Distribution, group: str) -> Iterator[Offer]:
    try:
        for entry in distribution.entry_points.select(group=group):
            yield Offer(entry.name, entry.value, distribution, entry.load)
    except Exception as unreadable:  # noqa: BLE001 - whatever the parser makes of it
        yield Offer("*", "entry_points.txt", distribution, partial(_raise, unreadable))


def _raise(error: Exception) -> None:
    raise error


def _distributions() -> Iterator[Distribution]:
    """Yield the installed distributions; of two with one name the first on the path, which is the one imported."""
    seen = set()
    for distribution in importlib_metadata.distributions():
        name, _ = origin(distribution)
        key = distribution if name is None else re.sub(r"[-_.]+", "-", name).lower()
        if key not in seen:
            seen.add(key)
            yield distribution


class DistributionFacade:
    """A distribution as ``list_plugin_distinfo`` gives it: with ``project_name``, as pkg_resources had it."""

    def __init__(self, distribution: Distribution) -> None:
        self._dist = distribution

    @property
    def project_name(self) -> str:
        """The distribution's name."""
        return str(self.metadata["Name"])

    def __getattr__(self, name: str) -> Any:
        return getattr(self._dist, name)

    def __dir__(self) -> list[str]:
        return sorted({*dir(self._dist), "project_name"})
