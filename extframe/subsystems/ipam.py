"""IpamDriver: pools of addresses, and addresses out of them. Knows the engine's rules for them; no transport."""

# ruff: noqa: B006, RUF012 - a default declares what is sent; nothing changes one

from __future__ import annotations

import ipaddress
import secrets
from dataclasses import dataclass, field, replace
from typing import Annotated

import msgspec

from ..errors import ProtocolError, RemoteError
from ..interface.declarations import Interface
from ..interface.messages import Message
from ..interface.methods import Key, rpc

GATEWAY_OPTIONS = {"RequestAddressType": "com.docker.network.gateway"}
"""The options of a request for a gateway's address."""

MAC_ADDRESS = "com.docker.network.endpoint.macaddress"
"""The option that holds an endpoint's MAC address."""

_PoolID = Annotated[str, Key("PoolID")]


class IpamCapability(Message, frozen=True):
    """What an IPAM plugin requires of the host.

    Args:
        requires_mac_address: requests for an endpoint's address carry its MAC address: `endpoint_options`.
        requires_request_replay: a host that starts asks for its pools again: `replay`.
    """

    requires_mac_address: bool = msgspec.field(default=False, name="RequiresMACAddress")
    requires_request_replay: bool = False


class AddressSpaces(Message, frozen=True):
    """The names of the spaces that pools come from by default.

    Args:
        local_default_address_space: for networks of local scope.
        global_default_address_space: for networks of global scope.
    """

    local_default_address_space: str = ""
    global_default_address_space: str = ""


class IpamPool(Message, frozen=True):
    """A pool that the plugin gave.

    Args:
        pool_id: what the plugin calls it.
        pool: the pool in CIDR form.
        data: by key; ``com.docker.network.gateway`` is a gateway's address in CIDR form, for the host to
            use where the user gave none.
    """

    pool_id: str = msgspec.field(default="", name="PoolID")
    pool: str = ""
    data: dict[str, str] = {}


class IpamAddress(Message, frozen=True):
    """An address that the plugin gave.

    Args:
        address: the address in CIDR form.
        data: whatever the plugin has to say of it, by key.
    """

    address: str = ""
    data: dict[str, str] = {}


def _is_cidr(text: str) -> bool:
    try:
        ipaddress.ip_interface(text)
    except ValueError:
        return False
    return text.rpartition("/")[2].isdigit() and "/" in text


def _with_pool(pool: IpamPool) -> IpamPool:
    if not _is_cidr(pool.pool):
        raise ValueError(f"Expected `Pool` in CIDR form, got {pool.pool!r}")
    return pool


def _with_address(address: IpamAddress) -> IpamAddress:
    if not _is_cidr(address.address):
        raise ValueError(f"Expected `Address` in CIDR form, got {address.address!r}")
    return address


def _requires_nothing(error: ProtocolError | RemoteError) -> IpamCapability:
    return IpamCapability()


class IpamDriver(Interface, implements="IpamDriver"):
    """Pools of addresses for networks. Docker reads errors under ``Error``; here ``Err`` counts as well.

    Docker sets no deadlines here; ours are the client's.
    """

    @rpc("GetCapabilities", idempotent=True, optional=True, fallback=_requires_nothing)
    def get_capabilities(self) -> IpamCapability:
        """Return what the plugin requires of the host; one that does not answer this requires nothing."""
        raise NotImplementedError

    @rpc("GetDefaultAddressSpaces", idempotent=True)
    def get_default_address_spaces(self) -> AddressSpaces:
        """Return the names of the default address spaces."""
        raise NotImplementedError

    @rpc("RequestPool", check=_with_pool)
    def request_pool(
        self,
        address_space: str,
        pool: str = "",
        sub_pool: str = "",
        options: dict[str, str] = {},
        v6: bool = False,
    ) -> IpamPool:
        """Reserve a pool.

        A plugin gives another pool each time, or an error: Docker asks again, without pause, when the
        pool overlaps with a route of the host.

        Args:
            address_space: where to take it from.
            pool: the pool that the user wants, in CIDR form; "" for any.
            sub_pool: the part of it that addresses come from, in CIDR form.
            options: the user's options.
            v6: whether it is for IPv6.
        """
        raise NotImplementedError

    @rpc("ReleasePool")
    def release_pool(self, pool_id: _PoolID) -> None:
        """Give back a pool."""
        raise NotImplementedError

    @rpc("RequestAddress", check=_with_address)
    def request_address(
        self, pool_id: _PoolID, address: str = "", options: dict[str, str] | None = None
    ) -> IpamAddress:
        """Reserve an address.

        Args:
            pool_id: the pool.
            address: the address that is wanted, without a prefix; "" for any.
            options: `GATEWAY_OPTIONS` for a gateway, `endpoint_options` for an endpoint.
        """
        raise NotImplementedError

    @rpc("ReleaseAddress")
    def release_address(self, pool_id: _PoolID, address: str) -> None:
        """Give back an address.

        Args:
            pool_id: the pool.
            address: the address, without a prefix.
        """
        raise NotImplementedError


# --- what a host does for it --------------------------------------------------------------------------


def endpoint_options(capability: IpamCapability, mac_address: str = "") -> dict[str, str] | None:
    """Return the options of a request for an endpoint's address.

    Args:
        capability: what the plugin requires.
        mac_address: the endpoint's, with colons. Where the plugin requires one and none is set yet, one is
            made up, and the endpoint is to have it: it is in the result under `MAC_ADDRESS`.
    """
    return {MAC_ADDRESS: mac_address or _random_mac()} if capability.requires_mac_address else None


def _random_mac() -> str:
    # 02 marks an address that no manufacturer gave; 02:42 is what Docker makes them with.
    return ":".join(f"{byte:02x}" for byte in (0x02, 0x42, *secrets.token_bytes(4)))


@dataclass(frozen=True)
class PoolRecord:
    """What a host remembers of a pool that it holds, in order to ask for it again.

    Args:
        pool_id: what the plugin calls it.
        address_space: as it was requested.
        pool: as it was given, in CIDR form.
        sub_pool: as it was requested.
        options: as they were requested.
        v6: as it was requested.
        gateway: the gateway's address without a prefix, "" where there is none.
    """

    pool_id: str
    address_space: str
    pool: str
    sub_pool: str = ""
    options: dict[str, str] = field(default_factory=dict)
    v6: bool = False
    gateway: str = ""


def replay(driver: IpamDriver, capability: IpamCapability, held: PoolRecord) -> PoolRecord:
    """Ask for a pool and its gateway again, where the plugin requires it of a host that starts.

    Returns:
        the record to keep from now on: the plugin may call the pool by another ID.
    """
    if not capability.requires_request_replay:
        return held
    pool = driver.request_pool(held.address_space, held.pool, held.sub_pool, held.options, held.v6)
    if held.gateway:
        driver.request_address(pool.pool_id, held.gateway, GATEWAY_OPTIONS)
    return replace(held, pool_id=pool.pool_id)
