"""The files NAME.toml in the directories of a supervisor: found, checked for who may write them, and read."""

from __future__ import annotations

import os
import shlex
from collections.abc import Hashable, Sequence
from dataclasses import dataclass

from ..errors import PluginNotFound, SpecError
from ..protocol import check_name, is_name
from ..registry.ownership import check_writers, fix_with
from ..registry.search_errors import UNREACHABLE, is_systems_fault, search_error, text_of_os_error
from ..registry.sources import content_of, stamp_of, status_of
from .config import PluginConfig, parse_config

EXTENSION = ".toml"
DOCKER = ("/run/docker/plugins", "/etc/docker/plugins", "/usr/lib/docker/plugins")


@dataclass(frozen=True)
class ConfigFile:
    """What one file says, and the identity of the file when it was read.

    ``environment`` is the directory of the environment that the plugin starts in, "" if it has none.
    """

    config: PluginConfig
    stamp: Hashable
    environment: str = ""


class ConfigFiles:
    """The configuration files of plugins.

    Args:
        directories: the most important first. They need not exist.
        allow_unsafe: read files that other users can write. Those users can then run any program.

    Raises:
        SpecError: a directory is one of Docker's.
    """

    def __init__(self, directories: Sequence[str], *, allow_unsafe: bool = False) -> None:
        self.directories = tuple(dict.fromkeys(map(os.path.abspath, directories)))
        self._allow_unsafe = allow_unsafe
        for directory in self.directories:
            if directory in DOCKER:
                raise SpecError(
                    f"{directory} is Docker's; expected a directory of the host's own, such as /etc/myhost/plugins.d",
                    source=directory,
                )

    def scan(self) -> list[str]:
        """Return the names of all plugins, sorted. A missing directory is empty.

        Raises:
            ExtframeError: a directory cannot be read now.
        """
        names: set[str] = set()
        failed: dict[str, OSError] = {}
        for directory in self.directories:
            try:
                entries = os.listdir(directory)
            except OSError as error:
                if error.errno not in UNREACHABLE:
                    failed[directory] = error
                continue
            names.update(filter(is_name, (each[: -len(EXTENSION)] for each in entries if each.endswith(EXTENSION))))
        if failed:
            raise search_error("list plugins", failed)
        return sorted(names)

    def read(self, name: str) -> ConfigFile:
        """Return the configuration of a plugin.

        Raises:
            PluginNotFound: the file does not exist.
            SpecError: the name is invalid; or the file has a mistake, is unreadable or can be replaced by other users.
            ExtframeError: the directories cannot be searched now.
        """
        path, status = self._search(name)
        try:
            content, status = content_of(path, status)
            if not self._allow_unsafe:
                check_writers(path, status)
        except OSError as error:
            if is_systems_fault(error):
                raise search_error(f"read the configuration of plugin {name!r}", {path: error}, plugin=name) from error
            remedy = f"chmod u+r {shlex.quote(path)}" if isinstance(error, PermissionError) else None
            message = f"{path}: cannot be read: {text_of_os_error(error)}{fix_with(remedy)}"
            raise SpecError(message, plugin=name, source=path, remedy=remedy) from error
        except SpecError as wrong:
            raise SpecError(f"{path}: {wrong}", plugin=name, source=path, remedy=wrong.remedy) from wrong
        return ConfigFile(parse_config(content, name, path), (path, stamp_of(status)))

    def stamp(self, name: str) -> Hashable:
        """Return the identity of a plugin's file now; None if there is none, or the file system cannot say."""
        try:
            path, status = self._search(name)
        except (PluginNotFound, SpecError):
            return None
        return path, stamp_of(status)

    def sources(self, name: str) -> list[str]:
        """Return the files of a plugin: the one that counts, then those that it hides.

        Raises:
            SpecError: the name is invalid.
        """
        paths = [os.path.join(directory, check_name(name) + EXTENSION) for directory in self.directories]
        return [path for path in paths if os.path.lexists(path)]

    def _search(self, name: str) -> tuple[str, os.stat_result]:
        failed: dict[str, OSError] = {}
        for directory in self.directories:
            path = os.path.join(directory, check_name(name) + EXTENSION)
            try:
                status = status_of(path)
            except OSError as error:
                failed[directory] = error
                continue
            if status is not None:
                return path, status
        if failed:
            raise search_error(f"search for plugin {name!r}", failed, plugin=name)
        searched = ", ".join(self.directories)
        raise PluginNotFound(f"no plugin {name!r}: looked for {name}{EXTENSION} in {searched}", plugin=name)
