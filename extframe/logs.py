"""The package's loggers: one per module, silent until the host configures logging. Formats nothing."""

from __future__ import annotations

import logging

_root = logging.getLogger("extframe")


def get_logger(module: str) -> logging.Logger:
    """Return a module's logger. Without the handler, Python itself would print warnings to stderr."""
    if not any(isinstance(handler, logging.NullHandler) for handler in _root.handlers):
        _root.addHandler(logging.NullHandler())
    return logging.getLogger(module)
