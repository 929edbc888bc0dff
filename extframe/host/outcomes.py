"""What a function returned or raised for each of several plugins. Calls nothing."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any, Generic, TypeVar

from ..errors import CallTimeout, DoesNotImplement, PluginNotFound
from ..text import text_of

R = TypeVar("R")


@dataclass(frozen=True)
class Outcomes(Generic[R]):
    """The outcomes of ``PluginManager.call_all``, by the name of the plugin, sorted.

    Args:
        results: what the function returned.
        errors: why a plugin has no result: what the function raised, why it could not be used, or `CallTimeout`.
    """

    results: dict[str, R] = field(default_factory=dict)
    errors: dict[str, Exception] = field(default_factory=dict)

    def __str__(self) -> str:
        errors = "; ".join(f"{name!r}: {type(error).__name__}: {text_of(error)}" for name, error in self.errors.items())
        return f"{len(self.results)} results" + (f", {len(self.errors)} errors: {errors}" if errors else "")


def collected(
    names: list[str], outcomes: Mapping[str, Callable[[], R]], *, required: bool, is_of_kind: Callable[[str], bool]
) -> Outcomes[R]:
    """Return the results and errors.

    Args:
        names: the plugins that may have been called.
        outcomes: for each that was done by the deadline, what returns its result, or raises.
        required: whether all of them were requested.
        is_of_kind: whether a plugin is known to implement the extension point. The errors of others are left out,
            unless they were requested.
    """
    found: Outcomes[R] = Outcomes()
    for name in names:
        error = _collect(name, outcomes.get(name), found.results)
        is_other = isinstance(error, DoesNotImplement | PluginNotFound) or not is_of_kind(name)
        if error is not None and (required or not is_other):
            found.errors[name] = error
    return found


def _collect(name: str, outcome: Callable[[], R] | None, results: dict[str, R]) -> Exception | None:
    """Add the result of a plugin, or return why it has none."""
    if outcome is None:
        return CallTimeout("the call has not ended in time", plugin=name, phase="call")
    try:
        results[name] = outcome()
    except Exception as error:  # noqa: BLE001 - returned to the caller
        return error
    return None


def bound(interface: type[Any], function: Callable[[Any], R]) -> Callable[[Any], R]:
    """Return a function of a driver. A method of the interface is that of the driver, which overrides it."""
    name = getattr(function, "__name__", "")
    if name.isidentifier() and getattr(interface, name, None) is function:
        return lambda driver: getattr(driver, name)()
    return function
