"""What all tests share: they use the extframe that is installed, and directories short enough for a socket's path."""

from __future__ import annotations

import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest

# `python -m pytest` puts the working directory first, where the checkout would hide what is installed.
CHECKOUT = Path(__file__).resolve().parent.parent
sys.path[:] = [entry for entry in sys.path if Path(entry).resolve() != CHECKOUT]


@pytest.fixture
def short_path() -> Iterator[Path]:
    """An empty directory with a short name: a unix socket's path has at most 107 bytes."""
    with tempfile.TemporaryDirectory(prefix="ef-", ignore_cleanup_errors=True) as directory:
        yield Path(directory)
