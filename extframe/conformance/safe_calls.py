"""The calls that are safe in any plugin, and how to assess the responses. Sends nothing."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any

from ..client.http1 import Response
from ..interface.declarations import Declaration, declaration
from ..interface.messages import parse_time
from ..interface.methods import Method
from ..protocol import encode_json, excerpt
from ..subsystems.authz import Authz
from ..subsystems.ipam import IpamDriver
from ..subsystems.log import LogDriver, LogInfo, ReadConfig
from ..subsystems.metrics import MetricsCollector
from ..subsystems.network import NetworkDriver
from ..subsystems.secret import SecretProvider
from ..subsystems.volume import VolumeDriver
from .responses import assess_either, assess_error, assess_result, field_in, object_in, refusal
from .rules import Outcome, Verdict, failed, noted, passed, warned

DECLARATIONS: Mapping[str, Declaration] = {
    found.implements: found
    for found in map(
        declaration,
        (VolumeDriver, NetworkDriver, IpamDriver, Authz, LogDriver, MetricsCollector, SecretProvider),
    )
}
"""Extension points whose methods are known, by the name in a manifest."""

_UNKNOWN = "extframe-check-0f8a62c1d95b47e3"  # a name that nothing has
_UNKNOWN_ID = "0f8a62c1d95b47e3" * 4
# As dockerd sends them for `docker version`; RequestHeaders is never missing, and plugins rely on that.
_PING = {"request_method": "GET", "request_uri": "/_ping", "request_headers": {"User-Agent": "Docker-Client/28.2.2"}}
_PONG = {**_PING, "response_status_code": 200, "response_headers": {"Content-Type": "text/plain; charset=utf-8"}}
_ENDPOINT = {"network_id": _UNKNOWN_ID, "endpoint_id": _UNKNOWN_ID}

Assess = Callable[[Method, Response], Outcome]


@dataclass(frozen=True)
class SafeCall:
    """A call that changes nothing in any plugin.

    Args:
        assess: assesses the response.
        rule: the rule that it checks.
        arguments: of the call.
        reads: the plugin only looks something up, so that invalid arguments are safe, too.
        missing: the outcome if the plugin does not have the method.
    """

    assess: Assess
    rule: str
    arguments: Mapping[str, Any] = field(default_factory=dict)
    reads: bool = False
    missing: Outcome = failed("not implemented: same response as for an unknown method")  # noqa: RUF009 - a frozen value


_LOGGED = warned("not implemented: the engine logs the error, and the plugin never frees what it holds")

_UNUSED = passed("not implemented: no current engine calls it")
_IGNORED = passed("not implemented: the engine ignores the error")


def _assess_list(method: Method, response: Response) -> Outcome:
    outcome = assess_result(method, response)
    if outcome.verdict is not Verdict.PASS:
        return outcome
    volumes = field_in(response, "volumes") or []
    if None in volumes:
        return failed(f"Volumes[{volumes.index(None)}] is null")
    found = [outcome for volume in volumes for outcome in volume_faults(volume)]
    return max(found, key=lambda each: each.verdict.severity, default=passed(f"{len(volumes)} volumes"))


def volume_faults(volume: Mapping[str, Any]) -> Iterator[Outcome]:
    """Yield the faults of a volume as it was received."""
    found = {key.lower(): value for key, value in volume.items()}
    name, path, created = found.get("name"), found.get("mountpoint"), found.get("createdat")
    shown = excerpt(str(name).encode(), 60)
    if not name:
        yield warned("a volume has no Name")
    if path and not path.startswith("/"):
        yield warned(f"volume {shown!r} has the Mountpoint {path!r}, which is not absolute")
    if created is not None and (parse_time(created) is None or "T" not in created):
        yield failed(f"volume {shown!r} has CreatedAt {created!r}: the engine rejects the whole response")


def assess_unknown_volume(method: Method, response: Response) -> Outcome:
    """Assess the response to ``Get`` of a volume that does not exist."""
    if response.status != 200:
        outcome = assess_error(response)
        return warned(outcome.reason) if outcome.verdict is Verdict.FAIL else outcome
    reply = object_in(response)
    if response.body.strip() != b"null" and reply is None:
        return warned(f"status 200 without a JSON object: {excerpt(response.body, 80)}")
    if field_in(response, "volume") is None:
        return passed(f"no volume: {excerpt(response.body)}")
    if error := refusal(response):
        return warned(f"a volume and an error in one response: {error.reason}")
    return failed(f"returned a volume that does not exist, so that hosts do not create it: {excerpt(response.body)}")


def _assess_path(method: Method, response: Response) -> Outcome:
    if response.status == 404:
        return _UNUSED
    if response.status == 200 and not field_in(response, "mountpoint"):
        return passed("no path")
    if response.status == 200:
        return noted(f"returned a path for an unknown volume: {excerpt(response.body, 80)}")
    return assess_error(response)


def _assess_scope(method: Method, response: Response) -> Outcome:
    outcome = assess_result(method, response)
    if outcome.verdict is not Verdict.PASS or response.status != 200:
        return outcome
    found = {key.lower(): value for key, value in (field_in(response, "capabilities") or {}).items()}
    scope = found.get("scope") or "local"
    return outcome if scope.lower() in ("local", "global") else warned(f"Scope is {scope!r}; the engine assumes local")


def _assess_decision(method: Method, response: Response) -> Outcome:
    if refused := response.status != 200 and refusal(response):
        return warned(f"status {response.status}: the engine denies the request; {refused.reason}")
    outcome = assess_result(method, response)
    if outcome.verdict is not Verdict.PASS:
        return outcome
    if field_in(response, "err"):
        return warned(f"the engine does not read Err in a 200, Allow alone decides: {field_in(response, 'err')}")
    if field_in(response, "allow") is None:
        return noted("no Allow in the response: the engine denies the request")
    return passed("allowed" if field_in(response, "allow") else "denied")


def _assess_log_capability(method: Method, response: Response) -> Outcome:
    if response.status == 200 and field_in(response, "readlogs") is not None:
        return warned("ReadLogs is outside of Cap, where the engine does not read it")
    return assess_result(method, response)


def _assess_log_stream(method: Method, response: Response) -> Outcome:
    if response.status == 200:
        return passed("nothing logged" if not response.body else f"{len(response.body)} bytes")
    return assess_either(method, response)


def _assess_unknown_endpoint(method: Method, response: Response) -> Outcome:
    if response.status == 200:
        return assess_result(method, response)
    outcome = assess_error(response)  # whatever the error is, the engine ignores it
    return outcome if outcome.verdict is Verdict.PASS else noted(outcome.reason)


def _assess_secret(method: Method, response: Response) -> Outcome:
    if response.status != 200:
        return assess_error(response)
    outcome = assess_result(method, response)
    if outcome.verdict is Verdict.PASS and field_in(response, "value") is not None:
        return noted("returned a value for an unknown name")
    return outcome


SAFE_CALLS: Mapping[str, SafeCall] = {
    "VolumeDriver.Capabilities": SafeCall(_assess_scope, "status"),
    "VolumeDriver.List": SafeCall(_assess_list, "volume-list"),
    "VolumeDriver.Get": SafeCall(assess_unknown_volume, "unknown-volume", {"name": _UNKNOWN}, reads=True),
    "VolumeDriver.Path": SafeCall(_assess_path, "error", {"name": _UNKNOWN}, missing=_UNUSED),
    "VolumeDriver.Remove": SafeCall(assess_either, "unknown-id", {"name": _UNKNOWN}),
    "VolumeDriver.Unmount": SafeCall(
        assess_either, "unknown-id", {"name": _UNKNOWN, "id": _UNKNOWN_ID}, missing=_LOGGED
    ),
    "NetworkDriver.GetCapabilities": SafeCall(assess_result, "network-scope"),
    "NetworkDriver.EndpointOperInfo": SafeCall(
        _assess_unknown_endpoint,
        "unknown-id",
        _ENDPOINT,
        reads=True,
        missing=_IGNORED,
    ),
    "NetworkDriver.DeleteNetwork": SafeCall(assess_either, "unknown-id", {"network_id": _UNKNOWN_ID}, missing=_LOGGED),
    "NetworkDriver.FreeNetwork": SafeCall(assess_either, "unknown-id", {"network_id": _UNKNOWN_ID}),
    "NetworkDriver.DeleteEndpoint": SafeCall(assess_either, "unknown-id", _ENDPOINT, missing=_LOGGED),
    "NetworkDriver.Leave": SafeCall(assess_either, "unknown-id", _ENDPOINT, missing=_LOGGED),
    "NetworkDriver.RevokeExternalConnectivity": SafeCall(assess_either, "unknown-id", _ENDPOINT),
    "IpamDriver.GetCapabilities": SafeCall(assess_result, "status"),
    "IpamDriver.GetDefaultAddressSpaces": SafeCall(assess_result, "address-spaces"),
    "IpamDriver.ReleasePool": SafeCall(assess_either, "ipam-error", {"pool_id": _UNKNOWN}, missing=_LOGGED),
    "IpamDriver.ReleaseAddress": SafeCall(
        assess_either, "ipam-error", {"pool_id": _UNKNOWN, "address": "192.0.2.1"}, missing=_LOGGED
    ),
    "AuthZPlugin.AuthZReq": SafeCall(_assess_decision, "authz", _PING, reads=True),
    "AuthZPlugin.AuthZRes": SafeCall(_assess_decision, "authz", _PONG),
    "LogDriver.Capabilities": SafeCall(_assess_log_capability, "log-capability"),
    "LogDriver.StopLogging": SafeCall(assess_either, "unknown-id", {"file": f"/nonexistent/{_UNKNOWN_ID}"}),
    "LogDriver.ReadLogs": SafeCall(
        _assess_log_stream, "unknown-id", {"info": LogInfo(container_id=_UNKNOWN_ID), "config": ReadConfig(tail=1)}
    ),
    "SecretProvider.GetSecret": SafeCall(_assess_secret, "error", {"secret_name": _UNKNOWN}, reads=True),
}
"""All methods that can be called in any plugin. The others create or change something."""


LIFECYCLE_METHODS = frozenset(
    {
        "VolumeDriver.Create",
        "VolumeDriver.Mount",
        "NetworkDriver.CreateNetwork",
        "NetworkDriver.CreateEndpoint",
        "IpamDriver.RequestPool",
        "IpamDriver.RequestAddress",
        "LogDriver.StartLogging",
    }
)
"""The methods that only lifecycle checks call."""


def body_of(method: Method, arguments: Mapping[str, Any]) -> bytes:
    """Return the body of a call as the engine sends it."""
    return encode_json(method.encode_arguments(**arguments))
