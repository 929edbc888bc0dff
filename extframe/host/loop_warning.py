"""Warn about methods that block an event loop. Imports no asyncio: a host without it pays for one lookup."""

from __future__ import annotations

import sys
from types import FrameType

from ..logs import get_logger

PACKAGE = __name__.partition(".")[0]

logger = get_logger(__name__)


class LoopWarning:
    """Logs a warning, once per calling place, when a method that blocks is called where an event loop runs."""

    def __init__(self) -> None:
        self._places: set[tuple[str, int]] = set()

    def check(self) -> None:
        """Log a warning if this thread runs an event loop; the method is the one that was called from outside."""
        events = sys.modules.get("asyncio.events")
        if events is not None and events._get_running_loop() is not None:
            self._warn()

    def _warn(self) -> None:
        method, caller = _call_from_outside(sys._getframe(1))
        place = caller.f_code.co_filename, caller.f_lineno
        if place not in self._places:
            self._places.add(place)
            logger.warning(
                "PluginManager.%s() at %s:%d blocks the event loop that runs in this thread: use AsyncPluginManager, "
                "or call it in a thread with asyncio.to_thread",
                method,
                *place,
            )


def _call_from_outside(frame: FrameType) -> tuple[str, FrameType]:
    """Return the name of the outermost function of extframe, and the frame of its caller."""
    method = frame.f_code.co_name
    while (above := frame.f_back) is not None and frame.f_globals.get("__name__", "").partition(".")[0] == PACKAGE:
        method, frame = frame.f_code.co_name, above
    return method, frame
