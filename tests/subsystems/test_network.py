"""NetworkDriver: what the engine sends, and its rules for scopes, addresses and what a plugin may lack."""

from __future__ import annotations

import re

import pytest
from scripted_client import DriverClient, ScriptedClient

from extframe.errors import ProtocolError, RemoteError
from extframe.interface import declaration
from extframe.subsystems.network import (
    NODE_DISCOVERY,
    EndpointInterface,
    GatewayAllocation,
    InterfaceName,
    IPAMData,
    JoinInfo,
    NetworkCapability,
    NetworkDriver,
    StaticRoute,
)


def driver(*replies: object, status: int = 200) -> tuple[NetworkDriver, ScriptedClient]:
    client = ScriptedClient(*replies, status=status)
    return NetworkDriver.remote(client), client


POOL = IPAMData(address_space="local", aux_addresses={"a1": "10.0.0.9/24"}, gateway="10.0.0.1/24", pool="10.0.0.0/24")
POOL_JSON = b'{"AddressSpace":"local","AuxAddresses":{"a1":"10.0.0.9/24"},"Gateway":"10.0.0.1/24","Pool":"10.0.0.0/24"}'

INTERFACE_JSON = b'{"Address":"10.0.0.2/24","AddressIPv6":"","MacAddress":""}'


@pytest.mark.parametrize(
    ("method", "arguments", "body"),
    [
        ("get_capabilities", [], b""),
        ("allocate_network", ["n"], b'{"NetworkID":"n","Options":{},"IPv4Data":[],"IPv6Data":[]}\n'),
        ("free_network", ["n"], b'{"NetworkID":"n"}\n'),
        ("gw_alloc_check", [{"a": 1}], b'{"Options":{"a":1}}\n'),
        (
            "create_network",
            ["n", {"a": {"b": True}}, [POOL], [IPAMData()]],
            b'{"NetworkID":"n","Options":{"a":{"b":true}},"IPv4Data":[%b],"IPv6Data":[{"AddressSpace":""}]}\n'
            % POOL_JSON,
        ),
        ("delete_network", ["n"], b'{"NetworkID":"n"}\n'),
        (
            "create_endpoint",
            ["n", "e", EndpointInterface(address="10.0.0.2/24")],
            b'{"NetworkID":"n","EndpointID":"e","Interface":%b,"Options":null}\n' % INTERFACE_JSON,
        ),
        ("endpoint_oper_info", ["n", "e"], b'{"NetworkID":"n","EndpointID":"e"}\n'),
        ("delete_endpoint", ["n", "e"], b'{"NetworkID":"n","EndpointID":"e"}\n'),
        ("join", ["n", "e", "/s", {}], b'{"NetworkID":"n","EndpointID":"e","SandboxKey":"/s","Options":{}}\n'),
        ("leave", ["n", "e"], b'{"NetworkID":"n","EndpointID":"e"}\n'),
        ("program_external_connectivity", ["n", "e"], b'{"NetworkID":"n","EndpointID":"e","Options":null}\n'),
        ("revoke_external_connectivity", ["n", "e"], b'{"NetworkID":"n","EndpointID":"e"}\n'),
        (
            "discover_new",
            [NODE_DISCOVERY, {"Address": "10.0.0.3", "BindAddress": "10.0.0.3", "Self": True}],
            b'{"DiscoveryType":1,"DiscoveryData":{"Address":"10.0.0.3","BindAddress":"10.0.0.3","Self":true}}\n',
        ),
        ("discover_delete", [NODE_DISCOVERY, {}], b'{"DiscoveryType":1,"DiscoveryData":{}}\n'),
    ],
)
def test_a_request_is_byte_for_byte_what_the_engine_sends(method, arguments, body):
    networks, client = driver({"Scope": "local"})
    getattr(networks, method)(*arguments)
    assert client.last.body == body


def test_every_method_of_the_engine_is_there():
    assert len(declaration(NetworkDriver).methods) == 15


