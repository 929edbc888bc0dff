"""IpamDriver: what the engine sends, errors under either key, and what a plugin may require of the host."""

from __future__ import annotations

import re

import pytest
from scripted_client import DriverClient, ScriptedClient

from extframe.errors import ProtocolError, RemoteError
from extframe.interface import declaration
from extframe.subsystems.ipam import (
    GATEWAY_OPTIONS,
    MAC_ADDRESS,
    AddressSpaces,
    IpamAddress,
    IpamCapability,
    IpamDriver,
    IpamPool,
    PoolRecord,
    endpoint_options,
    replay,
)

POOL = {"PoolID": "p1", "Pool": "10.0.0.0/24", "Address": "10.0.0.1/24"}


def driver(*replies: object, status: int = 200) -> tuple[IpamDriver, ScriptedClient]:
    client = ScriptedClient(*replies, status=status)
    return IpamDriver.remote(client), client


@pytest.mark.parametrize(
    ("method", "arguments", "body"),
    [
        ("get_capabilities", [], b""),
        ("get_default_address_spaces", [], b""),
        ("request_pool", ["s"], b'{"AddressSpace":"s","Pool":"","SubPool":"","Options":{},"V6":false}\n'),
        (
            "request_pool",
            ["s", "10.0.0.0/16", "10.0.5.0/24", {"o": "v"}, True],
            b'{"AddressSpace":"s","Pool":"10.0.0.0/16","SubPool":"10.0.5.0/24","Options":{"o":"v"},"V6":true}\n',
        ),
        ("release_pool", ["p1"], b'{"PoolID":"p1"}\n'),
        ("request_address", ["p1"], b'{"PoolID":"p1","Address":"","Options":null}\n'),
        (
            "request_address",
            ["p1", "10.0.0.1", GATEWAY_OPTIONS],
            b'{"PoolID":"p1","Address":"10.0.0.1","Options":{"RequestAddressType":"com.docker.network.gateway"}}\n',
        ),
        ("release_address", ["p1", "10.0.0.1"], b'{"PoolID":"p1","Address":"10.0.0.1"}\n'),
    ],
)
def test_a_request_is_byte_for_byte_what_the_engine_sends(method, arguments, body):
    ipam, client = driver(POOL)
    getattr(ipam, method)(*arguments)
    assert client.last.body == body


def test_every_method_of_the_engine_is_there():
    assert len(declaration(IpamDriver).methods) == 6


@pytest.mark.parametrize("key", ["Error", "Err", "error", "err"])
def test_an_error_counts_under_either_key(key):
    """Docker takes Err in a 200 for success, and goes on with a pool that is empty."""
    for call in (lambda ipam: ipam.request_pool("s"), lambda ipam: ipam.release_pool("p1")):
        with pytest.raises(RemoteError) as caught:
            call(driver({key: "no pool left"})[0])
        assert caught.value.message == "no pool left"


@pytest.mark.parametrize("reply", [{"Err": "x"}, {"Error": "x"}])
def test_an_error_with_status_500_is_the_plugins_words(reply):
    with pytest.raises(RemoteError) as caught:
        driver(reply, status=500)[0].request_pool("s")
    assert (caught.value.message, caught.value.status) == ("x", 500)


def test_replies_are_read_whole():
    assert driver({**POOL, "Data": {"a": "b"}})[0].request_pool("s") == IpamPool(
        pool_id="p1", pool="10.0.0.0/24", data={"a": "b"}
    )
    assert driver(POOL)[0].request_address("p1") == IpamAddress(address="10.0.0.1/24")
    assert driver({"LocalDefaultAddressSpace": "l", "GlobalDefaultAddressSpace": "g"})[
        0
    ].get_default_address_spaces() == AddressSpaces(local_default_address_space="l", global_default_address_space="g")


@pytest.mark.parametrize(
    "value", ["", None, "10.0.0.0", "10.0.0.0/99", "10.0.0.0/255.255.255.0", "x/24", "fe80::1%eth0/64", 5]
)
def test_a_pool_or_an_address_that_is_not_a_cidr_is_an_error(value):
    with pytest.raises(ProtocolError, match="Pool"):
        driver({"Pool": value})[0].request_pool("s")
    with pytest.raises(ProtocolError, match="Address"):
        driver({"Address": value})[0].request_address("p1")


