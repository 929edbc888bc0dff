"""Report imports that fail at the first use of a plugin as our own error."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

from ..errors import ExtframeError


@contextmanager
def first_use() -> Iterator[None]:
    """Translate the errors of the imports in the block. A later use tries them again.

    Raises:
        ExtframeError: a module could not be imported; the cause is chained.
    """
    try:
        yield
    except (ImportError, OSError) as error:
        raise ExtframeError(
            f"cannot import the modules that use plugins: {error}; if no file descriptor is left, raise the limit "
            "(ulimit -n)"
        ) from error
