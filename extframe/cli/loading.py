"""From ``package.module:Class`` to a driver. Imports what it is told to, from the working directory too."""

from __future__ import annotations

import logging
import os
import sys
from importlib import import_module
from typing import Any

import click

from ..errors import ExtframeError
from ..text import text_of
from .output import printable

logger = logging.getLogger(__name__)


def load_driver(target: str) -> Any:
    """Return the driver that ``target`` names: a class or a factory is called, an instance is taken as it is.

    Raises:
        click.BadParameter: it is not MODULE:NAME.
        ExtframeError: there is no such module or name, importing or making it failed, or it is no driver.
    """
    module, _, name = target.partition(":")
    if not all(part.isidentifier() for part in (*module.split("."), *name.split("."))):
        example = "expected MODULE:NAME, such as photos.plugin:Photos"
        raise click.BadParameter(f"'{printable(target)}': {example}.", param_hint="'DRIVER'")
    found: Any = _import(module)
    for part in name.split("."):
        if not hasattr(found, part):
            raise ExtframeError(f"{target}: there is no {part!r} in {module}{_suggestion(found)}")
        found = getattr(found, part)
    return _made(target, found)


def _import(module: str) -> Any:
    if os.getcwd() not in sys.path:
        sys.path.insert(0, os.getcwd())
    try:
        return import_module(module)
    except ModuleNotFoundError as missing:
        if missing.name and f"{module}.".startswith(f"{missing.name}."):
            places = f"neither in {os.getcwd()} nor installed in {sys.prefix}"
            raise ExtframeError(f"{module}: there is no module {missing.name!r}, {places}") from missing
        raise ExtframeError(f"{module} imports {missing.name!r}, which is not installed") from missing
    except Exception as wrong:  # a module may raise anything
        raise _failure(f"importing {module} failed", wrong) from wrong


def _suggestion(module: Any) -> str:
    drivers = [name for name, value in vars(module).items() if _is_own_driver(value, module.__name__)]
    return f"; did you mean {', '.join(drivers)}?" if drivers else ""


def _is_own_driver(value: Any, module: str) -> bool:
    return isinstance(value, type) and bool(getattr(value, "__extframe__", ())) and value.__module__ == module


def _made(target: str, found: Any) -> Any:
    is_instance = hasattr(found, "__extframe__") and not isinstance(found, type)
    if not is_instance and not callable(found):
        raise ExtframeError(f"{target} is {found!r}, and neither a driver nor a function that makes one")
    try:
        driver = found if is_instance else found()
    except Exception as wrong:  # so may what it makes
        raise _failure(f"{target} could not be made", wrong) from wrong
    if not getattr(driver, "__extframe__", ()):
        words = "is no driver: subclass an Interface, or put @implements(...) above an async class"
        raise ExtframeError(f"{target} {words}")
    return driver


def _failure(act: str, wrong: Exception) -> ExtframeError:
    logger.debug("%s", act, exc_info=wrong)
    return ExtframeError(f"{act}: {type(wrong).__name__}: {text_of(wrong)} (-v shows where)")
