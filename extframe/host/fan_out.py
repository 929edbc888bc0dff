"""Call a function with the driver of each plugin, in threads, under one deadline. Activates nothing itself."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, TypeVar

from ..concurrency.threads import run_concurrently
from .activation import Activator
from .outcomes import Outcomes, bound, collected
from .plugin_base import point_of
from .usable_plugins import GRACE

R = TypeVar("R")


def call_all(
    activator: Activator,
    driver: Callable[[str], Any],
    interface: type[Any],
    function: Callable[[Any], R],
    *,
    names: Sequence[str] | None,
    deadline: float,
) -> Outcomes[R]:
    """Return what the function returned or raised for each plugin.

    Args:
        activator: of the manager.
        driver: returns the driver of a plugin, activating it if needed.
        interface: of the drivers.
        function: is called with each driver.
        names: the plugins that are requested; None for all.
        deadline: for everything, a ``time.monotonic()`` value.

    Raises:
        ExtframeError: the registry could not be searched.
    """
    function, point = bound(interface, function), point_of(interface)
    found = list(dict.fromkeys(activator.registry.scan(deadline))) if names is None else list(names)
    outcomes = run_concurrently(lambda name: function(driver(name)), found, deadline + GRACE, "extframe call_all")
    return collected(found, outcomes, required=names is not None, is_of_kind=activator.table.is_of_kind(point))
