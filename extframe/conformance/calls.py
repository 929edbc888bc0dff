"""Check every method with inputs that harm nothing. Knows the extension points of Docker's engine."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from functools import partial
from typing import Any

from ..client.http1 import Response
from ..errors import ProtocolError
from ..interface.declarations import Declaration, declaration
from ..interface.messages import parse_time
from ..interface.methods import Method
from ..protocol import decode_json, encode_json, excerpt
from ..subsystems.authz import Authz
from ..subsystems.ipam import IpamDriver
from ..subsystems.log import LogDriver, LogInfo, ReadConfig
from ..subsystems.metrics import MetricsCollector
from ..subsystems.network import NetworkDriver
from ..subsystems.secret import SecretProvider
from ..subsystems.volume import VolumeDriver
from .answers import judge_either, judge_malformed, judge_refusal, judge_result
from .check import Check
from .line import Line
from .rules import Outcome, Verdict, failed, passed, skipped, warned

DECLARATIONS: Mapping[str, Declaration] = {
    found.implements: found
    for found in map(
        declaration,
        (VolumeDriver, NetworkDriver, IpamDriver, Authz, LogDriver, MetricsCollector, SecretProvider),
    )
}
"""Extension points whose methods are known, by the name in a manifest."""

_ABSENT = "extframe-check-0f8a62c1d95b47e3"  # the name of nothing
_NO_ID = "0f8a62c1d95b47e3" * 4
_PING = {"request_method": "GET", "request_uri": "/_ping"}
_NO_ENDPOINT = {"network_id": _NO_ID, "endpoint_id": _NO_ID}

Judge = Callable[[Method, Response], Outcome]


@dataclass(frozen=True)
class Harmless:
    """A call that changes nothing.

    Args:
        judge: whether it must succeed, must be refused, or may be either.
        rule: what is asked of the plugin.
        arguments: of the call.
        reads: the plugin only looks something up, so that nonsense in the arguments harms nothing either.
    """

    judge: Judge
    rule: str
    arguments: Mapping[str, Any]
    reads: bool = False


def _judge_list(method: Method, answer: Response) -> Outcome:
    outcome = judge_result(method, answer)
    if outcome.verdict is not Verdict.PASS:
        return outcome
    volumes = _field(answer, "volumes") or []
    if None in volumes:
        return failed(f"Volumes[{volumes.index(None)}] is null")
    faults = (fault for volume in volumes for fault in volume_faults(volume))
    fault = next(faults, None)
    return failed(fault) if fault else passed(f"{len(volumes)} volumes")


def volume_faults(volume: Mapping[str, Any]) -> Iterator[str]:
    """Yield what is wrong with a volume as it stands on the wire."""
    found = {key.lower(): value for key, value in volume.items()}
    name, path, created = found.get("name"), found.get("mountpoint"), found.get("createdat")
    if not name:
        yield "a volume has no Name"
    if path and not path.startswith("/"):
        yield f"volume {excerpt(str(name).encode(), 60)!r} has the Mountpoint {path!r}, which is not absolute"
    if created is not None and (parse_time(created) is None or "T" not in created):
        yield f"volume {excerpt(str(name).encode(), 60)!r} has CreatedAt {created!r}, which spoils the whole answer"


def _judge_absent_volume(method: Method, answer: Response) -> Outcome:
    outcome = judge_refusal(method, answer)
    if outcome.verdict is Verdict.FAIL and answer.status == 200 and _is_object_without(answer, "volume"):
        return warned(f"neither a volume nor an error: {excerpt(answer.body, 80)}")
    return outcome


def _judge_path(method: Method, answer: Response) -> Outcome:
    if answer.status == 404:
        return passed("not implemented: no engine of today calls it")
    if answer.status == 200 and not _field(answer, "mountpoint"):
        return passed("no path")
    return judge_refusal(method, answer)


def _judge_scope(method: Method, answer: Response) -> Outcome:
    outcome = judge_result(method, answer)
    if outcome.verdict is not Verdict.PASS or answer.status != 200:
        return outcome
    found = {key.lower(): value for key, value in (_field(answer, "capabilities") or {}).items()}
    scope = found.get("scope") or "local"
    return outcome if scope.lower() in ("local", "global") else warned(f"Scope is {scope!r}, which is taken as local")


def _judge_verdict(method: Method, answer: Response) -> Outcome:
    outcome = judge_result(method, answer)
    if outcome.verdict is not Verdict.PASS:
        return outcome
    if _field(answer, "allow") is None:
        return warned("no Allow in the answer, which denies")
    if _field(answer, "err"):
        return warned("Err in a 200, which is not read: Allow alone decides")
    return passed("allowed" if _field(answer, "allow") else "denied")


def _judge_log_capability(method: Method, answer: Response) -> Outcome:
    if answer.status == 200 and _field(answer, "readlogs") is not None:
        return warned("ReadLogs stands outside of Cap, where it is not read")
    return judge_result(method, answer)


def _judge_log_stream(method: Method, answer: Response) -> Outcome:
    if answer.status == 200:
        return passed("nothing logged" if not answer.body else f"{len(answer.body)} bytes")
    return judge_either(method, answer)


def _field(answer: Response, name: str) -> Any:
    """Return a field of an answer, whatever the case of its key is; None where there is none."""
    try:
        reply = decode_json(answer.body)
    except ProtocolError:
        return None
    return {key.lower(): value for key, value in reply.items()}.get(name) if isinstance(reply, dict) else None


def _is_object_without(answer: Response, name: str) -> bool:
    return answer.body.lstrip()[:1] == b"{" and _field(answer, name) is None


HARMLESS: Mapping[str, Harmless] = {
    "VolumeDriver.Capabilities": Harmless(_judge_scope, "status", {}),
    "VolumeDriver.List": Harmless(_judge_list, "volume-list", {}),
    "VolumeDriver.Get": Harmless(_judge_absent_volume, "unknown-volume", {"name": _ABSENT}, reads=True),
    "VolumeDriver.Path": Harmless(_judge_path, "error", {"name": _ABSENT}),
    "VolumeDriver.Remove": Harmless(judge_either, "unknown-id", {"name": _ABSENT}),
    "VolumeDriver.Unmount": Harmless(judge_either, "unknown-id", {"name": _ABSENT, "id": _NO_ID}),
    "NetworkDriver.GetCapabilities": Harmless(judge_result, "network-scope", {}),
    "NetworkDriver.EndpointOperInfo": Harmless(judge_either, "unknown-id", _NO_ENDPOINT, reads=True),
    "NetworkDriver.DeleteNetwork": Harmless(judge_either, "unknown-id", {"network_id": _NO_ID}),
    "NetworkDriver.FreeNetwork": Harmless(judge_either, "unknown-id", {"network_id": _NO_ID}),
    "NetworkDriver.DeleteEndpoint": Harmless(judge_either, "unknown-id", _NO_ENDPOINT),
    "NetworkDriver.Leave": Harmless(judge_either, "unknown-id", _NO_ENDPOINT),
    "NetworkDriver.RevokeExternalConnectivity": Harmless(judge_either, "unknown-id", _NO_ENDPOINT),
    "IpamDriver.GetCapabilities": Harmless(judge_result, "status", {}),
    "IpamDriver.GetDefaultAddressSpaces": Harmless(judge_result, "address-spaces", {}),
    "IpamDriver.ReleasePool": Harmless(judge_either, "ipam-error", {"pool_id": _ABSENT}),
    "IpamDriver.ReleaseAddress": Harmless(judge_either, "ipam-error", {"pool_id": _ABSENT, "address": "192.0.2.1"}),
    "AuthZPlugin.AuthZReq": Harmless(_judge_verdict, "authz", _PING, reads=True),
    "AuthZPlugin.AuthZRes": Harmless(_judge_verdict, "authz", {**_PING, "response_status_code": 200}),
    "LogDriver.Capabilities": Harmless(_judge_log_capability, "log-capability", {}),
    "LogDriver.StopLogging": Harmless(judge_either, "unknown-id", {"file": f"/nonexistent/{_NO_ID}"}),
    "LogDriver.ReadLogs": Harmless(
        _judge_log_stream, "unknown-id", {"info": LogInfo(container_id=_NO_ID), "config": ReadConfig(tail=1)}
    ),
    "SecretProvider.GetSecret": Harmless(judge_refusal, "error", {"secret_name": _ABSENT}, reads=True),
}
"""What may be called of any plugin. All other methods make something, or change it."""


# --- the checks of an extension point -----------------------------------------------------------------


TRIED = frozenset(
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
"""What a trial calls, and nothing else does."""


def calls_of(found: Declaration, *, trial: bool) -> Iterator[Check]:
    """Yield a check for each method of an extension point, but for what a ``trial`` that follows will call."""
    for method in found.methods:
        harmless = HARMLESS.get(method.wire)
        if harmless is not None:
            yield Check(method.wire, harmless.rule, partial(_call, method, harmless))
        elif method.wire not in TRIED:
            yield Check(method.wire, "status", partial(_skip, "it changes something; no check does that"))
        elif not trial:
            yield Check(method.wire, "status", partial(_skip, "it makes something: --destructive tries it"))


def _skip(reason: str, line: Line) -> Outcome:
    return skipped(reason)


def _call(method: Method, harmless: Harmless, line: Line) -> Outcome:
    answer = line.call(method.wire, body_of(method, harmless.arguments))
    if answer.status == 404 and not method.rpc.optional and answer.body == _absence(method, line):
        verdict = passed if harmless.judge is _judge_path else failed
        return verdict("not implemented: answered as a method that does not exist is")
    return harmless.judge(method, answer)


def body_of(method: Method, arguments: Mapping[str, Any]) -> bytes:
    """Return the body of a call as the engine sends it."""
    return encode_json(method.encode_arguments(**arguments))


def _absence(method: Method, line: Line) -> bytes:
    """Return what the plugin would answer if it did not have the method."""
    absent = f"{method.wire}ExtframeCheck"
    return line.call(absent).body.replace(absent.encode(), method.wire.encode())


def nonsense_of(found: Declaration) -> Iterator[Check]:
    """Yield checks of what an extension point makes of calls that make no sense."""
    prefix = found.prefix
    yield Check(
        f"{prefix}: a method that does not exist", "not-found", partial(_call_absent, f"{prefix}.ExtframeCheck")
    )
    methods = [each for each in found.methods if each.wire in HARMLESS and HARMLESS[each.wire].reads]
    for method in methods:
        for name, (rule, nonsense) in _NONSENSE.items():
            yield Check(f"{method.wire}: {name}", rule, partial(_call_nonsense, method, nonsense))
        yield Check(f"{method.wire}: a key that is not known", "unknown-key", partial(_call_with_key, method))
    if not methods:
        yield Check(f"{prefix}: calls that make no sense", "bad-request", partial(_skip, "none would be harmless"))


def _first_key(method: Method) -> str:
    return method.request.__struct_encode_fields__[0]


_NONSENSE: Mapping[str, tuple[str, Callable[[Method], bytes]]] = {
    "JSON that breaks off": ("bad-request", lambda method: b'{"%b": ' % _first_key(method).encode()),
    "a list for an object": ("bad-request", lambda method: b"[]\n"),
    "an object for a text": ("bad-request", lambda method: b'{"%b": {}}\n' % _first_key(method).encode()),
    "no body": ("empty-body", lambda method: b""),
}


def _call_nonsense(method: Method, nonsense: Callable[[Method], bytes], line: Line) -> Outcome:
    return judge_malformed(method, line.call(method.wire, nonsense(method)))


def _call_with_key(method: Method, line: Line) -> Outcome:
    body = body_of(method, HARMLESS[method.wire].arguments)
    expected = line.call(method.wire, body).status
    status = line.call(method.wire, body.replace(b"{", b'{"ExtframeCheck":[1],', 1)).status
    return passed() if status == expected else failed(f"status {status} with it, and {expected} without")


def _call_absent(wire: str, line: Line) -> Outcome:
    answer = line.call(wire, b"{}\n")
    if answer.status == 404:
        return passed()
    if answer.status < 400:
        return failed(f"status {answer.status}: {excerpt(answer.body, 80)}")
    return warned(f"status {answer.status}: {excerpt(answer.body, 80)}")
