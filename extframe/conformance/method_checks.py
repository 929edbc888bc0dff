"""Check every method of an extension point with safe calls, and with unusual and invalid requests."""

from __future__ import annotations

import time
from collections.abc import Iterator
from functools import partial

from ..client.http1 import Response
from ..errors import TransportError
from ..interface.declarations import Declaration
from ..interface.methods import Method
from ..protocol import excerpt
from .check import Check
from .raw_client import RawClient
from .responses import assess_malformed, field_in
from .rules import Outcome, Verdict, failed, passed, skipped, warned
from .safe_calls import LIFECYCLE_METHODS, SAFE_CALLS, SafeCall, body_of

PAUSE = 0.05  # seconds between the pieces of a body


def method_checks(point: Declaration, *, lifecycle: bool) -> Iterator[Check]:
    """Yield a check for each method of an extension point, except for those that lifecycle checks will call."""
    for method in point.methods:
        call = SAFE_CALLS.get(method.wire)
        if call is not None:
            yield Check(method.wire, call.rule, partial(_call, method, call), worst=_worst(method))
        elif method.wire not in LIFECYCLE_METHODS:
            yield Check(method.wire, "status", partial(_skip, "it changes something, and no check calls it"))
        elif not lifecycle:
            yield Check(method.wire, "status", partial(_skip, "it creates something; --destructive checks it"))


def _worst(method: Method) -> Verdict:
    return Verdict.WARN if method.wire == "VolumeDriver.Path" else Verdict.FAIL


def _skip(reason: str, client: RawClient) -> Outcome:
    return skipped(reason)


def _call(method: Method, call: SafeCall, client: RawClient) -> Outcome:
    response = client.call(method.wire, body_of(method, call.arguments))
    return call.missing if _is_missing(method, response, client) else call.assess(method, response)


def _is_missing(method: Method, response: Response, client: RawClient) -> bool:
    """Return whether this is also the plugin's response to an unknown method."""
    if response.status != 404 or method.rpc.optional:
        return False
    unknown = f"{method.wire}ExtframeCheck"
    return response.body == client.call(unknown).body.replace(unknown.encode(), method.wire.encode())


def request_checks(point: Declaration) -> Iterator[Check]:
    """Yield checks of how an extension point responds to unusual and invalid requests."""
    prefix = point.prefix
    worst = Verdict.WARN if prefix == "NetworkDriver" else Verdict.NOTE
    yield Check(f"{prefix}: an unknown method", "not-found", partial(_call_unknown, f"{prefix}.ExtframeCheck"), worst)
    safe = [each for each in point.methods if each.wire in SAFE_CALLS]
    methods = [each for each in safe if SAFE_CALLS[each.wire].reads]
    for method in [each for each in (*methods, *safe) if SAFE_CALLS[each.wire].arguments][:1]:
        yield Check(f"{method.wire}: a body in two pieces", "body-pieces", partial(_call_in_pieces, method))
    for method in methods:
        yield from _malformed_checks(method)
    if not methods:
        yield Check(f"{prefix}: invalid requests", "bad-request", partial(_skip, "no method is safe to call with them"))


def _malformed_checks(method: Method) -> Iterator[Check]:
    key = method.request.__struct_encode_fields__[0].encode()
    bodies = {
        "truncated JSON": b'{"%b": ' % key,
        "a list instead of an object": b"[]\n",
        "an object instead of a string": b'{"%b": {}}\n' % key,
    }
    for name, body in bodies.items():  # no host sends these
        step = partial(_call_malformed, method, body)
        yield Check(f"{method.wire}: {name}", "bad-request", step, Verdict.WARN)
    if method.wire.startswith("AuthZPlugin."):
        yield Check(f"{method.wire}: no body", "empty-body", partial(_authorize_without_body, method))
    else:
        step = partial(_call_malformed, method, b"")
        yield Check(f"{method.wire}: no body", "empty-body", step, Verdict.WARN)
    yield Check(f"{method.wire}: an unknown key", "unknown-key", partial(_call_with_key, method), Verdict.WARN)


def _call_malformed(method: Method, body: bytes, client: RawClient) -> Outcome:
    response = client.call(method.wire, body)
    if _is_missing(method, response, client):
        return skipped("the method is not implemented")
    if response.status == 200 and method.wire == "VolumeDriver.Get" and field_in(response, "volume") is None:
        return passed(f"no volume: {excerpt(response.body)}")
    if response.status == 200 and field_in(response, "allow") is False:
        return passed("status 200, and denied")
    return assess_malformed(response)


def _authorize_without_body(method: Method, client: RawClient) -> Outcome:
    try:
        response = client.call(method.wire)
    except TransportError as error:  # the engine denies then
        return warned(error.message)
    if response.status == 200 and field_in(response, "allow"):
        return failed("allowed a request that it did not see: the engine loses the body when it retries")
    if response.status == 200:
        return passed("status 200, and denied")
    return assess_malformed(response)


def _call_in_pieces(method: Method, client: RawClient) -> Outcome:
    body = body_of(method, SAFE_CALLS[method.wire].arguments)
    request = client.request(method.wire, body)
    middle = len(request) - len(body) // 2
    expected = client.call(method.wire, body).status
    with client.connected() as connection:
        client.send(connection, request[:middle])
        time.sleep(PAUSE)
        client.send(connection, request[middle:])
        status = client.receive(connection, request).status
    return passed() if status == expected else failed(f"status {status}, but {expected} if it arrives in one piece")


def _call_with_key(method: Method, client: RawClient) -> Outcome:
    body = body_of(method, SAFE_CALLS[method.wire].arguments)
    expected = client.call(method.wire, body).status
    status = client.call(method.wire, body.replace(b"{", b'{"ExtframeCheck":[1],', 1)).status
    return passed() if status == expected else warned(f"status {status} with it, {expected} without")


def _call_unknown(wire: str, client: RawClient) -> Outcome:
    response = client.call(wire, b"{}\n")
    if response.status == 404:
        return passed()
    return warned(f"status {response.status}: {excerpt(response.body, 80)}")
