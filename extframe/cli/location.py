"""Location: where a command looks for plugins, or serves one, and what it finds there by name. Makes no handshake."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING

import click
from click.core import ParameterSource

from ..errors import PluginNotFound, SpecError
from .output import printable

if TYPE_CHECKING:
    from ..protocol import PluginSpec
    from ..registry.base import Registry
    from ..registry.local import LocalRegistry
    from ..supervisor.directories import Directories
    from ..supervisor.supervisor import Supervisor
    from .hosted_plugins import HostedPlugin, HostedPlugins

OPTIONS = {"directory": "--dir", "app": "--app", "engine": "--engine"}
"""The fields of `Location` that exclude each other, and their options."""


@dataclass(frozen=True)
class Location:
    """Where a command looks for plugins, or serves one: ``--dir``, ``--app``, ``--engine`` or Docker's directories.

    Args:
        directory: the directory of ``--dir`` or EXTFRAME_DIR.
        app: the host of ``--app`` or EXTFRAME_APP. Never given together with ``directory``.
        allow_unsafe: accept sources that other users can write.
        engine: the address of ``--engine``. Never given together with the others.
    """

    directory: str | None = None
    app: str | None = None
    allow_unsafe: bool = False
    engine: str | None = None

    @classmethod
    def of(cls, ctx: click.Context) -> Location:
        """Return the location for a command line. An option takes precedence over an environment variable.

        Raises:
            click.UsageError: two were given as options, or both in the environment.
        """
        values = {name: ctx.params.get(name) for name in OPTIONS}
        given = [name for name, value in values.items() if value is not None]
        typed = [name for name in given if ctx.get_parameter_source(name) is ParameterSource.COMMANDLINE]
        if len(typed) > 1:
            options = " and ".join(OPTIONS[name] for name in typed)
            raise click.UsageError(f"{options} exclude each other: use one of them.")
        if len(given) > 1 and not typed:
            raise click.UsageError("EXTFRAME_DIR and EXTFRAME_APP exclude each other: unset one of them.")
        chosen = {name: values[name] for name in typed or given}
        return cls(**chosen, allow_unsafe=bool(ctx.params.get("allow_unsafe")))

    @property
    def source(self) -> Registry:
        """The registry at this location: of the engine, or of directories.

        Raises:
            click.BadParameter: as `registry`.
        """
        if self.engine is None:
            return self.registry
        from ..registry.docker_plugins import DockerPlugins

        return DockerPlugins(self.engine)

    @property
    def registry(self) -> LocalRegistry:
        """The registry of the directories at this location.

        Raises:
            click.BadParameter: the host's name cannot be one.
        """
        from ..registry.local import LocalRegistry

        if self.directory is not None:
            return LocalRegistry(self.directory, [self.directory], allow_unsafe=self.allow_unsafe)
        if self.app is None:
            return LocalRegistry(allow_unsafe=self.allow_unsafe)
        with self._host() as app:
            return LocalRegistry.for_app(app, allow_unsafe=self.allow_unsafe)

    def supervisor(self, echo: Callable[[str, str], object] | None = None) -> Supervisor:
        """Return the supervisor at this location.

        Args:
            echo: called with the name of the plugin and each line that it writes, if given.

        Raises:
            click.UsageError: no location was given: Docker's directories have no plugins to start.
            click.BadParameter: the host's name cannot be one.
        """
        from ..supervisor.supervisor import Supervisor

        if self.directory is not None:
            return Supervisor(self.directory, allow_unsafe=self.allow_unsafe, echo=echo)
        with self._host() as app:
            return Supervisor.for_app(app, allow_unsafe=self.allow_unsafe, echo=echo)

    @property
    def directories(self) -> Directories:
        """Where hosts at this location have the configuration, sockets and environments of the plugins they start.

        Raises:
            click.UsageError, click.BadParameter: as for `supervisor`.
        """
        from ..supervisor.directories import directories_in, directories_of

        if self.directory is not None:
            return directories_in(self.directory)
        with self._host() as app:
            return directories_of(app)

    @property
    def hosted(self) -> HostedPlugins | None:
        """The plugins that hosts at this location start; None if no host has configuration here.

        Raises:
            click.BadParameter: the host's name cannot be one.
        """
        if self.app is None and not self._has_hosts():
            return None
        from .hosted_plugins import HostedPlugins

        directories = self.directories
        try:
            return HostedPlugins(directories, self.directory, allow_unsafe=self.allow_unsafe)
        except SpecError:  # Docker's
            return None

    def _has_hosts(self) -> bool:
        """Return whether ``--dir`` is a directory of configuration, not one of sockets and spec files only."""
        from ..supervisor.run_directory import live_directories

        if self.directory is None:
            return False
        try:
            if any(each.endswith((".toml", ".lock")) for each in os.listdir(self.directory)):
                return True
        except OSError:
            return False
        return bool(live_directories(self.directories.run, self.directory))

    @contextmanager
    def _host(self) -> Iterator[str]:
        if self.app is None:
            raise click.UsageError("Missing option '--app' or '--dir': which host's plugins?")
        try:
            yield self.app
        except SpecError as wrong:
            raise click.BadParameter(printable(str(wrong)), param_hint="'--app'") from wrong

    @property
    def options(self) -> list[str]:
        """The options for another command that looks in the same place."""
        directory = [] if self.directory is None else ["--dir", self.directory]
        app = [] if self.app is None else ["--app", self.app]
        engine = [] if self.engine is None else [f"--engine={self.engine}"]
        return [*directory, *app, *engine, *(["--allow-unsafe"] if self.allow_unsafe else [])]


def is_address(text: str) -> bool:
    """Return whether an argument is an address rather than the name of a plugin, which contains no slash."""
    return ":/" in text


def find_target(location: Location, target: str) -> HostedPlugin | PluginSpec:
    """Return a plugin that is given by its name or its address. An address is its own name.

    A name is that of a plugin that hosts start, or else of one that listens somewhere.

    Raises:
        PluginNotFound: a plugin of this name does not exist; the message suggests a similar name.
        SpecError: its source cannot be used.
        click.BadParameter: the name or address is invalid.
    """
    from ..protocol import Address, PluginSpec

    if not is_address(target):
        return _find_plugin(location, target)
    try:
        address = str(Address.parse(target))
    except SpecError as wrong:
        raise click.BadParameter(printable(str(wrong)), param_hint="'NAME'") from wrong
    return PluginSpec(address, address)


def _find_plugin(location: Location, name: str) -> HostedPlugin | PluginSpec:
    """Return a plugin that hosts start, or where a plugin listens that they do not start. The former take precedence.

    Raises:
        PluginNotFound: a plugin of this name does not exist; the message suggests a similar name.
        SpecError: its source cannot be used.
        click.BadParameter: the name is invalid.
    """
    from ..protocol import check_name
    from ..registry.local import LocalRegistry

    registry = location.source
    try:
        if isinstance(registry, LocalRegistry):  # the engine's names have slashes
            check_name(name)
    except SpecError as wrong:
        raise click.BadParameter(printable(str(wrong)), param_hint="'NAME'") from wrong
    hosted = location.hosted
    plugin = None if hosted is None else hosted.look(name)
    if plugin is not None:
        return plugin
    try:
        return registry.find(name)
    except PluginNotFound as missing:
        from difflib import get_close_matches

        for close in get_close_matches(name, names_at(location), n=1):
            missing.message += f"; did you mean {close!r}?"
        raise


def names_at(location: Location) -> list[str]:
    """Return the names of all plugins at a location, sorted.

    Raises:
        ExtframeError: a directory cannot be read.
    """
    hosted = location.hosted
    return sorted({*location.source.scan(), *(() if hosted is None else hosted.scan())})
