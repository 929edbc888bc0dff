"""Rows that describe handlers and plugins, for a host's own ``plugins`` command. Contacts no plugin."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from typing import TYPE_CHECKING, Any

from ..handlers.handler_rows import Description
from ..protocol import hook_name
from ..text import text_of
from .plugin_table import PluginTable

if TYPE_CHECKING:
    from .plugin_base import PluginBase


def describe(
    handlers: Sequence[Description],
    table: PluginTable[Any],
    names: Iterable[str],
    refusal: Callable[[str], str | None],
) -> list[Description]:
    """Return the rows of handlers, then those of plugins, each sorted by name.

    Args:
        handlers: the rows of handlers.
        table: the plugins that the manager knows.
        names: the plugins that the registry contains.
        refusal: returns why a plugin may not be used, or None.
    """
    known = {plugin.name: plugin for plugin in table.plugins()}
    plugins = [_plugin_row(name, known.get(name), table.failure(name), refusal(name)) for name in sorted(names)]
    return [*sorted(handlers, key=lambda row: row.name), *plugins]


def _plugin_row(
    name: str, plugin: PluginBase[Any] | None, failure: BaseException | None, refusal: str | None
) -> Description:
    if refusal is not None:
        return Description("plugin", name, state="blocked", failure=f"it {refusal}")
    if plugin is None:
        return Description("plugin", name, state="new" if failure is None else "failed", failure=_text(failure))
    return Description(
        "plugin",
        name,
        source=plugin.source,
        hooks=tuple(hook_name(point) for point in plugin.manifest.implements),
        state=plugin.state.value,
        failure=_text(failure or plugin.last_error),
    )


def _text(failure: BaseException | None) -> str:
    return "" if failure is None else text_of(failure)
