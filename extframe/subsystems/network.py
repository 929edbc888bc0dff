"""NetworkDriver: networks, and the endpoints that join them. Knows the engine's rules for them; no transport."""

# ruff: noqa: B006, RUF012 - a default declares what is sent; nothing changes one

from __future__ import annotations

from typing import Annotated, Any

import msgspec

from ..errors import ProtocolError, RemoteError
from ..interface.declarations import Interface
from ..interface.messages import Message
from ..interface.methods import Key, rpc

NODE_DISCOVERY = 1
"""The one ``discovery_type`` that is passed on to plugins: another node of the cluster."""

_NetworkID = Annotated[str, Key("NetworkID")]
_EndpointID = Annotated[str, Key("EndpointID")]


class IPAMData(Message, frozen=True, omit_defaults=True):
    """A pool of addresses that a network was given.

    Args:
        address_space: where the pool comes from; always sent.
        aux_addresses: addresses that are taken, in CIDR form, by name.
        gateway: the gateway's address in CIDR form.
        pool: the pool in CIDR form.
    """

    address_space: str = msgspec.field(default_factory=str)
    aux_addresses: dict[str, str] = {}
    gateway: str = ""
    pool: str = ""


class EndpointInterface(Message, frozen=True):
    """The addresses of an endpoint; "" for one that is still open.

    Args:
        address: IPv4, in CIDR form.
        address_ipv6: IPv6, in CIDR form.
        mac_address: six hexadecimal bytes with colons.
    """

    address: str = ""
    address_ipv6: str = msgspec.field(default="", name="AddressIPv6")
    mac_address: str = ""

    def completed(self, answer: EndpointInterface) -> EndpointInterface:
        """Return these addresses and what a plugin's ``answer`` to them adds.

        Raises:
            ValueError: the answer has an address that was set, even with the same value. The engine
                deletes the endpoint then (moby ``libnetwork/drivers/remote``).
        """
        ours, theirs = msgspec.structs.asdict(self), msgspec.structs.asdict(answer)
        taken = [name for name in ours if ours[name] and theirs[name]]
        if taken:
            raise ValueError(f"the plugin answered with {', '.join(taken)}, which the host had set")
        return EndpointInterface(**{name: ours[name] or theirs[name] for name in ours})


class NetworkCapability(Message, frozen=True):
    """What a network plugin can do.

    Args:
        scope: ``local`` when its networks are of this host alone, ``global`` when they span hosts.
        connectivity_scope: the same of the connections that they give; by default as ``scope``.
        gw_alloc_checker: whether ``gw_alloc_check`` may be called; Docker 28.0 and later.
    """

    scope: str = ""
    connectivity_scope: str = ""
    gw_alloc_checker: bool = False


class GatewayAllocation(Message, frozen=True):
    """Whether a network does without gateway addresses.

    Args:
        skip_ipv4: without an IPv4 one.
        skip_ipv6: without an IPv6 one.
    """

    skip_ipv4: bool = msgspec.field(default=False, name="SkipIPv4")
    skip_ipv6: bool = msgspec.field(default=False, name="SkipIPv6")


class InterfaceName(Message, frozen=True):
    """The interface that is moved into a container.

    Args:
        src_name: its name on the host.
        dst_prefix: the beginning of its name in the container; a number follows.
    """

    src_name: str = ""
    dst_prefix: str = ""


class StaticRoute(Message, frozen=True):
    """A route in the container.

    Args:
        destination: in CIDR form.
        route_type: 0 by way of ``next_hop``, 1 for what is connected.
        next_hop: an address.
    """

    destination: str = ""
    route_type: int = 0
    next_hop: str = ""


class JoinInfo(Message, frozen=True, omit_defaults=True):
    """How a container is connected.

    Args:
        interface_name: the interface; None where there is none to move.
        gateway: the IPv4 address of the default gateway.
        gateway_ipv6: the IPv6 address of the default gateway.
        static_routes: further routes.
        disable_gateway_service: do not add the engine's own gateway network where there is no gateway.
    """

    interface_name: InterfaceName | None = None
    gateway: str = ""
    gateway_ipv6: str = msgspec.field(default="", name="GatewayIPv6")
    static_routes: list[StaticRoute] = []
    disable_gateway_service: bool = False


def _known_scopes(capability: NetworkCapability) -> NetworkCapability:
    # Unlike a volume plugin's, these count to the letter (moby libnetwork/drivers/remote/driver.go).
    scope, connectivity = capability.scope, capability.connectivity_scope or capability.scope
    for key, value in (("Scope", scope), ("ConnectivityScope", connectivity)):
        if value not in ("local", "global"):
            raise ValueError(f"Expected `{key}` to be 'local' or 'global', got {value!r}")
    return msgspec.structs.replace(capability, connectivity_scope=connectivity)


def _not_implemented(error: ProtocolError | RemoteError) -> None:
    if not (isinstance(error, RemoteError) and error.not_found):
        raise error


