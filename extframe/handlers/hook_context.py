"""What everything that calls handlers needs of their manager. Calls none."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import pluggy

from .deferred import DeferredHandlers
from .failures import Failures
from .hook_claims import Monitor, Order


@dataclass(frozen=True)
class HookContext:
    """The hooks of a manager, and where it records how their handlers ended.

    Args:
        relay: the manager's hooks.
        failures: where handlers that raise, or do not return, are noted.
        monitors: returns the monitors of hook calls.
        origin: returns the name and version of the distribution of a handler.
        deferred: the handlers that are imported when their hook is needed.
        order: orders the drivers that handlers return; None for pluggy's order.
    """

    relay: pluggy.HookRelay
    failures: Failures
    monitors: Callable[[], Sequence[Monitor]]
    origin: Callable[[object], tuple[str | None, str | None]]
    deferred: DeferredHandlers[Any]
    order: Order | None = None
