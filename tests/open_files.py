"""Open so many files that the next ones have descriptors which ``select()`` does not take."""

from __future__ import annotations

import os
import resource
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager

LIMIT = 1024  # FD_SETSIZE


@contextmanager
def many_open_files() -> Iterator[None]:
    """Have descriptors of `LIMIT` and more given to whatever is opened in this block."""
    with ExitStack() as stack:
        before = resource.getrlimit(resource.RLIMIT_NOFILE)
        resource.setrlimit(resource.RLIMIT_NOFILE, (max(2 * LIMIT, before[0]), max(2 * LIMIT, before[1])))
        stack.callback(resource.setrlimit, resource.RLIMIT_NOFILE, before)
        for _ in range(LIMIT):
            stack.callback(os.close, os.open(os.devnull, os.O_RDONLY))
        yield
