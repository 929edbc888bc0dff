"""The async mirror of NetworkDriver, written by ``python -m extframe.interface.mirror``. Knows no transport."""

from __future__ import annotations

from typing import Any

from ..interface.async_interface import AsyncInterface
from .network import EndpointInterface, GatewayAllocation, IPAMData, JoinInfo, NetworkCapability, NetworkDriver


class AsyncNetworkDriver(AsyncInterface, mirrors=NetworkDriver):
    """The async mirror of `NetworkDriver`: the base of async plugins and the type of async drivers."""

    async def get_capabilities(self) -> NetworkCapability:
        raise NotImplementedError

    async def allocate_network(
        self,
        network_id: str,
        options: dict[str, str] = {},
        ipv4_data: list[IPAMData] = [],
        ipv6_data: list[IPAMData] = [],
    ) -> dict[str, str]:
        raise NotImplementedError

    async def free_network(self, network_id: str) -> None:
        raise NotImplementedError

    async def gw_alloc_check(self, options: dict[str, Any] = {}) -> GatewayAllocation:
        raise NotImplementedError

    async def create_network(
        self,
        network_id: str,
        options: dict[str, Any] = {},
        ipv4_data: list[IPAMData] = [],
        ipv6_data: list[IPAMData] = [],
    ) -> None:
        raise NotImplementedError

    async def delete_network(self, network_id: str) -> None:
        raise NotImplementedError

    async def create_endpoint(
        self, network_id: str, endpoint_id: str, interface: EndpointInterface, options: dict[str, Any] | None = None
    ) -> EndpointInterface:
        raise NotImplementedError

    async def endpoint_oper_info(self, network_id: str, endpoint_id: str) -> dict[str, Any]:
        raise NotImplementedError

    async def delete_endpoint(self, network_id: str, endpoint_id: str) -> None:
        raise NotImplementedError

    async def join(
        self, network_id: str, endpoint_id: str, sandbox_key: str, options: dict[str, Any] | None = None
    ) -> JoinInfo:
        raise NotImplementedError

    async def leave(self, network_id: str, endpoint_id: str) -> None:
        raise NotImplementedError

    async def program_external_connectivity(
        self, network_id: str, endpoint_id: str, options: dict[str, Any] | None = None
    ) -> None:
        raise NotImplementedError

    async def revoke_external_connectivity(self, network_id: str, endpoint_id: str) -> None:
        raise NotImplementedError

    async def discover_new(self, discovery_type: int, discovery_data: dict[str, Any]) -> None:
        raise NotImplementedError

    async def discover_delete(self, discovery_type: int, discovery_data: dict[str, Any]) -> None:
        raise NotImplementedError