class NetworkDriver(Interface, implements="NetworkDriver"):
    """Networks of containers. Docker sets no deadlines here; ours are the client's."""

    @rpc("GetCapabilities", idempotent=True, check=_known_scopes)
    def get_capabilities(self) -> NetworkCapability:
        """Return the scopes of the plugin's networks; the host asks before all else."""
        raise NotImplementedError

    @rpc("AllocateNetwork", returns="Options", optional=True)
    def allocate_network(
        self,
        network_id: _NetworkID,
        options: dict[str, str] = {},
        ipv4_data: Annotated[list[IPAMData], Key("IPv4Data")] = [],
        ipv6_data: Annotated[list[IPAMData], Key("IPv6Data")] = [],
    ) -> dict[str, str]:
        """Reserve what a network of the whole cluster needs and return the options that nodes create it with.

        Managers of a swarm call it, for managed plugins of global scope.
        """
        raise NotImplementedError

    @rpc("FreeNetwork", optional=True)
    def free_network(self, network_id: _NetworkID) -> None:
        """Give back what ``allocate_network`` reserved."""
        raise NotImplementedError

    @rpc("GwAllocCheck", idempotent=True, optional=True)
    def gw_alloc_check(self, options: dict[str, Any] = {}) -> GatewayAllocation:
        """Return which gateway addresses a network needs not; only for plugins that announced it."""
        raise NotImplementedError

    @rpc("CreateNetwork")
    def create_network(
        self,
        network_id: _NetworkID,
        options: dict[str, Any] = {},
        ipv4_data: Annotated[list[IPAMData], Key("IPv4Data")] = [],
        ipv6_data: Annotated[list[IPAMData], Key("IPv6Data")] = [],
    ) -> None:
        """Make a network. It is not made again when the host restarts: the plugin remembers it.

        Args:
            network_id: 64 hexadecimal digits.
            options: labels of the engine's; the user's options are under ``com.docker.network.generic``.
            ipv4_data: its IPv4 pools.
            ipv6_data: its IPv6 pools.
        """
        raise NotImplementedError

    @rpc("DeleteNetwork")
    def delete_network(self, network_id: _NetworkID) -> None:
        """Remove a network. Docker logs an error of this and removes it all the same."""
        raise NotImplementedError

    @rpc("CreateEndpoint", returns="Interface")
    def create_endpoint(
        self,
        network_id: _NetworkID,
        endpoint_id: _EndpointID,
        interface: EndpointInterface,
        options: dict[str, Any] | None = None,
    ) -> EndpointInterface:
        """Make a container's place in a network and return the addresses that the plugin adds.

        Args:
            network_id: the network.
            endpoint_id: 64 hexadecimal digits, others at every start of the container.
            interface: what the host has set already. Only what is open may be in the answer:
                see `EndpointInterface.completed`.
            options: ports, and the user's options.
        """
        raise NotImplementedError

    @rpc("EndpointOperInfo", returns="Value", idempotent=True)
    def endpoint_oper_info(self, network_id: _NetworkID, endpoint_id: _EndpointID) -> dict[str, Any]:
        """Return whatever the plugin has to say of an endpoint, by key."""
        raise NotImplementedError

    @rpc("DeleteEndpoint")
    def delete_endpoint(self, network_id: _NetworkID, endpoint_id: _EndpointID) -> None:
        """Remove an endpoint. Docker logs an error of this and goes on."""
        raise NotImplementedError

    @rpc("Join")
    def join(
        self,
        network_id: _NetworkID,
        endpoint_id: _EndpointID,
        sandbox_key: str,
        options: dict[str, Any] | None = None,
    ) -> JoinInfo:
        """Connect a container and return how.

        Args:
            network_id: the network.
            endpoint_id: the container's endpoint.
            sandbox_key: the path of its network namespace.
            options: ports.
        """
        raise NotImplementedError

    @rpc("Leave")
    def leave(self, network_id: _NetworkID, endpoint_id: _EndpointID) -> None:
        """Disconnect a container. Docker logs an error of this and goes on."""
        raise NotImplementedError

    @rpc("ProgramExternalConnectivity", optional=True, fallback=_not_implemented)
    def program_external_connectivity(
        self, network_id: _NetworkID, endpoint_id: _EndpointID, options: dict[str, Any] | None = None
    ) -> None:
        """Open an endpoint's published ports; a plugin without this (status 404) has none to open.

        Args:
            network_id: the network.
            endpoint_id: the container's endpoint.
            options: ports.
        """
        raise NotImplementedError

    @rpc("RevokeExternalConnectivity", optional=True, fallback=_not_implemented)
    def revoke_external_connectivity(self, network_id: _NetworkID, endpoint_id: _EndpointID) -> None:
        """Close what ``program_external_connectivity`` opened; status 404 is success."""
        raise NotImplementedError

    @rpc("DiscoverNew", optional=True)
    def discover_new(self, discovery_type: int, discovery_data: dict[str, Any]) -> None:
        """Tell of something that came.

        Args:
            discovery_type: what it is: `NODE_DISCOVERY`.
            discovery_data: of a node ``Address``, ``BindAddress`` and ``Self``, which is true of the host itself.
        """
        raise NotImplementedError

    @rpc("DiscoverDelete", optional=True)
    def discover_delete(self, discovery_type: int, discovery_data: dict[str, Any]) -> None:
        """Tell of something that went; the arguments are those of ``discover_new``."""
        raise NotImplementedError
