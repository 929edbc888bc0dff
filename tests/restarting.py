"""A client's listener that says its plugin was active, so that a refused connection means a restart."""

from __future__ import annotations


class Restarting:
    was_active = True

    def __init__(self) -> None:
        self.refused: list[float] = []

    def why(self, failure: Exception) -> str | None:
        return None

    def connection_refused(self, began: float) -> None:
        self.refused.append(began)

    def manifest_changed(self) -> None:
        pass
