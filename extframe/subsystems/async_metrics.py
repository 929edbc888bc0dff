"""The async mirror of MetricsCollector, written by ``python -m extframe.interface.mirror``. Knows no transport."""

from __future__ import annotations

from ..interface.async_interface import AsyncInterface
from .metrics import MetricsCollector


class AsyncMetricsCollector(AsyncInterface, mirrors=MetricsCollector):
    """The async mirror of `MetricsCollector`: the base of async plugins and the type of async drivers."""

    async def start_metrics(self) -> None:
        raise NotImplementedError

    async def stop_metrics(self) -> None:
        raise NotImplementedError
