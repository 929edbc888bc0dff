"""Drivers in memory that conform to the protocol."""

from __future__ import annotations

import extframe
from extframe.subsystems.ipam import AddressSpaces, IpamAddress, IpamDriver, IpamPool
from extframe.subsystems.network import EndpointInterface, JoinInfo, NetworkCapability, NetworkDriver
from extframe.subsystems.secret import Secret, SecretProvider


class Networks(NetworkDriver):
    def __init__(self, adds: str = "") -> None:
        self.held: set[str] = set()
        self.adds = adds

    def get_capabilities(self) -> NetworkCapability:
        return NetworkCapability(scope="local")

    def create_network(self, network_id, options=None, ipv4_data=(), ipv6_data=()) -> None:
        assert ipv4_data[0].pool.startswith("198.18.")
        self.held.add(network_id)

    def delete_network(self, network_id) -> None:
        self._known(network_id)
        self.held.remove(network_id)

    def create_endpoint(self, network_id, endpoint_id, interface, options=None) -> EndpointInterface:
        self._known(network_id)
        self.held.add(endpoint_id)
        return EndpointInterface(mac_address="02:00:00:00:00:01", address=self.adds)

    def endpoint_oper_info(self, network_id, endpoint_id) -> dict:
        self._known(endpoint_id)
        return {}

    def delete_endpoint(self, network_id, endpoint_id) -> None:
        self._known(endpoint_id)
        self.held.remove(endpoint_id)

    def join(self, network_id, endpoint_id, sandbox_key, options=None) -> JoinInfo:
        raise AssertionError("no check joins")

    def leave(self, network_id, endpoint_id) -> None:
        pass

    def _known(self, id: str) -> None:
        if id not in self.held:
            raise extframe.RemoteError("no such network or endpoint")


class Pools(IpamDriver):
    def __init__(self) -> None:
        self.held: set[str] = set()

    def get_default_address_spaces(self) -> AddressSpaces:
        return AddressSpaces(local_default_address_space="local", global_default_address_space="global")

    def request_pool(self, address_space, pool="", sub_pool="", options=None, v6=False) -> IpamPool:
        assert address_space == "local"
        self.held.add("p1")
        return IpamPool(pool_id="p1", pool="10.5.0.0/24")

    def release_pool(self, pool_id) -> None:
        if pool_id not in self.held:
            raise extframe.RemoteError("no such pool")
        self.held.remove(pool_id)

    def request_address(self, pool_id, address="", options=None) -> IpamAddress:
        self.held.add("10.5.0.2")
        return IpamAddress(address="10.5.0.2/24")

    def release_address(self, pool_id, address) -> None:
        self.held.discard(address)


class Secrets(SecretProvider):
    def get_secret(self, secret_name="", **rest) -> Secret:
        raise extframe.RemoteError(f"no secret {secret_name}")
