"""Call a function with the driver of each plugin, in threads, under one deadline. Activates nothing itself."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import partial
from time import monotonic
from typing import Any, TypeVar

from ..concurrency.threads import Worker, outcome_of, run_concurrently
from ..errors import ExtframeError
from .activation import Activator
from .outcomes import Outcomes, bound, collected
from .pauses import SUSPECT_GRACE
from .plugin_base import point_of
from .usable_plugins import GRACE, suspect_error

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
    suspects = activator.suspects(found) if names is None else []
    patient = [name for name in found if name not in suspects]

    def call(name: str) -> R:
        return function(driver(name))

    workers = {name: Worker(partial(outcome_of, call, name), f"extframe call_all {name}") for name in suspects}
    outcomes = run_concurrently(call, patient, deadline + GRACE, "extframe call_all")
    until = min(deadline, monotonic() + SUSPECT_GRACE)
    for name, worker in workers.items():
        try:
            outcomes[name] = worker.result(until)
        except (TimeoutError, ExtframeError):  # noqa: PERF203 - it has not answered, or the system has no thread
            activator.table.record_failure(name, suspect_error(name))
    return collected(found, outcomes, required=names is not None, is_of_kind=activator.table.is_of_kind(point))
