"""Load what handler packages offer through entry points. Alone knows importlib_metadata; registers nothing."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
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
    """Return a distribution's name and version."""
    if distribution is None:
        return None, None
    return distribution.metadata["Name"], distribution.version


def offers(groups: Sequence[str]) -> Iterator[Offer]:
    """Yield the entry points of some groups: extframe's own first, then by distribution and name.

    The order is the same on every machine, so that of two packages that clash the same one yields.
    """
    for group in groups:
        found = [(entry, _name_of(entry)) for entry in importlib_metadata.entry_points(group=group)]
        for entry, _ in sorted(found, key=lambda pair: (pair[1] != "extframe", pair[1], pair[0].name)):
            yield Offer(entry.name, entry.value, entry.dist, entry.load)


def _name_of(entry: importlib_metadata.EntryPoint) -> str:
    name = origin(entry.dist)[0]
    return name.lower() if name else ""


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
