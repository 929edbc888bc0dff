"""The example plugins, as modules for the tests."""

from __future__ import annotations

import sys
from collections.abc import Callable
from importlib.util import module_from_spec, spec_from_file_location
from pathlib import Path
from types import ModuleType

import pytest

PLUGINS = Path(__file__).parents[2] / "examples" / "plugins"


@pytest.fixture(scope="session")
def example() -> Callable[[str], ModuleType]:
    """A function from an example's name to its module."""

    def load(name: str) -> ModuleType:
        spec = spec_from_file_location(f"examples_{name}", PLUGINS / f"{name}.py")
        assert spec is not None
        assert spec.loader is not None
        module = sys.modules[spec.name] = module_from_spec(spec)
        spec.loader.exec_module(module)
        return module

    return load
