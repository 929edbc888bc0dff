"""IpamDriver: address pools, and addresses from them. Knows the engine's rules for them; no transport."""

# ruff: noqa: B006, RUF012 - defaults are declarations and are never mutated

from __future__ import annotations

import secrets
from dataclasses import dataclass, field, replace
from typing import Annotated

import msgspec

from ..errors import ProtocolError, RemoteError
from ..interface.declarations import Interface
from ..interface.messages import Message
from ..interface.methods import Key, rpc
from .addresses import check_cidr

_GATEWAY = "com.docker.network.gateway"

GATEWAY_OPTIONS = {"RequestAddressType": _GATEWAY}
"""The options of `IpamDriver.request_address` for a gateway."""

MAC_ADDRESS = "com.docker.network.endpoint.macaddress"
"""The option of `IpamDriver.request_address` that carries an endpoint's MAC address."""

_PoolID = Annotated[str, Key("PoolID")]


class IpamCapability(Message, frozen=True):
    """What an IPAM plugin requires of the host.

    Args:
        requires_mac_address: requests for an endpoint's address must carry its MAC address: `endpoint_options`.
        requires_request_replay: on startup the host must request its pools again: `replay`.
    """

    requires_mac_address: bool = msgspec.field(default=False, name="RequiresMACAddress")
    requires_request_replay: bool = False


class AddressSpaces(Message, frozen=True):
    """The names of the default address spaces.

    Args:
        local_default_address_space: for networks with local scope.
        global_default_address_space: for networks with global scope.
    """

    local_default_address_space: str = ""
    global_default_address_space: str = ""


class IpamPool(Message, frozen=True):
    """A pool that the plugin reserved.

    Args:
        pool_id: the plugin's ID of the pool.
        pool: the pool in CIDR notation. Host bits are cleared: ``10.0.0.7/24`` is ``10.0.0.0/24``.
        data: further details, by key; ``com.docker.network.gateway`` is the gateway's address in CIDR notation,
            which the host uses if the user specified none.
    """

    pool_id: str = msgspec.field(default="", name="PoolID")
    pool: str = ""
    data: dict[str, str] = {}


class IpamAddress(Message, frozen=True):
    """An address that the plugin reserved.

    Args:
        address: the address in CIDR notation.
        data: further details, by key.
    """

    address: str = ""
    data: dict[str, str] = {}


def _valid_pool(pool: IpamPool) -> IpamPool:
    gateway = pool.data.get(_GATEWAY, "")
    if gateway:
        check_cidr(f"Data[{_GATEWAY}]", gateway)
    network = str(check_cidr("Pool", pool.pool).network)
    return pool if network == pool.pool else msgspec.structs.replace(pool, pool=network)


def _valid_address(address: IpamAddress) -> IpamAddress:
    check_cidr("Address", address.address)
    return address


def _requires_nothing(error: ProtocolError | RemoteError) -> IpamCapability:
    return IpamCapability()


class IpamDriver(Interface, implements="IpamDriver", lenient=True):
    """Address pools for networks. Docker reads errors from the key ``Error``; extframe also reads ``Err``.

    Docker sets no deadlines for these calls; the client's apply.
    """

    __mirror__ = "extframe.subsystems.async_ipam:AsyncIpamDriver"

    @rpc("GetCapabilities", idempotent=True, optional=True, fallback=_requires_nothing)
    def get_capabilities(self) -> IpamCapability:
        """Return what the plugin requires of the host. A plugin that does not answer this call requires nothing."""
        raise NotImplementedError

    @rpc("GetDefaultAddressSpaces", idempotent=True)
    def get_default_address_spaces(self) -> AddressSpaces:
        """Return the names of the default address spaces."""
        raise NotImplementedError

    @rpc("RequestPool", check=_valid_pool)
    def request_pool(
        self,
        address_space: str,
        pool: str = "",
        sub_pool: str = "",
        options: dict[str, str] = {},
        v6: bool = False,
    ) -> IpamPool:
        """Reserve a pool.

        A plugin must return another pool each time, or an error: if the pool overlaps with a route of the host,
        Docker requests again without a pause.

        Args:
            address_space: the address space to reserve from.
            pool: the pool that the user wants, in CIDR notation; "" for any.
            sub_pool: the range within the pool to allocate addresses from, in CIDR notation.
            options: the user's options.
            v6: whether the pool is for IPv6.
        """
        raise NotImplementedError

    @rpc("ReleasePool")
    def release_pool(self, pool_id: _PoolID) -> None:
        """Release a pool."""
        raise NotImplementedError

    @rpc("RequestAddress", check=_valid_address)
    def request_address(
        self, pool_id: _PoolID, address: str = "", options: dict[str, str] | None = None
    ) -> IpamAddress:
        """Reserve an address.

        Args:
            pool_id: the pool.
            address: the address that the host wants, without a prefix length; "" for any.
            options: `GATEWAY_OPTIONS` for a gateway, `endpoint_options` for an endpoint.
        """
        raise NotImplementedError

    @rpc("ReleaseAddress")
    def release_address(self, pool_id: _PoolID, address: str) -> None:
        """Release an address.

        Args:
            pool_id: the pool.
            address: the address, without a prefix length.
        """
        raise NotImplementedError


# --- for hosts ----------------------------------------------------------------------------------------


def endpoint_options(capability: IpamCapability, mac_address: str = "") -> dict[str, str] | None:
    """Return the options to request an endpoint's address with.

    Args:
        capability: what the plugin requires.
        mac_address: the endpoint's MAC address, with colons. If the plugin requires one and this is empty, a
            random one is generated; assign it to the endpoint (it is in the result under `MAC_ADDRESS`).
    """
    return {MAC_ADDRESS: mac_address or _random_mac()} if capability.requires_mac_address else None


def _random_mac() -> str:
    # 02 marks a locally administered address; Docker generates addresses that begin with 02:42.
    return ":".join(f"{byte:02x}" for byte in (0x02, 0x42, *secrets.token_bytes(4)))


@dataclass(frozen=True)
class PoolRecord:
    """What a host stores about a pool that it holds, so that it can request it again.

    Args:
        pool_id: the plugin's ID of the pool.
        address_space: the requested address space.
        pool: the reserved pool in CIDR notation.
        sub_pool: the requested range within the pool.
        options: the requested options.
        v6: whether the pool is for IPv6.
        gateway: the gateway's address without a prefix length; "" if there is none.
    """

    pool_id: str
    address_space: str
    pool: str
    sub_pool: str = ""
    options: dict[str, str] = field(default_factory=dict)
    v6: bool = False
    gateway: str = ""


def replay(driver: IpamDriver, capability: IpamCapability, held: PoolRecord) -> PoolRecord:
    """Request a pool and its gateway again, if the plugin requires this when a host starts.

    Returns:
        the record to store from now on: the plugin may use another ID for the pool.
    """
    if not capability.requires_request_replay:
        return held
    pool = driver.request_pool(held.address_space, held.pool, held.sub_pool, held.options, held.v6)
    if held.gateway:
        driver.request_address(pool.pool_id, held.gateway, GATEWAY_OPTIONS)
    return replace(held, pool_id=pool.pool_id)