@pytest.mark.parametrize(
    ("reply", "scopes"),
    [
        ({"Scope": "local"}, ("local", "local")),
        ({"Scope": "global", "ConnectivityScope": ""}, ("global", "global")),
        ({"scope": "local", "connectivityscope": "global"}, ("local", "global")),
    ],
)
def test_the_connectivity_scope_is_the_scope_by_default(reply, scopes):
    capability = driver(reply)[0].get_capabilities()
    assert (capability.scope, capability.connectivity_scope) == scopes


@pytest.mark.parametrize(
    ("reply", "message"),
    [
        ({}, "Expected `Scope` to be 'local' or 'global', got ''"),
        ({"Scope": "Local"}, "Expected `Scope` to be 'local' or 'global', got 'Local'"),
        ({"Scope": "GLOBAL"}, "got 'GLOBAL'"),
        ({"Scope": "local", "ConnectivityScope": "weird"}, "Expected `ConnectivityScope` .* got 'weird'"),
    ],
)
def test_a_scope_that_the_engine_refuses_is_an_error(reply, message):
    with pytest.raises(ProtocolError, match=message):
        driver(reply)[0].get_capabilities()


@pytest.mark.parametrize("status", [404, 500])
def test_capabilities_are_mandatory(status):
    with pytest.raises(RemoteError):
        driver({"Err": "x"}, status=status)[0].get_capabilities()


@pytest.mark.parametrize("method", ["program_external_connectivity", "revoke_external_connectivity"])
def test_external_connectivity_that_a_plugin_does_not_know_is_success(method):
    networks, _ = driver(b"404 page not found\n", status=404)
    assert getattr(networks, method)("n", "e") is None


@pytest.mark.parametrize(("status", "reply"), [(500, {"Err": "x"}), (200, {"Err": "x"})])
def test_external_connectivity_that_fails_is_an_error(status, reply):
    with pytest.raises(RemoteError, match="x"):
        driver(reply, status=status)[0].program_external_connectivity("n", "e")


def test_404_is_an_error_everywhere_else():
    networks, _ = driver(b"404 page not found\n", status=404)
    for call in (lambda: networks.leave("n", "e"), lambda: networks.delete_network("n")):
        with pytest.raises(RemoteError) as caught:
            call()
        assert caught.value.not_found


@pytest.mark.parametrize("reply", [{}, {"Interface": None}, {"Interface": {}}])
def test_an_endpoint_to_which_nothing_is_added_has_no_addresses(reply):
    assert driver(reply)[0].create_endpoint("n", "e", EndpointInterface()) == EndpointInterface()


@pytest.mark.parametrize(
    ("reply", "message"),
    [
        ({"Address": "10.0.0.2"}, "Expected `Address` in CIDR notation, got '10.0.0.2' - at `$.Interface`"),
        ({"AddressIPv6": "fd00::1/x"}, "Expected `AddressIPv6` in CIDR notation"),
        ({"MacAddress": "02:42"}, "Expected `MacAddress` to be a MAC address such as 02:42:0a:00:00:02, got '02:42'"),
        ({"MacAddress": "02:42:0a-00:00:02"}, "Expected `MacAddress` to be a MAC address"),
    ],
)
def test_the_addresses_of_an_endpoint_are_checked(reply, message):
    with pytest.raises(ProtocolError, match=re.escape(message)):
        driver({"Interface": reply})[0].create_endpoint("n", "e", EndpointInterface())


@pytest.mark.parametrize("mac", ["02:42:0a:00:00:02", "02-42-0A-00-00-02", "0242.0a00.0002", "02:00:5e:10:00:00:00:01"])
def test_a_mac_address_may_have_any_form_that_go_parses(mac):
    assert (
        driver({"Interface": {"MacAddress": mac}})[0].create_endpoint("n", "e", EndpointInterface()).mac_address == mac
    )


