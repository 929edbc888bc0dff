"""The async mirror of VolumeDriver, written by ``python -m extframe.interface.mirror``. Knows no transport."""

from __future__ import annotations

from ..interface.async_interface import AsyncInterface
from .volume import Volume, VolumeCapability, VolumeDriver


class AsyncVolumeDriver(AsyncInterface, mirrors=VolumeDriver):
    """The async mirror of `VolumeDriver`: the base of async plugins and the type of async drivers."""

    async def create(self, name: str, opts: dict[str, str] = {}) -> None:
        raise NotImplementedError

    async def remove(self, name: str) -> None:
        raise NotImplementedError

    async def mount(self, name: str, id: str) -> str:
        raise NotImplementedError

    async def unmount(self, name: str, id: str) -> None:
        raise NotImplementedError

    async def path(self, name: str) -> str:
        raise NotImplementedError

    async def get(self, name: str) -> Volume:
        raise NotImplementedError

    async def capabilities(self) -> VolumeCapability:
        raise NotImplementedError

    async def list(self) -> list[Volume]:
        raise NotImplementedError
