"""Which plugins ``get_all`` returns, and what is noted about the others. Decides; never waits."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any, TypeVar

from ..errors import CallTimeout, DoesNotImplement, ExtframeError, HandlerError
from .dispatch_rules import DispatchRules
from .plugin_base import PluginBase, point_of
from .plugin_table import PluginTable

if TYPE_CHECKING:
    from ..interface.async_interface import AsyncInterface
    from ..interface.declarations import Interface

P = TypeVar("P", bound=PluginBase[Any])

GRACE = 0.02  # seconds after the deadline in which get_all collects the timeouts


def usable_plugins(
    table: PluginTable[P],
    rules: DispatchRules[Any],
    names: Sequence[str],
    point: str | type[Interface] | type[AsyncInterface],
    results: Mapping[str, Exception | None],
) -> list[P]:
    """Return the plugins that can be used as an extension point, and note the failures of the others.

    Args:
        table: the plugins that the manager knows.
        rules: which handlers failed.
        names: the plugins to choose from.
        point: the extension point; a class leaves out plugins in versions that it does not accept.
        results: the failure of each plugin that was done by the deadline, or None.
    """
    found = [_usable(table, rules, name, point, results) for name in names]
    return [plugin for plugin in found if plugin is not None]


def _usable(
    table: PluginTable[P],
    rules: DispatchRules[Any],
    name: str,
    point: str | type[Interface] | type[AsyncInterface],
    results: Mapping[str, Exception | None],
) -> P | None:
    """Return a plugin that can be used, or None after noting why not."""
    plugin = table.known(name)
    error = results[name] if name in results else _late(rules, name, plugin)
    if error is not None or plugin is None:
        table.record_failure(name, error or _late(rules, name, plugin))
        return None
    try:
        plugin.require(point)
    except DoesNotImplement as missing:
        if plugin.implements(point_of(point)):  # in other versions
            table.record_failure(name, missing)
            return None
    table.record_success(name)  # of a handler that was late, and has returned
    try:
        plugin.require(point)
        rules.require(plugin, point_of(point))
    except (DoesNotImplement, HandlerError):  # the failure of the handler is noted already
        return None
    return plugin


def _late(rules: DispatchRules[Any], name: str, plugin: PluginBase[Any] | None) -> ExtframeError:
    if plugin is None:
        return CallTimeout("there was no time left for it", plugin=name, phase="handshake")
    return rules.late(plugin) if plugin.is_made else plugin.late()
