"""Call a function with the driver of each plugin, in tasks, under one deadline. Activates nothing itself."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Sequence
from time import monotonic
from typing import Any, TypeVar

from ..concurrency.tasks import done_by_all
from .async_activation import BATCH, AsyncActivator
from .outcomes import Outcomes, bound, collected
from .pauses import SUSPECT_GRACE
from .plugin_base import point_of
from .usable_plugins import GRACE, suspect_error

R = TypeVar("R")


async def call_all(
    activator: AsyncActivator,
    driver: Callable[[str], Awaitable[Any]],
    interface: type[Any],
    function: Callable[[Any], Awaitable[R]],
    *,
    names: Sequence[str] | None,
    deadline: float,
) -> Outcomes[R]:
    """Return what the function returned or raised for each plugin; see ``fan_out.call_all``."""
    call, point = bound(interface, function), point_of(interface)
    found = list(dict.fromkeys(await activator.registry.scan(deadline))) if names is None else list(names)

    suspects = await activator.suspects(found) if names is None else []

    async def run(name: str) -> R:
        return await call(await driver(name))

    tasks: dict[str, asyncio.Task[R]] = {}
    try:
        for name in found:
            tasks[name] = asyncio.get_running_loop().create_task(run(name), name=f"extframe call_all {name}")
            if not len(tasks) % BATCH:
                await asyncio.sleep(0)
        await done_by_all([task for name, task in tasks.items() if name not in suspects], deadline + GRACE)
        await done_by_all([tasks[name] for name in suspects], min(deadline, monotonic() + SUSPECT_GRACE))
        for name in suspects:
            if not tasks[name].done():
                activator.table.record_failure(name, suspect_error(name))
        outcomes = {name: task.result for name, task in tasks.items() if task.done() and not task.cancelled()}
        return collected(found, outcomes, required=names is not None, is_of_kind=activator.table.is_of_kind(point))
    finally:
        for task in tasks.values():
            if not task.cancel() and not task.cancelled():
                task.exception()  # else one that came as this task was cancelled would be logged
