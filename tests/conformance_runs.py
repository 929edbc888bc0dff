"""Run the conformance checks in tests, and pick results."""

from __future__ import annotations

import importlib.util
import sys
from collections import Counter
from pathlib import Path
from types import ModuleType

from scripted_plugin import ok

from extframe.conformance import Result, Verdict, check_plugin

STEP = 2.5  # seconds: a plugin that hangs takes all of it, one that responds no more than a machine stalls
SHORT = 0.3  # seconds, where nothing responds

EXAMPLES = Path(__file__).parents[1] / "examples" / "plugins"


def run(address: str, **options) -> dict[str, Result]:
    results = list(check_plugin(address, **{"timeout": 30.0, **options}))
    assert max(Counter(result.check for result in results).values()) == 1, "check names are unique"
    return {result.check: result for result in results}


def with_verdict(results: dict[str, Result], *verdicts: Verdict) -> dict[str, str]:
    return {name: result.reason for name, result in results.items() if result.verdict in verdicts}


def faults(results: dict[str, Result]) -> dict[str, str]:
    """Return what is neither passed nor skipped, with the reasons."""
    return with_verdict(results, Verdict.FAIL, Verdict.WARN, Verdict.NOTE)


def implementing(*points: str) -> bytes:
    return ok({"Implements": points})


def example(name: str) -> ModuleType:
    """Import an example plugin by the name of its file."""
    spec = importlib.util.spec_from_file_location(f"conforming_{name}", EXAMPLES / f"{name}.py")
    module = sys.modules[spec.name] = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module