@pytest.mark.parametrize(
    ("reply", "message"),
    [
        ({"Gateway": "10.0.0.1/24"}, "Expected `Gateway` to be an IP address, got '10.0.0.1/24'"),
        ({"GatewayIPv6": "fe80::1%eth0"}, "Expected `GatewayIPv6` to be an IP address"),
        ({"StaticRoutes": [{"Destination": "192.0.2.0"}]}, "Expected `StaticRoutes.Destination` in CIDR notation"),
        ({"StaticRoutes": [{"Destination": "192.0.2.0/24", "NextHop": "x"}]}, "Expected `StaticRoutes.NextHop`"),
    ],
)
def test_the_addresses_of_join_are_checked(reply, message):
    with pytest.raises(ProtocolError, match=re.escape(message)):
        driver(reply)[0].join("n", "e", "/s")


def test_what_the_plugin_adds_completes_an_endpoint():
    asked = EndpointInterface(address="10.0.0.2/24")
    answer = driver({"Interface": {"macaddress": "02:42:0a:00:00:02"}})[0].create_endpoint("n", "e", asked)
    assert asked.completed(answer) == EndpointInterface(
        address="10.0.0.2/24", address_ipv6="", mac_address="02:42:0a:00:00:02"
    )


def test_an_address_that_was_set_cannot_be_answered_even_with_itself():
    asked = EndpointInterface(address="10.0.0.2/24", mac_address="02:42:0a:00:00:02")
    with pytest.raises(ValueError, match="returned address, mac_address, which the host had already set"):
        asked.completed(asked)


def test_the_whole_reply_to_join_is_read():
    networks, _ = driver(
        {
            "InterfaceName": {"SrcName": "veth1", "DstPrefix": "eth", "DstName": "eth0"},
            "Gateway": "10.0.0.1",
            "GatewayIPv6": "fd00::1",
            "StaticRoutes": [None, {"Destination": "192.0.2.0/24", "RouteType": 1, "NextHop": ""}],
            "DisableGatewayService": True,
        }
    )
    route = StaticRoute(destination="192.0.2.0/24", route_type=1)
    assert networks.join("n", "e", "/s") == JoinInfo(
        interface_name=InterfaceName(src_name="veth1", dst_prefix="eth"),
        gateway="10.0.0.1",
        gateway_ipv6="fd00::1",
        static_routes=[route],
        disable_gateway_service=True,
    )


@pytest.mark.parametrize("reply", [{}, {"InterfaceName": None, "StaticRoutes": None}, b"null"])
def test_join_may_answer_nothing(reply):
    assert driver(reply)[0].join("n", "e", "/s") == JoinInfo()


def test_free_form_answers_are_given_as_they_came():
    assert driver({"Value": {"a": None, "B": [1]}})[0].endpoint_oper_info("n", "e") == {"a": None, "B": [1]}
    assert driver({"Value": None})[0].endpoint_oper_info("n", "e") == {}
    assert driver({"SkipIPv4": True})[0].gw_alloc_check() == GatewayAllocation(skip_ipv4=True)
    assert driver({"Options": {"a": "b"}})[0].allocate_network("n") == {"a": "b"}


class Bridges(NetworkDriver):
    def get_capabilities(self) -> NetworkCapability:
        return NetworkCapability(scope="local")

    def create_endpoint(self, network_id, endpoint_id, interface, options=None):
        return EndpointInterface(mac_address="02:42:0a:00:00:02") if interface.address else EndpointInterface()

    def join(self, network_id, endpoint_id, sandbox_key, options=None):
        return JoinInfo(interface_name=InterfaceName(src_name="veth1", dst_prefix="eth"), gateway="10.0.0.1")


def test_both_ends_understand_each_other():
    networks = NetworkDriver.remote(DriverClient(Bridges()))
    assert networks.get_capabilities() == NetworkCapability(scope="local", connectivity_scope="local")
    assert (
        networks.create_endpoint("n", "e", EndpointInterface(address="10.0.0.2/24")).mac_address == "02:42:0a:00:00:02"
    )
    assert networks.join("n", "e", "/s") == JoinInfo(
        interface_name=InterfaceName(src_name="veth1", dst_prefix="eth"), gateway="10.0.0.1"
    )
