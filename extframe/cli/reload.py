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
    running: subprocess.Popen[bytes] | None = None
    with _terminated_as_interrupted():
        try:
            while True:
                seen = _look(directory)
                running = subprocess.Popen([sys.executable, "-m", "extframe.cli", *arguments])
                while _look(directory) == seen:
                    time.sleep(INTERVAL)
                _stop(running)
        except KeyboardInterrupt:
            return 0 if running is None else _stop(running)


def _stop(running: subprocess.Popen[bytes]) -> int:
    running.terminate()
    code = running.wait()
    return 0 if code == -signal.SIGTERM else code  # it had not come so far as to hear of signals


def _look(directory: Path) -> dict[Path, tuple[int, int]]:
    """Return the time and the size of each file: one that is being written changes twice at one time of the clock."""
    seen = {}
    for path in directory.rglob("*.py"):
        if not any(part.startswith(".") or part in _SKIPPED for part in path.relative_to(directory).parts):
            try:
                found = path.stat()
                seen[path] = found.st_mtime_ns, found.st_size
            except FileNotFoundError:
                continue
    return seen


@contextmanager
def _terminated_as_interrupted() -> Iterator[None]:
    before = signal.signal(signal.SIGTERM, signal.default_int_handler)
    try:
        yield
    finally:
        signal.signal(signal.SIGTERM, before)
