"""Check that a plugin, in any language, conforms to the protocol. Prints nothing, and loads no handlers."""

from __future__ import annotations

from typing import Any

from .options import LifecycleOptions
from .rules import RULES, Result, Rule, Verdict
from .run import check_plugin

__all__ = ["RULES", "LifecycleOptions", "Result", "Rule", "Verdict", "check_plugin"]


def __getattr__(name: str) -> Any:
    if name != "Trial":
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    import warnings

    warnings.warn("extframe.conformance.Trial is deprecated: use LifecycleOptions", DeprecationWarning, stacklevel=2)
    return LifecycleOptions
