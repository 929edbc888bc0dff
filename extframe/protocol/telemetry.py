"""Names and buckets of traces and metrics, the same for hosts and plugins. No I/O, and no dependency.

They are those of OpenTelemetry's semantic conventions for RPC and HTTP, version 1.45. What these do not have begins
with ``extframe.``.
"""

from __future__ import annotations

RPC_SYSTEM = "extframe"
OTHER_METHOD = "_OTHER"
DURATION_BUCKETS = (0.005, 0.01, 0.025, 0.05, 0.075, 0.1, 0.25, 0.5, 0.75, 1.0, 2.5, 5.0, 7.5, 10.0)
"""Seconds, as the conventions advise."""


def missing_extra(name: str, missing: ImportError) -> ImportError:
    """Return the error for a package that an extra installs."""
    return ImportError(f"{missing.name or name} is not installed; install it with: pip install 'extframe[{name}]'")
