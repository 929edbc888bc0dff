"""All plugins at a location: in directories, of hosts that start them, or of Docker's engine. Opens no connection."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from ..errors import ExtframeError
from .discovery import PluginStatus, find_all, status_of

if TYPE_CHECKING:
    from .hosted_plugins import HostedPlugins
    from .location import Location


@dataclass(frozen=True)
class FoundPlugins:
    """What is at a location.

    Args:
        plugins: the plugins, sorted by name, without a handshake.
        directories: where files were looked for.
        count: the number of plugins before some were left out by their names.
        unreadable: the errors of directories that could not be read.
        refused: why the plugins that hosts start are not known.
    """

    plugins: Sequence[PluginStatus]
    directories: Sequence[str]
    count: int
    unreadable: dict[str, OSError] = field(default_factory=dict)
    refused: ExtframeError | None = None

    @property
    def is_complete(self) -> bool:
        """Whether everything could be read."""
        return not self.unreadable and self.refused is None

    @property
    def faults(self) -> list[str]:
        """Messages about what could not be read."""
        from ..registry.search_errors import search_error

        found = [search_error("list plugins", self.unreadable)] if self.unreadable else []
        return [str(fault) for fault in (*found, self.refused) if fault is not None]


def find_plugins(location: Location, accepts: Callable[[str], bool] = lambda name: True) -> FoundPlugins:
    """Return the plugins at a location whose names are accepted. Those that hosts start take precedence."""
    if location.engine is None:
        names, unreadable = location.registry.scan_readable()
    else:
        names, unreadable = location.source.scan(), {}
    plugins = find_all(location.source, filter(accepts, names))
    hosted = location.hosted
    started, refused = ([], None) if hosted is None else _names_of(hosted)
    hosted_plugins = () if hosted is None else _look(hosted, filter(accepts, started))
    found = {plugin.name: plugin for plugin in (*plugins, *hosted_plugins)}
    return FoundPlugins(
        [found[name] for name in sorted(found)],
        _directories(location, hosted),
        len({*names, *started}),
        unreadable,
        refused,
    )


def _names_of(hosted: HostedPlugins) -> tuple[list[str], ExtframeError | None]:
    try:
        return hosted.scan(), None
    except ExtframeError as refused:
        return [], refused


def _look(hosted: HostedPlugins, names: Iterable[str]) -> Iterator[PluginStatus]:
    found = map(hosted.look, names)
    return (status_of(plugin) for plugin in found if plugin is not None)


def _directories(location: Location, hosted: HostedPlugins | None) -> list[str]:
    if location.engine is not None:
        return []
    configs = () if hosted is None else hosted.directories.configs
    return list(dict.fromkeys((*location.registry.directories, *configs)))
