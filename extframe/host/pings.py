"""What a ping that failed says about a plugin. Decides; never waits."""

from __future__ import annotations

from typing import Any

from ..errors import ExtframeError, TransportError
from ..logs import get_logger
from .plugin_base import PluginBase

logger = get_logger(__name__)


def note_ping(plugin: PluginBase[Any], began: float, failure: Exception) -> None:
    """Note that a ping failed. A plugin that answered with an error responds; any other is activated again.

    Args:
        plugin: was pinged.
        began: when, a ``time.monotonic()`` value.
        failure: what was raised.
    """
    if isinstance(failure, TransportError):
        plugin.mark_lost(began, f"it did not answer a ping: {failure.message}")
    elif not isinstance(failure, ExtframeError):
        logger.debug("ping of plugin %r failed", plugin.name, exc_info=failure)
