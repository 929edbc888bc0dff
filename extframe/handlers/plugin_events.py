"""PluginEvent: what happened to a plugin, as data. Calls nothing."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime, timezone
from typing import TYPE_CHECKING, Any, Literal

from ..errors import ExtframeError

if TYPE_CHECKING:
    from ..host.async_plugin import AsyncPlugin
else:
    from ..concurrency.late_types import late

    AsyncPlugin = late("extframe.host.async_plugin", "AsyncPlugin")

Kind = Literal["activated", "failed", "lost", "removed"]


@dataclass(frozen=True)
class PluginEvent:
    """What happened to a plugin; ``AsyncPluginManager.watch`` yields these.

    Args:
        kind: ``activated``, ``failed``, ``lost`` or ``removed``, as in the names of the lifecycle hooks.
        name: the plugin's name.
        plugin: the plugin, where it was activated or lost; its state may have changed since.
        error: why it failed.
        reason: why it was lost or failed, as text.
        when: the time in UTC.
    """

    kind: Kind
    name: str
    plugin: AsyncPlugin | None = None
    error: ExtframeError | None = None
    reason: str = ""
    when: datetime = field(default_factory=lambda: datetime.now(timezone.utc))


def event_of(hook: str, arguments: Mapping[str, Any]) -> PluginEvent:
    """Return the event that a lifecycle hook reports."""
    kind: Any = hook.removeprefix("plugin_")
    error = arguments.get("error")
    reason = arguments.get("reason", "" if error is None else str(error))
    return PluginEvent(kind, arguments["name"], arguments.get("plugin"), error, reason)
