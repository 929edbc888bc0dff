"""Whether threads and file descriptors are left over. Knows no extframe."""

from __future__ import annotations

import contextlib
import os
import threading
from collections.abc import Iterator

from faultserver import eventually


def descriptors() -> int:
    return len(os.listdir("/proc/self/fd"))


def threads() -> list[threading.Thread]:
    """Return the threads that run. ``threading`` also lists for ever what Ctrl-C kept from beginning."""
    return [thread for thread in threading.enumerate() if thread.ident is not None]


@contextlib.contextmanager
def nothing_left_over(timeout: float = 30.0, *, lost: int = 0) -> Iterator[None]:
    """Check that soon after the block there are no more threads and file descriptors than before, but ``lost`` ones."""
    count, files = len(threads()), descriptors()
    yield
    assert eventually(lambda: len(threads()) <= count, timeout), threads()
    assert eventually(lambda: descriptors() <= files + lost, timeout), (files, [*_open_files()])


def _open_files() -> Iterator[str]:
    for name in os.listdir("/proc/self/fd"):
        with contextlib.suppress(OSError):
            yield f"{name}: {os.readlink(f'/proc/self/fd/{name}')}"
