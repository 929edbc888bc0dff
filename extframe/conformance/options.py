"""Options of the lifecycle checks. Imports nothing of the package."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field


@dataclass(frozen=True)
class LifecycleOptions:
    """Options of the checks that create something in the plugin and remove it again.

    Args:
        options: the driver options of what is created, such as ``{"remote": "scratch:"}``.
        mount: also mount the volume.
    """

    options: Mapping[str, str] = field(default_factory=dict)
    mount: bool = False
