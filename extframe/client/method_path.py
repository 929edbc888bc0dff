"""The path of a method in requests."""

from __future__ import annotations

from ..errors import SpecError
from ..protocol import ACTIVATE, CONFIGURE


def path_of(method: object) -> str:
    """Return the path of a method, which may have a leading slash.

    Raises:
        SpecError: ``method`` is not a string, or empty.
    """
    if not (isinstance(method, str) and method):
        raise SpecError(f"{method!r} is not a valid method: expected a non-empty string such as VolumeDriver.List")
    return method if method.startswith("/") else "/" + method


def is_handshake(method: str) -> bool:
    """Return whether a method, which may have a leading slash, is the handshake, or the settings that follow it."""
    return method == ACTIVATE or method.lstrip("/") in (ACTIVATE, CONFIGURE)
