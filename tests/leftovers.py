"""Whether threads and file descriptors are left over. Knows no extframe."""

from __future__ import annotations

import contextlib
import os
import threading
from collections.abc import Iterator

from faultserver import eventually


def descriptors() -> int:
    return len(os.listdir("/proc/self/fd"))


@contextlib.contextmanager
def nothing_left_over(timeout: float = 30.0, *, lost: int = 0) -> Iterator[None]:
    """Check that soon after the block there are no more threads and file descriptors than before, but ``lost`` ones."""
    threads, files = threading.active_count(), descriptors()
    yield
    assert eventually(lambda: threading.active_count() <= threads, timeout), threading.enumerate()
    assert eventually(lambda: descriptors() <= files + lost, timeout), (files, [*_open_files()])


def _open_files() -> Iterator[str]:
    for name in os.listdir("/proc/self/fd"):
        with contextlib.suppress(OSError):
            yield f"{name}: {os.readlink(f'/proc/self/fd/{name}')}"
