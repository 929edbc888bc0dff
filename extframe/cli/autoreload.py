"""Restart a command when Python files below a directory change. Knows nothing about the command."""

from __future__ import annotations

import os
import select
import signal
import subprocess
import sys
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

from ..protocol import LIFELINE

INTERVAL = 0.3  # seconds between polls
_SKIPPED = ("venv", "node_modules", "__pycache__")

# -m and -c put the working directory first on the path, where a json.py would shadow the standard library.
_START = "import sys; sys.path[:] = filter(None, sys.path); from extframe.cli import main; main()"


def run_with_reload(directory: Path, arguments: Sequence[str]) -> int:
    """Run ``extframe`` with ``arguments``, and restart it on each change, until a signal. Return its exit code.

    A run that exits by itself, such as one with a syntax error, is restarted on the next change.
    """
    process: subprocess.Popen[bytes] | None = None
    with _sigterm_as_interrupt(), _lifeline() as options:
        try:
            while True:
                before = _snapshot(directory)
                process = subprocess.Popen([sys.executable, "-c", _START, *arguments], **options)
                while _snapshot(directory) == before:
                    time.sleep(INTERVAL)
                _stop(process)
        except KeyboardInterrupt:
            return 0 if process is None else _stop(process)


def _stop(process: subprocess.Popen[bytes]) -> int:
    process.terminate()
    code = process.wait()
    return 0 if code == -signal.SIGTERM else code  # it had not yet installed its signal handlers


def _snapshot(directory: Path) -> dict[Path, tuple[int, int]]:
    """Return the time and size of each file. The size too, as two writes can get the same timestamp."""
    seen = {}
    for parent, directories, names in os.walk(directory):  # which passes over what is removed meanwhile
        directories[:] = filter(_is_searched, directories)
        for name in filter(_is_searched, names):
            if name.endswith(".py"):
                path = Path(parent, name)
                with suppress(OSError):
                    status = path.stat()
                    seen[path] = status.st_mtime_ns, status.st_size
    return seen


def _is_searched(name: str) -> bool:
    return not name.startswith(".") and name not in _SKIPPED


@contextmanager
def _lifeline() -> Iterator[dict[str, Any]]:
    """Yield the options of a process that ends with this one, even if this one is killed."""
    if LIFELINE in os.environ or not hasattr(select, "poll"):  # a host that started this one ends both
        yield {}
        return
    reader, writer = os.pipe()
    try:
        yield {"pass_fds": (reader,), "env": {**os.environ, LIFELINE: str(reader)}}
    finally:
        os.close(reader)
        os.close(writer)


@contextmanager
def _sigterm_as_interrupt() -> Iterator[None]:
    before = signal.signal(signal.SIGTERM, signal.default_int_handler)
    try:
        yield
    finally:
        signal.signal(signal.SIGTERM, before)
