"""What a process takes: memory, file descriptors, threads. Knows no extframe; reads /proc."""

from __future__ import annotations

import os
from pathlib import Path


class Memory:
    """How much more memory a process has had than when this was made; this process, or the one of that id."""

    def __init__(self, process: int | str = "self") -> None:
        self._directory = Path("/proc", str(process))
        (self._directory / "clear_refs").write_text("5")  # the peak is what there is now
        self._before = self._peak()

    def growth(self) -> int:
        """Return how many bytes more there were at most."""
        return self._peak() - self._before

    def _peak(self) -> int:
        lines = (self._directory / "status").read_text().splitlines()
        return next(int(line.split()[1]) * 1024 for line in lines if line.startswith("VmHWM:"))


def resources() -> tuple[int, int]:
    """Return how many file descriptors and threads this process has."""
    return len(os.listdir("/proc/self/fd")), len(os.listdir("/proc/self/task"))
