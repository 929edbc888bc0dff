"""What a manager needs from a registry."""

from __future__ import annotations

from collections.abc import Hashable
from typing import Protocol

from ..protocol import PluginSpec


class Registry(Protocol):
    """A source of plugins for a manager: `LocalRegistry`, or any object with these three methods.

    A registry that reads files can also have the attribute ``directories``, a sequence of paths:
    ``PluginManager.watch`` then notices changes in them at once. Otherwise it scans every half second.
    """

    def scan(self) -> list[str]:
        """Return the names of all existing plugins, sorted, without duplicates.

        Raises:
            ExtframeError: the source of plugins cannot be searched now. No plugin counts as removed then.
        """
        raise NotImplementedError

    def find(self, name: str) -> PluginSpec:
        """Return where the plugin listens.

        Raises:
            PluginNotFound: it does not exist; the message lists every place that was searched.
            SpecError: the name, or what was found under it, cannot be used.
            ExtframeError: the source of plugins cannot be searched now.
        """
        raise NotImplementedError

    def stamp(self, spec: PluginSpec) -> Hashable:
        """Return the current identity of what ``spec`` was made from, None once that is gone.

        As long as it equals ``spec.stamp``, ``find`` would return the same plugin, and the plugin has not been
        restarted. A manager calls this before every use of a plugin, so it must be cheap.
        """
        raise NotImplementedError
