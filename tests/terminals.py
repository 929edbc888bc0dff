"""Read what a program writes to a terminal."""

from __future__ import annotations

import os


def read_terminal(terminal: int) -> bytes:
    """Return the next bytes that were written to a terminal; none once it is closed."""
    try:
        return os.read(terminal, 65536)
    except OSError:  # Linux has EIO where the other end is closed
        return b""
