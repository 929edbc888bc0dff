"""Describe how extframe handles a fault. Provokes nothing."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Any, TypeVar

from outcome import Outcome

from extframe import PluginManager
from extframe.errors import ActivationError, ExtframeError

T = TypeVar("T")


def observe(act: Callable[[], T], describe: Callable[[T], str] = str) -> Outcome:
    """Run an action and return what it returned or raised, and how long it took."""
    started = time.monotonic()
    try:
        result = act()
    except Exception as error:  # noqa: BLE001 - every exception belongs in the table
        return Outcome(text_of(error), time.monotonic() - started)
    seconds = time.monotonic() - started
    return Outcome(describe(result), seconds)


def text_of(error: BaseException) -> str:
    """Return the name of an error's class, with a remark if extframe does not define it."""
    name = type(error).__name__
    if isinstance(error, ActivationError) and error.__cause__ is not None:
        return f"{name} from {text_of(error.__cause__)}"
    return name if isinstance(error, ExtframeError) else f"{name}, not an extframe error: {error}"


def failures_of(manager: PluginManager) -> str:
    """Return ``failures()`` as text."""
    found = [f"{failure.what}: {text_of(failure.exception)}" for failure in manager.failures()]
    return "; ".join(sorted(found)) or "no failures"


def answer_of(reply: dict[str, Any]) -> str:
    """Return whether a reply is empty, as text."""
    return "a reply" if reply else "an empty reply"
