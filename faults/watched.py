"""Watch what extframe makes of a fault, and say it in words. Provokes nothing."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Any, TypeVar

from fault import Seen

from extframe import PluginManager
from extframe.errors import ActivationError, ExtframeError

T = TypeVar("T")


def watched(act: Callable[[], T], say: Callable[[T], str] = str) -> Seen:
    """Do something with extframe. Say what it returned, or what it raised, and how long it took."""
    started = time.monotonic()
    try:
        result = act()
    except Exception as error:  # noqa: BLE001 - whatever it is belongs into the table
        return Seen(text_of(error), time.monotonic() - started)
    seconds = time.monotonic() - started
    return Seen(say(result), seconds)


def text_of(error: BaseException) -> str:
    """Return an error's kind, and say so where it is not of extframe's tree."""
    name = type(error).__name__
    if isinstance(error, ActivationError) and error.__cause__ is not None:
        return f"{name} from {text_of(error.__cause__)}"
    return name if isinstance(error, ExtframeError) else f"{name}, which is none of extframe's: {error}"


def failures_of(manager: PluginManager) -> str:
    """Return what stands in ``failures()``, as words."""
    found = [f"{failure.what}: {text_of(failure.exception)}" for failure in manager.failures()]
    return "; ".join(sorted(found)) or "no failures"


def answer_of(reply: dict[str, Any]) -> str:
    """Return a reply in a word."""
    return "an answer" if reply else "an empty answer"
