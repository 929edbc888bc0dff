"""NetworkDriver: networks and the endpoints that join them. Knows the engine's rules for them; no transport."""

# ruff: noqa: B006, RUF012 - defaults are declarations and are never mutated

from __future__ import annotations

from typing import Annotated, Any

import msgspec

from ..errors import ProtocolError, RemoteError
from ..interface.declarations import Interface
from ..interface.messages import Message
from ..interface.methods import Key, rpc
from .addresses import check_cidr, check_ip, check_mac

NODE_DISCOVERY = 1
"""The only ``discovery_type`` that plugins receive: a node of the cluster."""

_NetworkID = Annotated[str, Key("NetworkID")]
_EndpointID = Annotated[str, Key("EndpointID")]

# For the OpenAPI document; `_check_scope` checks them.
_SCOPE = msgspec.Meta(extra_json_schema={"enum": ["local", "global"], "required": True})
_CONNECTIVITY = msgspec.Meta(extra_json_schema={"enum": ["", "local", "global"]})


class IPAMData(Message, frozen=True, omit_defaults=True):
    """An address pool of a network.

    Args:
        address_space: the pool's address space; always sent.
        aux_addresses: addresses in use, in CIDR notation, by name.
        gateway: the gateway's address in CIDR notation.
        pool: the pool in CIDR notation.
    """

    address_space: str = msgspec.field(default_factory=str)
    aux_addresses: dict[str, str] = {}
    gateway: str = ""
    pool: str = ""


class EndpointInterface(Message, frozen=True):
    """The addresses of an endpoint; "" for an address that is not set yet.

    Args:
        address: the IPv4 address in CIDR notation.
        address_ipv6: the IPv6 address in CIDR notation.
        mac_address: six hexadecimal bytes with colons.
    """

    address: str = ""
    address_ipv6: str = msgspec.field(default="", name="AddressIPv6")
    mac_address: str = ""

    def completed(self, answer: EndpointInterface) -> EndpointInterface:
        """Return these addresses together with those that a plugin's ``answer`` adds.

        Raises:
            ValueError: the answer contains an address that was set before, even with the same value. The engine
                then deletes the endpoint (moby ``libnetwork/drivers/remote``).
        """
        ours, theirs = msgspec.structs.asdict(self), msgspec.structs.asdict(answer)
        taken = [name for name in ours if ours[name] and theirs[name]]
        if taken:
            raise ValueError(f"the plugin returned {', '.join(taken)}, which the host had already set")
        return EndpointInterface(**{name: ours[name] or theirs[name] for name in ours})


class NetworkCapability(Message, frozen=True):
    """The capabilities of a network plugin.

    Args:
        scope: ``local`` if its networks are limited to one host, ``global`` if they span hosts.
        connectivity_scope: ``local`` or ``global`` for the connectivity that they provide; by default ``scope``.
        gw_alloc_checker: whether the plugin supports ``gw_alloc_check``; Docker 28.0 and later.
    """

    scope: Annotated[str, _SCOPE] = ""
    connectivity_scope: Annotated[str, _CONNECTIVITY] = ""
    gw_alloc_checker: bool = False


class GatewayAllocation(Message, frozen=True):
    """Which gateway addresses a network does not need.

    Args:
        skip_ipv4: no IPv4 gateway address is needed.
        skip_ipv6: no IPv6 gateway address is needed.
    """

    skip_ipv4: bool = msgspec.field(default=False, name="SkipIPv4")
    skip_ipv6: bool = msgspec.field(default=False, name="SkipIPv6")


class InterfaceName(Message, frozen=True):
    """The network interface that is moved into a container.

    Args:
        src_name: its name on the host.
        dst_prefix: the prefix of its name in the container; a number follows.
    """

    src_name: str = ""
    dst_prefix: str = ""


class StaticRoute(Message, frozen=True):
    """A route in the container.

    Args:
        destination: the destination in CIDR notation.
        route_type: 0 for a route through ``next_hop``, 1 for a directly connected network.
        next_hop: the address of the next hop.
    """

    destination: str = ""
    route_type: int = 0
    next_hop: str = ""


