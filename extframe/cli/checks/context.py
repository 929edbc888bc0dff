"""What the checks look at, read once: plugins, handshakes, handlers. Draws no conclusions."""

from __future__ import annotations

from dataclasses import replace
from functools import cached_property
from typing import TYPE_CHECKING

from ...errors import ExtframeError, PluginNotFound, SpecError
from ...handlers.entry_points import GROUP, entry_points
from ...registry.chain import RegistryChain
from ..shell import shell_command
from .handshakes import Handshake, manager_with_handlers, shake_hands_with_all

if TYPE_CHECKING:
    from collections.abc import Hashable, Mapping, Sequence

    from ...handlers.entry_points import EntryPoint
    from ...host.manager import PluginManager
    from ...protocol import PluginSpec
    from ...registry.base import Registry
    from ...registry.local import LocalRegistry
    from ..hosted_plugins import HostedPlugin, HostedPlugins


CONFIGURATION = (".toml", ".lock")
"""The extensions of the files in a directory of configuration: of a plugin that hosts start, and of its environment."""


class RunningPlugins:
    """A registry of the plugins that run and were started by hosts."""

    def __init__(self, specs: Mapping[str, PluginSpec]) -> None:
        self._specs = specs

    def scan(self) -> list[str]:
        """Return their names."""
        return sorted(self._specs)

    def find(self, name: str) -> PluginSpec:
        """Return one of them.

        Raises:
            PluginNotFound: it does not run.
        """
        if name not in self._specs:
            raise PluginNotFound(f"no plugin {name!r} that a host started", plugin=name)
        return self._specs[name]

    def stamp(self, spec: PluginSpec) -> Hashable:
        """Return the same for all: they are looked at once."""
        return True


class CheckContext:
    """A machine as a host sees it.

    Args:
        registry: the registry to check.
        timeout: seconds for each handshake.
        contact: whether to connect to plugins.
        options: the options of this command that select the registry, for suggested commands.
        hosted: the plugins that hosts start, if hosts at this location can start some.
    """

    def __init__(
        self,
        registry: LocalRegistry,
        *,
        timeout: float,
        contact: bool = True,
        options: Sequence[str] = (),
        hosted: HostedPlugins | None = None,
    ) -> None:
        self.registry = registry
        self.hosted = hosted
        self.timeout = timeout
        self.contact = contact
        self._options = options

    def command(self, subcommand: str, *options: str, plugin: str | None = None, method: str = "") -> str:
        """Return an ``extframe`` command for the same registry. Empty if it cannot be quoted."""
        arguments = [] if plugin is None else [*(["--"] if plugin.startswith("-") else []), plugin]
        return shell_command("extframe", subcommand, *options, *self._options, *arguments, *filter(None, [method]))

    @cached_property
    def extensions(self) -> dict[str, tuple[str, ...]]:
        """The directories of the registry, each with the file name extensions that are used there."""
        found: dict[str, tuple[str, ...]] = {}
        configs = () if self.hosted is None else self.hosted.directories.configs
        for directory, extensions in (*self.registry.places, *((each, CONFIGURATION) for each in configs)):
            found[directory] = (*found.get(directory, ()), *extensions)
        return found

    @cached_property
    def sources(self) -> dict[str, PluginSpec | SpecError]:
        """The contents of each plugin's source, or why it cannot be used."""
        try:
            names = self.registry.scan()
        except ExtframeError:  # the checks of directories report it
            names, _ = self.registry.scan_readable()
        found = {name: self._find(name) for name in names}
        return {name: each for name, each in found.items() if each is not None}

    def _find(self, name: str) -> PluginSpec | SpecError | None:
        try:
            return self.registry.find(name)
        except SpecError as wrong:
            return wrong
        except PluginNotFound:  # removed since the scan
            return None

    @cached_property
    def hosted_plugins(self) -> dict[str, HostedPlugin]:
        """The plugins that hosts start, by name."""
        if self.hosted is None:
            return {}
        try:
            names = self.hosted.scan()
        except ExtframeError:  # the checks of directories report it
            return {}
        return {name: plugin for name in names if (plugin := self.hosted.look(name)) is not None}

    @cached_property
    def _running(self) -> dict[str, PluginSpec]:
        specs = {name: plugin.spec for name, plugin in self.hosted_plugins.items() if plugin.runs}
        return {name: replace(spec, stamp=True) for name, spec in specs.items() if spec is not None}

    @cached_property
    def specs(self) -> list[PluginSpec]:
        """The plugins whose sources can be used; of those that hosts start, which take precedence, the running ones."""
        found = {spec.name: spec for spec in self.sources.values() if not isinstance(spec, SpecError)}
        others = {name: spec for name, spec in found.items() if name not in self.hosted_plugins}
        return [*others.values(), *self._running.values()]

    @cached_property
    def handshakes(self) -> list[Handshake]:
        """The outcome of the handshake with each of them."""
        if not self.contact:
            return []
        registry: Registry = self.registry
        if self._running:
            registry = RegistryChain(RunningPlugins(self._running), registry)
        return shake_hands_with_all(registry, self.specs, self.timeout)

    @cached_property
    def manager(self) -> PluginManager:
        """A manager with the installed handlers. No plugin is activated by it, so that no handler is called."""
        return manager_with_handlers(self.registry)

    @cached_property
    def entry_points(self) -> list[EntryPoint]:
        """The installed entry points."""
        return list(entry_points((GROUP,), hooks=True))
