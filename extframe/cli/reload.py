"""Run a command again whenever Python files below a directory change. Knows nothing of the command."""

from __future__ import annotations

import signal
import subprocess
import sys
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

INTERVAL = 0.3  # seconds between two looks
_SKIPPED = ("venv", "node_modules", "__pycache__")


def run_again_on_changes(directory: Path, arguments: Sequence[str]) -> int:
    """Run ``extframe`` with ``arguments`` until a signal ends this process, and return with what the last run left.

    A run that ends by itself, such as one of code that does not parse, is followed by the next at the next change.
    """
    with _terminated_as_interrupted():
        while True:
            seen = _times(directory)
            running = subprocess.Popen([sys.executable, "-m", "extframe.cli", *arguments])
            try:
                while _times(directory) == seen:
                    time.sleep(INTERVAL)
            except KeyboardInterrupt:
                return _stop(running)
            _stop(running)


def _stop(running: subprocess.Popen[bytes]) -> int:
    running.terminate()
    return running.wait()


def _times(directory: Path) -> dict[Path, int]:
    times = {}
    for path in directory.rglob("*.py"):
        if not any(part.startswith(".") or part in _SKIPPED for part in path.relative_to(directory).parts):
            try:
                times[path] = path.stat().st_mtime_ns
            except FileNotFoundError:
                continue
    return times


@contextmanager
def _terminated_as_interrupted() -> Iterator[None]:
    before = signal.signal(signal.SIGTERM, signal.default_int_handler)
    try:
        yield
    finally:
        signal.signal(signal.SIGTERM, before)
