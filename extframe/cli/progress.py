"""A line on a terminal that says what a slow command waits for. Knows nothing about plugins."""

from __future__ import annotations

import contextlib
import math
import os
import sys
import threading
import time
from collections.abc import Callable, Iterator

from ..text import printable

_ERASE = "\r\x1b[K"


@contextlib.contextmanager
def progress_line(text: str, *, delay: float, limit: float = math.inf) -> Iterator[Callable[[str], None]]:
    """Show a line with the elapsed time while the body runs, if stderr is a terminal; remove it afterwards.

    Args:
        text: what the command waits for; the function that is yielded replaces it.
        delay: seconds before the line appears, so that a quick command shows none.
        limit: seconds after which the command gives up.
    """
    if sys.stderr is None or not sys.stderr.isatty():
        yield lambda text: None
        return
    line = _Line(text, delay, limit)
    try:
        yield line.show
    finally:
        line.end()


class _Line:
    def __init__(self, text: str, delay: float, limit: float) -> None:
        self._text = text
        self._delay = delay
        self._end = "" if math.isinf(limit) else f" of {limit:g} s"
        self._began = time.monotonic()
        self._ended = threading.Event()
        self._rewrites = os.environ.get("TERM", "dumb") != "dumb"
        self._thread = threading.Thread(target=self._run, name="extframe progress", daemon=True)
        self._thread.start()

    def show(self, text: str) -> None:
        self._text = text

    def end(self) -> None:
        self._ended.set()
        self._thread.join()

    def _run(self) -> None:
        if self._ended.wait(self._delay):
            return
        if not self._rewrites:
            _write(f"extframe: {printable(self._text)}\n")
            return
        while True:
            _write(_ERASE + self._line())
            if self._ended.wait(1.0):
                _write(_ERASE)
                return

    def _line(self) -> str:
        elapsed = f", {time.monotonic() - self._began:.0f} s{self._end}"
        return f"extframe: {printable(self._text)}"[: _columns() - len(elapsed) - 1] + elapsed


def _columns() -> int:
    with contextlib.suppress(OSError, ValueError):
        return os.get_terminal_size(sys.stderr.fileno()).columns or 80
    return 80


def _write(text: str) -> None:
    with contextlib.suppress(OSError, ValueError):  # the terminal was closed
        sys.stderr.write(text.encode(sys.stderr.encoding or "utf-8", "backslashreplace").decode(errors="replace"))
        sys.stderr.flush()
