"""``typing.get_type_hints`` works on every public name and its public methods, whatever their modules import."""

from __future__ import annotations

import functools
import inspect
import typing
from collections.abc import Iterator
from typing import Any

import pytest

import extframe
import extframe.testing

PUBLIC = [
    *((extframe, name) for name in extframe.__all__),
    *((extframe.testing, name) for name in extframe.testing.__all__),
]
SPECIAL = ("__init__", "__call__", "__enter__", "__exit__", "__aenter__", "__aexit__", "__iter__", "__next__")
EXTRAS = ("opentelemetry", "prometheus_client")


def functions_of(value: Any) -> Iterator[Any]:
    """Yield a function or a class, and the public methods of the class, also those of extframe's base classes."""
    if inspect.isfunction(value):
        yield value
    if not inspect.isclass(value):
        return
    yield value
    for cls in value.__mro__:
        methods = vars(cls).items() if cls.__module__.startswith("extframe") else ()
        for name, method in methods:
            found = getattr(method, "fget", None) or getattr(method, "__func__", None) or method
            found = found.func if isinstance(found, functools.cached_property) else found
            if inspect.isfunction(found) and (not name.startswith("_") or name in SPECIAL):
                yield found


def types_of(found: Any) -> dict[str, Any]:
    """Return the types of a function or class; none if they are those of an extra that is not installed."""
    try:
        return typing.get_type_hints(found)
    except ModuleNotFoundError as missing:
        if str(missing.name).partition(".")[0] not in EXTRAS:
            raise
        return {}


@pytest.mark.parametrize(("module", "name"), PUBLIC, ids=[f"{module.__name__}.{name}" for module, name in PUBLIC])
def test_the_types_of_every_public_name_can_be_read(module, name):
    for found in functions_of(getattr(module, name)):
        assert "ForwardRef" not in repr(types_of(found))


def test_the_types_are_those_that_type_checkers_see():
    assert typing.get_type_hints(extframe.PluginManager.watch)["return"] is extframe.Watch
    assert typing.get_type_hints(extframe.Client.manifest.fget)["return"] == extframe.Manifest | None
    assert typing.get_type_hints(extframe.PluginManager.get)["return"] is extframe.Plugin
