"""What says which plugins a supervisor starts: files first, then packages in the host's environment."""

from __future__ import annotations

from collections.abc import Hashable
from dataclasses import replace

from ..errors import PluginNotFound
from .config_files import ConfigFile, ConfigFiles
from .environments.store import status_of_environment
from .installed_plugins import InstalledPlugins


class PluginSources:
    """Files NAME.toml, and the plugins that installed packages bring. A file hides a package's plugin of its name.

    Args:
        files: the configuration files.
        environments: the directory of the environments of Python plugins.
    """

    def __init__(self, files: ConfigFiles, environments: str) -> None:
        self.directories = files.directories
        self._files = files
        self._installed = InstalledPlugins()
        self._environments = environments

    def scan(self) -> list[str]:
        """Return the names of all plugins, sorted.

        Raises:
            ExtframeError: a directory cannot be read now.
        """
        return sorted({*self._files.scan(), *self._installed.scan()})

    def read(self, name: str) -> ConfigFile:
        """Return the configuration of a plugin.

        Raises:
            PluginNotFound: there is neither a file nor a package.
            SpecError: the name, the file or the entry point has a mistake.
            ExtframeError: the directories cannot be searched now.
        """
        try:
            file = self._files.read(name)
        except PluginNotFound as missing:
            try:
                return self._installed.read(name)
            except PluginNotFound as absent:
                also = absent.message.partition(": looked for ")[2]
                raise PluginNotFound(f"{missing.message}, and for {also}", plugin=name) from None
        python = file.config.python
        if python is None or python.environment is None:
            return file
        return replace(file, environment=status_of_environment(self._environments, python.environment).path)

    def stamp(self, name: str) -> Hashable:
        """Return the identity of what `read` returns now; None if there is nothing."""
        found = self._files.stamp(name)  # new after each install, which writes the file
        return self._installed.stamp(name) if found is None else found

    def sources(self, name: str) -> list[str]:
        """Return the files of a plugin: the one that counts, then those that it hides.

        Raises:
            SpecError: the name is invalid.
        """
        return self._files.sources(name)
