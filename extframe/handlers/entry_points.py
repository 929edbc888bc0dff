"""Load what handler packages offer through entry points. Alone knows importlib_metadata; registers nothing."""

from __future__ import annotations

import os
import re
import sys
from collections.abc import Callable, Iterator, Sequence
from functools import partial
from typing import TYPE_CHECKING, Any, NoReturn, Protocol

import importlib_metadata

if TYPE_CHECKING:
    from .failures import Failure

_METADATA = (".dist-info", ".egg-info")
"""How the directories end that pip and setuptools make of a distribution's metadata."""


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

    def read_text(self, filename: str) -> str | None:
        """Return a file of its metadata, None where it has no such file."""


# No dataclass: to import dataclasses and make one takes a millisecond of every host's start.
class Offer:
    """One entry point: its name, the distribution that brings it, and what it loads."""

    def __init__(self, name: str, value: str, distribution: Distribution, load: Callable[[], Any]) -> None:
        self.name = name
        self.value = value
        self.distribution = distribution
        self.load = load

    def failure(self, exception: BaseException) -> Failure:
        """Return the failure of this entry point."""
        from .failures import Failure

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
        found = [(name, offer) for name, each in _distributions(group) for offer in _offers_of(each, group)]
        for _, offer in sorted(found, key=lambda pair: (pair[0] != "extframe", pair[0], pair[1].name)):
            yield offer


def _offers_of(distribution: Distribution, group: str) -> Iterator[Offer]:
    try:
        for entry in distribution.entry_points.select(group=group):
            yield Offer(entry.name, entry.value, distribution, entry.load)
    except Exception as unreadable:  # noqa: BLE001 - whatever the parser makes of it
        yield Offer("*", "entry_points.txt", distribution, partial(_raise, unreadable))


def _raise(error: Exception) -> NoReturn:
    raise error


# --- which distributions ------------------------------------------------------------------------------


def _distributions(group: str) -> Iterator[tuple[str, Distribution]]:
    """Yield the distributions that may have entry points in a group, each with its name in normal form.

    Of two with one name it is the one that importlib_metadata finds: the first on the path that has metadata.
    """
    return _on_plain_path(group) if _is_plain_path() else _on_any_path(group)


def _is_plain_path() -> bool:
    """Return whether what is installed lies in directories, and nobody but importlib_metadata looks for it."""
    finders = {type(finder) for finder in sys.meta_path if hasattr(finder, "find_distributions")}
    return finders == {importlib_metadata.MetadataPathFinder} and not any(map(_is_archive, map(str, sys.path)))


def _is_archive(place: str) -> bool:
    return place.endswith(".egg") or os.path.isfile(place)


def _on_plain_path(group: str) -> Iterator[tuple[str, Distribution]]:
    # Of hundreds of distributions a few are handlers: to look for the group's name takes a third of the time in which
    # importlib_metadata parses them all, which is a quarter of a host's start.
    for name, directories in _metadata_directories().items():
        if any(_mentions(directory, group) for directory in directories):
            whole = next(filter(_has_metadata, directories), directories[0])
            yield name, importlib_metadata.Distribution.at(whole)


def _metadata_directories() -> dict[str, list[str]]:
    found: dict[str, list[str]] = {}
    for place in map(str, sys.path):
        for child in _children(place):
            if child.endswith(_METADATA):
                name = child.rpartition(".")[0].partition("-")[0]
                found.setdefault(_normal(name), []).append(os.path.join(place, child))
    return found


def _children(directory: str) -> list[str]:
    try:
        return os.listdir(directory or ".")
    except OSError:  # it is not there: sys.path names places that may be
        return []


def _mentions(metadata: str, group: str) -> bool:
    try:
        with open(f"{metadata}/entry_points.txt", "rb", buffering=0) as file:
            return group in file.read().decode()
    except UnicodeDecodeError:
        return True  # what stands there is no text, and the parser will say so
    except OSError:
        return False  # most have none


def _has_metadata(directory: str) -> bool:
    return any(os.path.exists(f"{directory}/{name}") for name in ("METADATA", "PKG-INFO")) or os.path.isfile(directory)


def _on_any_path(group: str) -> Iterator[tuple[str, Distribution]]:
    seen: set[str] = set()
    for each in importlib_metadata.distributions():
        if not _may_offer(each, group):
            continue
        name, _ = origin(each)
        if name is None:
            yield "", each
        elif _normal(name) not in seen:
            seen.add(_normal(name))
            yield _normal(name), _found_as(name) or each


def _may_offer(distribution: Distribution, group: str) -> bool:
    try:
        return group in (distribution.read_text("entry_points.txt") or "")
    except UnicodeDecodeError:
        return True


def _found_as(name: str) -> Distribution | None:
    try:
        return importlib_metadata.distribution(name)
    except importlib_metadata.PackageNotFoundError:  # its directory has another name, as those that pip has put aside
        return None


def _normal(name: str) -> str:
    return re.sub(r"[-_.]+", "-", name).lower()


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