@pytest.mark.parametrize(
    ("cidr", "network"),
    [("10.66.0.0/24", "10.66.0.0/24"), ("10.66.0.7/24", "10.66.0.0/24"), ("fd00::7/64", "fd00::/64")],
)
def test_the_host_bits_of_a_pool_are_cleared(cidr, network):
    assert driver({"Pool": cidr, "PoolID": "p"})[0].request_pool("s") == IpamPool(pool_id="p", pool=network)
    assert driver({"Address": cidr})[0].request_address("p").address == cidr


def test_the_gateway_in_a_pools_data_is_checked():
    data = {"com.docker.network.gateway": "10.66.0.1"}
    with pytest.raises(ProtocolError, match=r"Expected `Data\[com.docker.network.gateway\]` in CIDR notation"):
        driver({"Pool": "10.66.0.0/24", "Data": data})[0].request_pool("s")


@pytest.mark.parametrize(
    ("reply", "status"), [(b"404 page not found\n", 404), ({"Err": "x"}, 500), ({"Error": "x"}, 200)]
)
def test_a_plugin_without_capabilities_requires_nothing(reply, status):
    assert driver(reply, status=status)[0].get_capabilities() == IpamCapability()


def test_capabilities_are_read():
    reply = {"RequiresMACAddress": True, "RequiresRequestReplay": True}
    assert driver(reply)[0].get_capabilities() == IpamCapability(
        requires_mac_address=True, requires_request_replay=True
    )


def test_address_spaces_are_mandatory():
    with pytest.raises(RemoteError):
        driver({"Err": "not yet"}, status=500)[0].get_default_address_spaces()


# --- what a host does for it --------------------------------------------------------------------------


def test_an_endpoint_has_no_options_if_the_plugin_requires_none():
    assert endpoint_options(IpamCapability(), "02:42:0a:00:00:02") is None


def test_an_endpoints_mac_address_is_sent_if_the_plugin_requires_it():
    assert endpoint_options(IpamCapability(requires_mac_address=True), "02:42:0a:00:00:02") == {
        MAC_ADDRESS: "02:42:0a:00:00:02"
    }


def test_a_mac_address_is_generated_if_none_is_set():
    made = {endpoint_options(IpamCapability(requires_mac_address=True))[MAC_ADDRESS] for _ in range(20)}
    assert len(made) == 20
    assert all(re.fullmatch(r"02:42(:[0-9a-f]{2}){4}", address) for address in made)


HELD = PoolRecord("p1", "local", "10.0.0.0/24", options={"o": "v"}, gateway="10.0.0.1")


def test_nothing_is_requested_again_unless_the_plugin_requires_it():
    ipam, client = driver(POOL)
    assert replay(ipam, IpamCapability(), HELD) == HELD
    assert client.calls == []


def test_a_pool_and_its_gateway_are_asked_for_again_and_the_new_id_counts():
    ipam, client = driver({**POOL, "PoolID": "p2"})
    again = replay(ipam, IpamCapability(requires_request_replay=True), HELD)
    assert again.pool_id == "p2"
    assert [call.arguments for call in client.calls] == [
        {"AddressSpace": "local", "Pool": "10.0.0.0/24", "SubPool": "", "Options": {"o": "v"}, "V6": False},
        {"PoolID": "p2", "Address": "10.0.0.1", "Options": GATEWAY_OPTIONS},
    ]


def test_a_pool_without_a_gateway_is_asked_for_alone():
    ipam, client = driver(POOL)
    replay(ipam, IpamCapability(requires_request_replay=True), PoolRecord("p1", "local", "10.0.0.0/24"))
    assert len(client.calls) == 1


class Counted(IpamDriver):
    def request_pool(self, address_space, pool="", sub_pool="", options={}, v6=False):  # noqa: B006
        return IpamPool(pool_id="p1", pool=pool or "10.0.0.0/24")

    def request_address(self, pool_id, address="", options=None):
        return IpamAddress(address=f"{address or '10.0.0.2'}/24", data={"gateway": str(options == GATEWAY_OPTIONS)})


def test_both_ends_understand_each_other():
    ipam = IpamDriver.remote(DriverClient(Counted()))
    pool = ipam.request_pool("local", "10.1.0.0/16")
    assert pool == IpamPool(pool_id="p1", pool="10.1.0.0/16")
    assert ipam.request_address(pool.pool_id).address == "10.0.0.2/24"
    assert ipam.request_address(pool.pool_id, "10.1.0.1", GATEWAY_OPTIONS).data == {"gateway": "True"}
