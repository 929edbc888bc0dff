"""Plugins that pip installed in the host's environment, found by their entry points. Imports nothing of them."""

from __future__ import annotations

import os
import re
import sys
from collections.abc import Hashable, Iterable

from ..errors import PluginNotFound, SpecError
from ..handlers.entry_points import PLUGIN_GROUP, EntryPoint, entry_points
from ..logs import get_logger
from ..protocol import check_name
from ..text import printable
from .config import TARGET, PluginConfig, PythonPlugin
from .config_files import ConfigFile

logger = get_logger(__name__)


class InstalledPlugins:
    """The plugins that the packages in the host's environment bring: each is a class, served in a process of its own.

    It has the methods of `ConfigFiles`. Entry points are read again when a directory on ``sys.path`` has changed.
    """

    def __init__(self) -> None:
        # When and what was read, as one value: threads would store those of two readings.
        self._read: tuple[Hashable, dict[str, ConfigFile | SpecError]] = (None, {})

    def scan(self) -> list[str]:
        """Return the names of all plugins, sorted."""
        return sorted(self._plugins())

    def read(self, name: str) -> ConfigFile:
        """Return how to start a plugin.

        Raises:
            PluginNotFound: no installed package brings it.
            SpecError: the name is invalid, the entry point does not name a class, or several packages bring the plugin.
        """
        found = self._plugins().get(check_name(name))
        if found is None:
            raise PluginNotFound(
                f"no plugin {name!r}: looked for an entry point {name!r} of the group {PLUGIN_GROUP} in {sys.prefix}",
                plugin=name,
            )
        if isinstance(found, SpecError):
            raise found
        return found

    def stamp(self, name: str) -> Hashable:
        """Return the identity of a plugin now: its class, package and version; None if there is none."""
        found = self._plugins().get(name)
        return found.stamp if isinstance(found, ConfigFile) else None

    def _plugins(self) -> dict[str, ConfigFile | SpecError]:
        now = tuple(map(_modified, sys.path))
        read_at, found = self._read
        if now != read_at:
            found = _plugins_of(entry_points((PLUGIN_GROUP,)))
            self._read = now, found
        return found


def _plugins_of(entries: Iterable[EntryPoint]) -> dict[str, ConfigFile | SpecError]:
    found: dict[str, ConfigFile | SpecError] = {}
    brought_by: dict[str, str] = {}
    for entry in entries:
        fault = _fault_of_name(entry.name)
        origin = " ".join(filter(None, entry.origin)) or "an unknown package"
        if fault is not None:
            logger.warning("an entry point of %s is ignored: %s", printable(origin), fault)
        elif entry.name in found:
            both = f"{brought_by[entry.name]} and {origin}"
            found[entry.name] = SpecError(
                f"plugin {entry.name!r} is brought by {both}; uninstall one of them", plugin=entry.name
            )
        else:
            found[entry.name], brought_by[entry.name] = _config(entry, origin), origin
    return found


def _config(entry: EntryPoint, origin: str) -> ConfigFile | SpecError:
    try:
        plugin = class_of(entry)
    except SpecError as wrong:
        return wrong
    config = PluginConfig(entry.name, f"package {origin}", python=PythonPlugin(plugin))
    return ConfigFile(config, (origin, plugin))


def class_of(entry: EntryPoint) -> str:
    """Return where the class of an entry point is, such as ``acme_photos:Photos``.

    Raises:
        SpecError: it does not name a class.
    """
    value = re.sub(r"\s*\[[^\]]*\]$|\s", "", entry.value)  # "acme_photos:Photos [an extra]"
    if not TARGET.fullmatch(value):
        origin = " ".join(filter(None, entry.origin)) or "an unknown package"
        raise SpecError(
            f"entry point {entry.name!r} of {printable(origin)} is {printable(entry.value)!r}; expected MODULE:CLASS, "
            "such as acme_photos:Photos",
            plugin=entry.name,
        )
    return value


def _fault_of_name(name: str) -> str | None:
    try:
        check_name(name)
    except SpecError as wrong:
        return str(wrong)
    return None


def _modified(directory: str) -> int | None:
    try:
        return os.stat(directory or ".").st_mtime_ns
    except OSError:
        return None
