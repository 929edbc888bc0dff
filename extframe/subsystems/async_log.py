"""The async mirror of LogDriver, written by ``python -m extframe.interface.mirror``. Knows no transport."""

from __future__ import annotations

from collections.abc import AsyncIterator

from ..interface.async_interface import AsyncInterface
from .log import LogCapability, LogDriver, LogInfo, ReadConfig
from .log_entries import LogEntry


class AsyncLogDriver(AsyncInterface, mirrors=LogDriver):
    """The async mirror of `LogDriver`: the base of async plugins and the type of async drivers."""

    async def capabilities(self) -> LogCapability:
        raise NotImplementedError

    async def start_logging(self, file: str, info: LogInfo) -> None:
        raise NotImplementedError

    async def stop_logging(self, file: str) -> None:
        raise NotImplementedError

    def read_logs(self, info: LogInfo, config: ReadConfig = ReadConfig()) -> AsyncIterator[LogEntry]:
        raise NotImplementedError
