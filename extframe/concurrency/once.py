"""What happens once, whichever thread is first. Knows nothing about what it is."""

from __future__ import annotations

from collections.abc import Hashable


class Once:
    """The things that were done. Has no lock: the look and the note are a single step in Python."""

    def __init__(self) -> None:
        self._first: dict[Hashable, object] = {}

    def first(self, thing: Hashable) -> bool:
        """Return True at the first call for a thing, and False at later ones."""
        token = object()
        return self._first.setdefault(thing, token) is token

    def __contains__(self, thing: Hashable) -> bool:
        return thing in self._first