class JoinInfo(Message, frozen=True, omit_defaults=True):
    """How a container is connected to a network.

    Args:
        interface_name: the network interface; None if there is none to move.
        gateway: the IPv4 address of the default gateway.
        gateway_ipv6: the IPv6 address of the default gateway.
        static_routes: further routes.
        disable_gateway_service: do not add the engine's own gateway network if there is no gateway.
    """

    interface_name: InterfaceName | None = None
    gateway: str = ""
    gateway_ipv6: str = msgspec.field(default="", name="GatewayIPv6")
    static_routes: list[StaticRoute] = []
    disable_gateway_service: bool = False


def _known_scopes(capability: NetworkCapability) -> NetworkCapability:
    # Unlike a volume plugin's, these are case-sensitive (moby libnetwork/drivers/remote/driver.go).
    scope, connectivity = capability.scope, capability.connectivity_scope or capability.scope
    for key, value in (("Scope", scope), ("ConnectivityScope", connectivity)):
        if value not in ("local", "global"):
            raise ValueError(f"Expected `{key}` to be 'local' or 'global', got {value!r}")
    return msgspec.structs.replace(capability, connectivity_scope=connectivity)


def _valid_endpoint(interface: EndpointInterface | None) -> EndpointInterface:
    found = interface or EndpointInterface()
    for key, cidr in (("Address", found.address), ("AddressIPv6", found.address_ipv6)):
        if cidr:
            check_cidr(key, cidr)
    if found.mac_address:
        check_mac("MacAddress", found.mac_address)
    return found


def _valid_join(info: JoinInfo) -> JoinInfo:
    for key, address in (("Gateway", info.gateway), ("GatewayIPv6", info.gateway_ipv6)):
        if address:
            check_ip(key, address)
    for route in info.static_routes:
        check_cidr("StaticRoutes.Destination", route.destination)
        if route.next_hop:
            check_ip("StaticRoutes.NextHop", route.next_hop)
    return info


def _not_implemented(error: ProtocolError | RemoteError) -> None:
    if not (isinstance(error, RemoteError) and error.not_found):
        raise error


