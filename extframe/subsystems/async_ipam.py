"""The async mirror of IpamDriver, written by ``python -m extframe.interface.mirror``. Knows no transport."""

from __future__ import annotations

from ..interface.async_interface import AsyncInterface
from .ipam import AddressSpaces, IpamAddress, IpamCapability, IpamDriver, IpamPool


class AsyncIpamDriver(AsyncInterface, mirrors=IpamDriver):
    """The async mirror of `IpamDriver`: the base of async plugins and the type of async drivers."""

    async def get_capabilities(self) -> IpamCapability:
        raise NotImplementedError

    async def get_default_address_spaces(self) -> AddressSpaces:
        raise NotImplementedError

    async def request_pool(
        self, address_space: str, pool: str = "", sub_pool: str = "", options: dict[str, str] = {}, v6: bool = False
    ) -> IpamPool:
        raise NotImplementedError

    async def release_pool(self, pool_id: str) -> None:
        raise NotImplementedError

    async def request_address(
        self, pool_id: str, address: str = "", options: dict[str, str] | None = None
    ) -> IpamAddress:
        raise NotImplementedError

    async def release_address(self, pool_id: str, address: str) -> None:
        raise NotImplementedError
