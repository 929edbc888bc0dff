"""Find the entry points of installed packages. The only module that imports importlib_metadata; registers nothing."""

from __future__ import annotations

import os
import re
import sys
from collections.abc import Callable, Iterator, Sequence
from functools import cached_property, partial
from typing import TYPE_CHECKING, Any, NoReturn, Protocol

import importlib_metadata

from ..errors import ExtframeError

if TYPE_CHECKING:
    from .failures import Failure

GROUP = "extframe"
"""The entry-point group that a PluginManager loads by default."""

PLUGIN_GROUP = "extframe.plugins"
"""The entry-point group of plugin classes, which run in processes of their own: ``photos = acme_photos:Photos``."""

_ANYWHERE: Any = importlib_metadata.DistributionFinder.Context()  # type: ignore[no-untyped-call]

_METADATA = (".dist-info", ".egg-info")
"""The suffixes of the directories in which pip and setuptools store a distribution's metadata."""


class Distribution(Protocol):
    """An installed distribution, as importlib_metadata represents it."""

    @property
    def metadata(self) -> Any:
        """Its core metadata: ``metadata["Name"]``."""

    @property
    def version(self) -> str:
        """Its version."""
        raise NotImplementedError

    def read_text(self, filename: str) -> str | None:
        """Return the text of a metadata file, None if there is no such file."""


# Not a dataclass: importing dataclasses and creating one takes a millisecond of every host's start.
class EntryPoint:
    """One entry point: its group, name and value, the distribution that has it, and the function that loads it."""

    def __init__(
        self, group: str, name: str, value: str, distribution: Distribution | None, load: Callable[[], Any]
    ) -> None:
        self.group = group
        self.name = name
        self.value = value
        self.distribution = distribution
        self.load = load

    @property
    def origin(self) -> tuple[str | None, str | None]:
        """The name and version of its distribution, None for each if unknown."""
        return origin(self.distribution)

    def failure(self, exception: BaseException) -> Failure:
        """Return ``exception`` as the failure of this entry point."""
        from .failures import Failure

        return Failure(f"entry point {self.name!r} ({self.value})", exception, *self.origin)


def origin(distribution: Distribution | None) -> tuple[str | None, str | None]:
    """Return a distribution's name and version, None for each if its metadata cannot be read."""
    if distribution is None:
        return None, None
    try:
        return distribution.metadata["Name"], distribution.version
    except Exception:  # noqa: BLE001 - an interrupted pip leaves metadata that are missing or in any state
        return None, None


def entry_points(
    groups: Sequence[str], path: Sequence[str] | None = None, *, hooks: bool = False
) -> Iterator[EntryPoint]:
    """Yield the entry points of some groups: extframe's own first, then by distribution and name.

    The order is the same on every machine, so that of two conflicting packages the same one fails. Metadata that
    cannot be read are an entry point that raises when it is loaded.

    Args:
        groups: the groups.
        path: the directories in which distributions are installed; ``sys.path`` and other finders if None. Entry points
            from other directories are not loadable.
        hooks: whether to include, with the group ``extframe``, the groups ``extframe.HOOK``.
    """
    for group in groups:
        found = [(name, entry) for name, each in _installed(group, path) for entry in _entries(each, group, hooks)]
        if path is None and group == GROUP and not any(name == "extframe" for name, _ in found):
            found += [("extframe", entry) for entry in _built_in()]
        for _, entry in sorted(found, key=lambda pair: (pair[0] != "extframe", pair[0], pair[1].name)):
            yield entry


def _built_in() -> Iterator[EntryPoint]:
    """Yield the entry points of extframe itself, for applications that are frozen without its metadata."""
    from . import builtin

    for name in builtin.NAMES:
        load = partial(getattr, builtin, name)
        yield EntryPoint(GROUP, f"extframe.{name}", f"{builtin.__name__}:{name}", None, load)


# --- entry_points.txt ---------------------------------------------------------------------------------


def _entries(installed: _Installed, group: str, hooks: bool) -> Iterator[EntryPoint]:
    try:
        text = installed.text()
    except Exception as unreadable:  # noqa: BLE001 - not permitted, not UTF-8, a broken archive
        yield EntryPoint(group, "*", "entry_points.txt", installed.distribution, partial(_raise, unreadable))
        return
    for number, section, line in _lines(text, group, hooks and group == GROUP):
        name, equals, value = map(str.strip, line.partition("="))
        if name and value:
            # Not created before it is loaded: importlib_metadata 9 validates the value in the constructor.
            yield EntryPoint(section, name, value, installed.distribution, partial(_load, name, value, section))
        else:
            wrong = ExtframeError(f"line {number} is {line!r}; expected NAME = MODULE or NAME = MODULE:OBJECT")
            place = f"entry_points.txt, line {number}"
            yield EntryPoint(
                section, name if name and equals else "*", place, installed.distribution, partial(_raise, wrong)
            )


def _load(name: str, value: str, group: str) -> Any:
    return importlib_metadata.EntryPoint(name, value, group).load()


