"""How much memory a process takes at its peak. Reads /proc; knows no extframe."""

from __future__ import annotations

from pathlib import Path


class PeakMemory:
    """The growth of a process's peak memory since this object was created, without the pages of files.

    The system may take those from a process that stands still, and give them back when it goes on: that is not growth.
    """

    def __init__(self, process: int | str = "self") -> None:
        self._directory = Path("/proc", str(process))
        before = self._status()
        self._own, self._files = before["RssAnon"], before["RssFile"]
        (self._directory / "clear_refs").write_text("5")  # resets the peak to the current use

    def growth(self) -> int:
        """Return the growth in bytes."""
        now = self._status()
        return now["VmHWM"] - max(self._files, now["RssFile"]) - self._own

    def _status(self) -> dict[str, int]:
        lines = (self._directory / "status").read_text().splitlines()
        found = (line.replace(":", "").split() for line in lines if line.endswith(" kB"))
        return {key: int(size) * 1024 for key, size, _ in found}
