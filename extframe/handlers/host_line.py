"""Find the line of the host that called extframe, for Python warnings. Issues none."""

from __future__ import annotations

import sys

_PACKAGES = (__name__.partition(".")[0], "pluggy")


def host_stacklevel() -> int:
    """Return the ``stacklevel`` with which the caller's ``warnings.warn`` names the line of the host."""
    level, frame = 1, sys._getframe(1)
    while frame.f_back is not None and frame.f_globals.get("__name__", "").partition(".")[0] in _PACKAGES:
        level, frame = level + 1, frame.f_back
    return level
