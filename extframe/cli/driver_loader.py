"""Load a driver from ``package.module:Name``, also from the working directory."""

from __future__ import annotations

import logging
import os
import sys
from importlib import import_module
from types import ModuleType
from typing import Any

import click

from ..errors import ExtframeError
from ..text import quoted, text_of
from .output import printable

logger = logging.getLogger(__name__)


def load_driver(target: str) -> Any:
    """Return the driver that ``target`` names. A class or function is called; an instance is returned as it is.

    Raises:
        click.BadParameter: it is not MODULE:NAME.
        ExtframeError: the module or name does not exist, importing or calling it failed, or it is not a driver.
    """
    return _driver(target, load(target, parameter="DRIVER"))


def load(target: str, *, parameter: str = "MODULE:INTERFACE") -> Any:
    """Return what ``target`` names; ``parameter`` is the name of the argument for messages.

    Raises:
        click.BadParameter: it is not MODULE:NAME.
        ExtframeError: the module or name does not exist, or importing it failed.
    """
    module_name, _, name = target.partition(":")
    if not all(part.isidentifier() for part in (*module_name.split("."), *name.split("."))):
        expected = "expected MODULE:NAME, such as photos.plugin:Photos"
        raise click.BadParameter(f"'{printable(target)}' is invalid: {expected}.", param_hint=f"'{parameter}'")
    module = _import(module_name)
    found: Any = module
    for part in name.split("."):
        if not hasattr(found, part):
            raise ExtframeError(f"{target}: {_where(module)} has no {part!r}{_suggestion(found)}")
        found = getattr(found, part)
    return found


def _import(name: str) -> ModuleType:
    # At the end of the path: a json.py in the working directory must not shadow the standard library.
    if os.getcwd() not in sys.path:
        sys.path.append(os.getcwd())
    try:
        return import_module(name)
    except ModuleNotFoundError as missing:
        if missing.name and f"{name}.".startswith(f"{missing.name}."):
            searched = f"neither in {os.getcwd()} nor installed in {sys.prefix}"
            raise ExtframeError(f"{name}: no module named {missing.name!r}, {searched}") from missing
        raise ExtframeError(f"{name} imports {missing.name!r}, which is not installed") from missing
    except Exception as error:  # a module can raise anything
        raise _failure(f"importing {name} failed", error) from error


def _where(module: ModuleType) -> str:
    return f"{module.__name__} ({getattr(module, '__file__', None) or 'built-in'})"


def _suggestion(module: Any) -> str:
    drivers = [name for name, value in vars(module).items() if _is_own_driver(value, module.__name__)]
    return f"; did you mean {', '.join(drivers)}?" if drivers else ""


def _is_own_driver(value: Any, module: str) -> bool:
    return isinstance(value, type) and bool(getattr(value, "__extframe__", ())) and value.__module__ == module


def _driver(target: str, found: Any) -> Any:
    is_instance = hasattr(found, "__extframe__") and not isinstance(found, type)
    if not is_instance and not callable(found):
        raise ExtframeError(f"{target} is {quoted(found)}: expected a driver, or a function that returns one")
    try:
        driver = found if is_instance else found()
    except Exception as error:  # a constructor can raise anything
        raise _failure(f"calling {target} failed", error) from error
    if not getattr(driver, "__extframe__", ()):
        remedy = "subclass an Interface, or decorate an async class with @implements(...)"
        raise ExtframeError(f"{target} is not a driver: {remedy}")
    return driver


def _failure(act: str, error: Exception) -> ExtframeError:
    logger.debug("%s", act, exc_info=error)
    return ExtframeError(f"{act}: {type(error).__name__}: {text_of(error)} (-v shows the traceback)")