class NetworkDriver(Interface, implements="NetworkDriver", lenient=True):
    """Networks of containers. Docker sets no deadlines for these calls; the client's apply."""

    __mirror__ = "extframe.subsystems.async_network:AsyncNetworkDriver"

    @rpc("GetCapabilities", idempotent=True, check=_known_scopes)
    def get_capabilities(self) -> NetworkCapability:
        """Return the scopes of the plugin's networks. The host's first call."""
        raise NotImplementedError

    @rpc("AllocateNetwork", returns="Options", optional=True)
    def allocate_network(
        self,
        network_id: _NetworkID,
        options: dict[str, str] = {},
        ipv4_data: Annotated[list[IPAMData], Key("IPv4Data")] = [],
        ipv6_data: Annotated[list[IPAMData], Key("IPv6Data")] = [],
    ) -> dict[str, str]:
        """Reserve the resources of a cluster-wide network and return the options that nodes create it with.

        Swarm managers call it for managed plugins with global scope.
        """
        raise NotImplementedError

    @rpc("FreeNetwork", optional=True)
    def free_network(self, network_id: _NetworkID) -> None:
        """Release what ``allocate_network`` reserved."""
        raise NotImplementedError

    @rpc("GwAllocCheck", idempotent=True, optional=True)
    def gw_alloc_check(self, options: dict[str, Any] = {}) -> GatewayAllocation:
        """Return which gateway addresses a network does not need. Called only if the capabilities announce it."""
        raise NotImplementedError

    @rpc("CreateNetwork")
    def create_network(
        self,
        network_id: _NetworkID,
        options: dict[str, Any] = {},
        ipv4_data: Annotated[list[IPAMData], Key("IPv4Data")] = [],
        ipv6_data: Annotated[list[IPAMData], Key("IPv6Data")] = [],
    ) -> None:
        """Create a network. It is not created again when the host restarts: the plugin must persist it.

        Args:
            network_id: 64 hexadecimal digits.
            options: the engine's labels; the user's options are under ``com.docker.network.generic``.
            ipv4_data: the network's IPv4 pools.
            ipv6_data: the network's IPv6 pools.
        """
        raise NotImplementedError

    @rpc("DeleteNetwork")
    def delete_network(self, network_id: _NetworkID) -> None:
        """Remove a network. If this fails, Docker logs the error and removes the network anyway."""
        raise NotImplementedError

    @rpc("CreateEndpoint", returns="Interface", check=_valid_endpoint)
    def create_endpoint(
        self,
        network_id: _NetworkID,
        endpoint_id: _EndpointID,
        interface: EndpointInterface,
        options: dict[str, Any] | None = None,
    ) -> EndpointInterface:
        """Create a container's endpoint in a network and return the addresses that the plugin adds.

        Args:
            network_id: the network.
            endpoint_id: 64 hexadecimal digits, new for every start of the container.
            interface: the addresses that the host has set. The result may contain only those that are not set:
                see `EndpointInterface.completed`.
            options: ports, and the user's options.
        """
        raise NotImplementedError

    @rpc("EndpointOperInfo", returns="Value", idempotent=True)
    def endpoint_oper_info(self, network_id: _NetworkID, endpoint_id: _EndpointID) -> dict[str, Any]:
        """Return further details of an endpoint, by key."""
        raise NotImplementedError

    @rpc("DeleteEndpoint")
    def delete_endpoint(self, network_id: _NetworkID, endpoint_id: _EndpointID) -> None:
        """Remove an endpoint. If this fails, Docker logs the error and continues."""
        raise NotImplementedError

    @rpc("Join", check=_valid_join)
    def join(
        self,
        network_id: _NetworkID,
        endpoint_id: _EndpointID,
        sandbox_key: str,
        options: dict[str, Any] | None = None,
    ) -> JoinInfo:
        """Connect a container to a network and return how.

        Args:
            network_id: the network.
            endpoint_id: the container's endpoint.
            sandbox_key: the path of the container's network namespace.
            options: ports.
        """
        raise NotImplementedError

    @rpc("Leave")
    def leave(self, network_id: _NetworkID, endpoint_id: _EndpointID) -> None:
        """Disconnect a container. If this fails, Docker logs the error and continues."""
        raise NotImplementedError

    @rpc("ProgramExternalConnectivity", optional=True, fallback=_not_implemented)
    def program_external_connectivity(
        self, network_id: _NetworkID, endpoint_id: _EndpointID, options: dict[str, Any] | None = None
    ) -> None:
        """Open an endpoint's published ports. A plugin that lacks this method (status 404) has none to open.

        Args:
            network_id: the network.
            endpoint_id: the container's endpoint.
            options: ports.
        """
        raise NotImplementedError

    @rpc("RevokeExternalConnectivity", optional=True, fallback=_not_implemented)
    def revoke_external_connectivity(self, network_id: _NetworkID, endpoint_id: _EndpointID) -> None:
        """Close the ports that ``program_external_connectivity`` opened. Status 404 counts as success."""
        raise NotImplementedError

    @rpc("DiscoverNew", optional=True)
    def discover_new(self, discovery_type: int, discovery_data: dict[str, Any]) -> None:
        """Notify the plugin of something that was discovered.

        Args:
            discovery_type: its type: `NODE_DISCOVERY`.
            discovery_data: for a node ``Address``, ``BindAddress`` and ``Self``, which is true for the host itself.
        """
        raise NotImplementedError

    @rpc("DiscoverDelete", optional=True)
    def discover_delete(self, discovery_type: int, discovery_data: dict[str, Any]) -> None:
        """Notify the plugin of something that disappeared. The arguments are those of ``discover_new``."""
        raise NotImplementedError
