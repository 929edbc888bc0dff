"""The resources of a process: memory, file descriptors, threads. Reads /proc."""

from __future__ import annotations

import os
from pathlib import Path


class Memory:
    """The growth of a process's peak memory since this object was created."""

    def __init__(self, process: int | str = "self") -> None:
        self._directory = Path("/proc", str(process))
        (self._directory / "clear_refs").write_text("5")  # resets the peak to the current use
        self._before = self._peak()

    def growth(self) -> int:
        """Return the growth in bytes."""
        return self._peak() - self._before

    def _peak(self) -> int:
        lines = (self._directory / "status").read_text().splitlines()
        return next(int(line.split()[1]) * 1024 for line in lines if line.startswith("VmHWM:"))


def resources() -> tuple[int, int]:
    """Return the number of file descriptors and of threads of this process."""
    return len(os.listdir("/proc/self/fd")), len(os.listdir("/proc/self/task"))
