"""Hypothesis strategies for what methods take and give, made from their declarations."""

from __future__ import annotations

import functools
import json
import operator
import types
from collections.abc import Iterable
from ipaddress import ip_network
from typing import Annotated, Any, Union, get_args, get_origin

import msgspec
from hypothesis import strategies as st

from extframe.interface.methods import Method

# Lone surrogates are no Unicode: no JSON text in UTF-8 has them.
text = st.text(st.characters(exclude_categories=["Cs"]), max_size=20)
numbers = st.integers(-(2**63), 2**63 - 1)
json_values = st.recursive(
    st.none() | st.booleans() | numbers | st.floats(allow_nan=False, allow_infinity=False) | text,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(text, inner, max_size=3),
    max_leaves=8,
)

LEAVES = {str: text, int: numbers, bool: st.booleans(), bytes: st.binary(max_size=20), type(None): st.none()}


def values(kind: Any) -> st.SearchStrategy[Any]:
    """Return a strategy for values of a type that requests and replies are made of."""
    origin, members = get_origin(kind), get_args(kind)
    if kind in LEAVES:
        return LEAVES[kind]
    if kind is Any:
        return json_values
    if origin is Annotated:
        return values(members[0])
    if origin is list:
        return st.lists(values(members[0]), max_size=3)
    if origin is dict:
        return st.dictionaries(values(members[0]), values(members[1]), max_size=3)
    if origin in (Union, types.UnionType):
        return functools.reduce(operator.or_, map(values, members))
    fields = {field.name: values(field.type) for field in msgspec.structs.fields(kind)}
    return st.fixed_dictionaries({}, optional=fields).map(lambda found: kind(**found))


def arguments(method: Method) -> st.SearchStrategy[dict[str, Any]]:
    """Return a strategy for the keyword arguments of ``method``, those that have defaults being there or not."""
    required, optional = {}, {}
    for name, parameter in method.signature.parameters.items():
        (required if parameter.default is parameter.empty else optional)[name] = values(parameter.annotation)
    return st.fixed_dictionaries(required, optional=optional)


paths = text.map(lambda words: "/" + words)
scopes = st.sampled_from(["local", "global"])
addresses = st.ip_addresses().map(str)
networks = st.ip_addresses().map(lambda address: str(ip_network(f"{address}/24", strict=False)))
macs = st.binary(min_size=6, max_size=6).map(lambda octets: octets.hex(":"))
absent = st.just("")
RESULTS_THAT_PASS_CHECKS = {
    "VolumeDriver.Mount": lambda result: paths,
    "VolumeDriver.Capabilities": lambda result: st.builds(result, scope=scopes),
    "NetworkDriver.GetCapabilities": lambda result: st.builds(
        result, scope=scopes, connectivity_scope=scopes, gw_alloc_checker=st.booleans()
    ),
    "IpamDriver.RequestPool": lambda result: st.builds(
        result, pool_id=text, pool=networks, data=values(dict[str, str])
    ),
    "IpamDriver.RequestAddress": lambda result: st.builds(result, address=networks, data=values(dict[str, str])),
    "NetworkDriver.CreateEndpoint": lambda result: st.builds(
        result, address=absent | networks, address_ipv6=absent | networks, mac_address=absent | macs
    ),
    "NetworkDriver.Join": lambda result: st.builds(
        result, gateway=absent | addresses, gateway_ipv6=absent | addresses, disable_gateway_service=st.booleans()
    ),
}


def results(method: Method) -> st.SearchStrategy[Any]:
    """Return a strategy for what a driver may return from ``method``."""
    special = RESULTS_THAT_PASS_CHECKS.get(method.wire)
    return special(method.result) if special else values(method.result)


def other_case(key: str, draw: st.DataObject) -> str:
    return draw.draw(st.sampled_from([key, key.lower(), key.upper(), key.swapcase()]))


def as_careless_peers_write(body: bytes, draw: st.DataObject, known: Iterable[str]) -> bytes:
    """Return the JSON of ``body`` with its declared keys in another case, and keys that nobody declared."""
    value = json.loads(body)
    careless = {other_case(key, draw): item for key, item in value.items()}
    taken = {key.lower() for key in known}
    unknown = draw.draw(st.dictionaries(text.filter(lambda key: key.lower() not in taken), json_values, max_size=2))
    return json.dumps(careless | unknown).encode()


def damaged(body: bytes, draw: st.DataObject) -> bytes:
    """Return the JSON of ``body`` with one of its values, however deep, exchanged for another."""
    value = json.loads(body)
    inner = value
    while isinstance(inner, (dict, list)) and inner:
        key = draw.draw(st.sampled_from(sorted(inner) if isinstance(inner, dict) else range(len(inner))))
        if not isinstance(inner[key], (dict, list)) or not inner[key] or draw.draw(st.booleans()):
            inner[key] = draw.draw(json_values)
            break
        inner = inner[key]
    return json.dumps(value).encode()
