"""What the examinations look at, each looked at once: plugins, and handlers. Judges nothing."""

from __future__ import annotations

import contextlib
import sys
from functools import cached_property
from typing import TYPE_CHECKING

from ...errors import ExtframeError, PluginNotFound, SpecError
from ...host.manager import PluginManager
from ..handlers import GROUP
from .commands import quoted
from .visits import Visit, visit_all

if TYPE_CHECKING:
    from collections.abc import Sequence

    from ...handlers.entry_points import EntryPoint
    from ...protocol import PluginSpec
    from ...registry.local import LocalRegistry


class Case:
    """A machine, as far as a host has to do with it.

    Args:
        registry: where plugins are looked for.
        timeout: seconds for each handshake.
        contact: whether plugins are asked at all.
        options: what the command was given, for commands that look in the same place.
    """

    def __init__(
        self, registry: LocalRegistry, *, timeout: float, contact: bool = True, options: Sequence[str] = ()
    ) -> None:
        self.registry = registry
        self.timeout = timeout
        self.contact = contact
        self._options = options

    def command(self, *words: str) -> str:
        """Return a command of ours that looks where this one did."""
        return " ".join(map(quoted, ["extframe", *words, *self._options]))

    @cached_property
    def places(self) -> dict[str, tuple[str, ...]]:
        """The directories of the registry, each with the extensions that count there."""
        places: dict[str, tuple[str, ...]] = {}
        for directory, extensions in self.registry.places:
            places[directory] = (*places.get(directory, ()), *extensions)
        return places

    @cached_property
    def sources(self) -> dict[str, PluginSpec | SpecError]:
        """What the file of each plugin says, or why it cannot be used."""
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
        except PluginNotFound:  # it went away meanwhile
            return None

    @cached_property
    def specs(self) -> list[PluginSpec]:
        """The plugins whose files can be used."""
        return [found for found in self.sources.values() if not isinstance(found, SpecError)]

    @cached_property
    def visits(self) -> list[Visit]:
        """What came of asking each of them."""
        return visit_all(self.registry, self.specs, self.timeout) if self.contact else []

    @cached_property
    def manager(self) -> PluginManager:
        """A host's manager with the installed handlers. It is asked for no plugin, so that no handler is called."""
        with contextlib.redirect_stdout(sys.stderr):  # what a package prints while it is imported is not our data
            return PluginManager(self.registry, groups=(GROUP,))

    @cached_property
    def offers(self) -> list[EntryPoint]:
        """The installed entry points."""
        from ...handlers.entry_points import entry_points

        return list(entry_points((GROUP,)))