def _lines(text: str, group: str, hooks: bool) -> Iterator[tuple[int, str, str]]:
    """Yield the lines of one group, each with its number and group; with ``hooks`` also those of ``GROUP.HOOK``."""
    section, is_wanted = "", False
    for number, line in enumerate(map(str.strip, text.splitlines()), start=1):
        if line.startswith("[") and line.endswith("]"):
            section = line.strip("[]").strip()
            is_wanted = section == group or (hooks and section.startswith(f"{group}.") and section != PLUGIN_GROUP)
        elif is_wanted and line and not line.startswith(("#", ";")):
            yield number, section, line


def _raise(error: Exception) -> NoReturn:
    raise error


# --- installed distributions --------------------------------------------------------------------------


class _Installed(Protocol):
    """The metadata of a distribution."""

    @property
    def distribution(self) -> Distribution:
        """The distribution."""
        raise NotImplementedError

    def text(self) -> str:
        """Return the text of entry_points.txt, "" if there is none; raises whatever makes it unreadable."""
        raise NotImplementedError

    def is_complete(self) -> bool:
        """Return whether the core metadata exist."""
        raise NotImplementedError


def _installed(group: str, path: Sequence[str] | None) -> Iterator[tuple[str, _Installed]]:
    """Yield the distributions that may have entry points in a group, each with its normalised name.

    Of several with the same name it is the first on the path that has core metadata, as in importlib_metadata.
    """
    # Only a few of hundreds of distributions are handlers: searching for the group's name takes a third of the time
    # in which importlib_metadata parses them all, which is a quarter of a host's start.
    for name, candidates in (_by_name() if path is None else _by_name_in(path)).items():
        if any(_mentions(each, group) for each in candidates):
            yield name, next((each for each in candidates if each.is_complete()), candidates[0])


def _mentions(installed: _Installed, group: str) -> bool:
    try:
        return group in installed.text()
    except Exception:  # noqa: BLE001 - whatever it is, _entries reports it
        return True


def _by_name() -> dict[str, list[_Installed]]:
    found: dict[str, list[_Installed]] = {}
    for finder in sys.meta_path:
        if isinstance(finder, importlib_metadata.MetadataPathFinder):
            for place in map(str, sys.path):
                _add_place(place, found)
        elif hasattr(finder, "find_distributions"):
            _add_others(finder.find_distributions(_ANYWHERE), found)
    return found


def _by_name_in(path: Sequence[str]) -> dict[str, list[_Installed]]:
    found: dict[str, list[_Installed]] = {}
    for place in path:
        _add_place(place, found)
    return found


def _add_place(place: str, found: dict[str, list[_Installed]]) -> None:
    """Add what is installed in one entry of sys.path."""
    if place.endswith(".egg") or os.path.isfile(place):
        _add_others(importlib_metadata.distributions(path=[place]), found)
        return
    for child in _children(place):
        # pip renames what it is about to remove to ~name, and ignores such leftovers itself.
        if child.lower().endswith(_METADATA) and not child.startswith("~"):
            name = child.rpartition(".")[0].partition("-")[0]
            found.setdefault(_normalised(name), []).append(_MetadataDirectory(os.path.join(place, child)))


def _add_others(distributions: Iterator[Distribution] | Any, found: dict[str, list[_Installed]]) -> None:
    for distribution in distributions:
        name, _ = origin(distribution)
        key = f"?{len(found)}" if name is None else _normalised(name)
        found.setdefault(key, []).append(_OtherMetadata(distribution, name is not None))


def _children(directory: str) -> list[str]:
    try:
        return os.listdir(directory or ".")
    except OSError:  # sys.path may name places that do not exist
        return []


class _MetadataDirectory:
    """Metadata in a directory, or in a single file (an old .egg-info)."""

    def __init__(self, path: str) -> None:
        self._path = path

    @cached_property
    def distribution(self) -> Distribution:
        return importlib_metadata.Distribution.at(self._path)

    def text(self) -> str:
        try:
            with open(f"{self._path}/entry_points.txt", "rb", buffering=0) as file:
                return file.read().decode()
        except (FileNotFoundError, NotADirectoryError, IsADirectoryError):
            return ""  # most have none

    def is_complete(self) -> bool:
        core = ("METADATA", "PKG-INFO")
        return any(os.path.exists(f"{self._path}/{name}") for name in core) or os.path.isfile(self._path)


class _OtherMetadata:
    """Metadata in an archive, or wherever another finder knows them to be."""

    def __init__(self, distribution: Distribution, is_complete: bool) -> None:
        self.distribution = distribution
        self._is_complete = is_complete

    def text(self) -> str:
        return self.distribution.read_text("entry_points.txt") or ""

    def is_complete(self) -> bool:
        return self._is_complete


def _normalised(name: str) -> str:
    return re.sub(r"[-_.]+", "-", name).lower()


class DistributionFacade:
    """A distribution as ``list_plugin_distinfo`` returns it: with ``project_name``, as in pkg_resources."""

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
