"""What the checks look at, read once: plugins, handshakes, handlers. Draws no conclusions."""

from __future__ import annotations

from functools import cached_property
from typing import TYPE_CHECKING

from ...errors import ExtframeError, PluginNotFound, SpecError
from ...handlers.entry_points import GROUP, entry_points
from ..shell import shell_command
from .handshakes import Handshake, manager_with_handlers, shake_hands_with_all

if TYPE_CHECKING:
    from collections.abc import Sequence

    from ...handlers.entry_points import EntryPoint
    from ...host.manager import PluginManager
    from ...protocol import PluginSpec
    from ...registry.local import LocalRegistry


class CheckContext:
    """A machine as a host sees it.

    Args:
        registry: the registry to check.
        timeout: seconds for each handshake.
        contact: whether to connect to plugins.
        options: the options of this command that select the registry, for suggested commands.
    """

    def __init__(
        self, registry: LocalRegistry, *, timeout: float, contact: bool = True, options: Sequence[str] = ()
    ) -> None:
        self.registry = registry
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
        for directory, extensions in self.registry.places:
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
    def specs(self) -> list[PluginSpec]:
        """The plugins whose sources can be used."""
        return [found for found in self.sources.values() if not isinstance(found, SpecError)]

    @cached_property
    def handshakes(self) -> list[Handshake]:
        """The outcome of the handshake with each of them."""
        return shake_hands_with_all(self.registry, self.specs, self.timeout) if self.contact else []

    @cached_property
    def manager(self) -> PluginManager:
        """A manager with the installed handlers. No plugin is activated by it, so that no handler is called."""
        return manager_with_handlers(self.registry)

    @cached_property
    def entry_points(self) -> list[EntryPoint]:
        """The installed entry points."""
        return list(entry_points((GROUP,)))
