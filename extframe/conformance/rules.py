"""The rules that plugins are checked against, where each is from, and verdicts. Asks nobody."""

from __future__ import annotations

import enum
from collections.abc import Mapping
from dataclasses import dataclass


class Verdict(str, enum.Enum):
    """What a check came to.

    A plugin that fails breaks with a host of today. One that is warned about works, but some host makes less of it
    than it could. What is skipped was not tried, and why stands beside it.
    """

    PASS = "pass"
    WARN = "warn"
    FAIL = "fail"
    SKIP = "skip"


@dataclass(frozen=True)
class Rule:
    """A rule of the protocol.

    Args:
        text: what a plugin does.
        source: whose behaviour makes it a rule.
    """

    text: str
    source: str


_CLIENT = "moby pkg/plugins/client.go"
_PLUGINS = "moby pkg/plugins/plugins.go"
_PODMAN = "podman libpod/plugin/volume_api.go"
_BOTH = f"{_CLIENT}, {_PODMAN}"
_VOLUMES = "moby volume/drivers/adapter.go"
_NETWORK = "moby libnetwork/drivers/remote"
_IPAM = "moby libnetwork/ipams/remote"
_HTTP = "RFC 9110 and 9112"

RULES: Mapping[str, Rule] = {
    "handshake": Rule('Plugin.Activate answers 200 and {"Implements": [...]}, which is kept for good', _PLUGINS),
    "handshake-again": Rule("Plugin.Activate always answers the same: each host and podman command asks", _PODMAN),
    "known-points": Rule("the names in Implements count to the letter; others are passed over", _PLUGINS),
    "metrics": Rule("a plugin that is no managed one does not list MetricsCollector: the engine locks up", _PLUGINS),
    "engine-headers": Rule("a request needs no Content-Type and, up to 24.0.4, comes with an empty Host", _CLIENT),
    "podman-headers": Rule("a request has podman's Content-Type and Host, and no Accept", _PODMAN),
    "content-type": Rule("answers are JSON and say so, though engines do not look", "docker docs, plugin API"),
    "answer-size": Rule("answers are small: the engine reads them whole, without a limit", _CLIENT),
    "keep-alive": Rule("a connection is kept: where one breaks, the call is sent again without its body", _CLIENT),
    "idle": Rule("a silent connection is in nobody's way: the engine keeps two of them", _CLIENT),
    "concurrent": Rule("calls are answered side by side: each container's start makes its own", _CLIENT),
    "pieces": Rule("a request may come in pieces", _HTTP),
    "not-found": Rule("a method that does not exist is 404, which hosts take for not implemented", _CLIENT),
    "post-only": Rule("calls are POST; another method is refused, best with 405", _CLIENT),
    "bad-request": Rule('a body that makes no sense is refused, best with 400 and {"Err": ...}', _CLIENT),
    "empty-body": Rule("a body that is missing is refused: the engine loses it when it sends a call again", _CLIENT),
    "unknown-key": Rule("keys that are not known are passed over: later engines send more", _CLIENT),
    "survives": Rule("what is no request costs only its own connection", _HTTP),
    "status": Rule("status 200 with one JSON object is success; nothing else is, an empty body included", _CLIENT),
    "error": Rule('a failure is status 500 and {"Err": "..."}: podman reads it there alone', _BOTH),
    "ipam-error": Rule("IPAM: Err counts where the status is not 200, and Error where it is", _IPAM),
    "volume-list": Rule("Volumes has no null elements: they end the engine, and podman", _VOLUMES),
    "volume-object": Rule("a volume has a Name, no relative Mountpoint, CreatedAt in RFC 3339 or none", _VOLUMES),
    "unknown-volume": Rule("Get of a volume that does not exist is an error: only then hosts create it", _VOLUMES),
    "network-scope": Rule("GetCapabilities is answered, Scope being local or global to the letter", _NETWORK),
    "address-spaces": Rule("GetDefaultAddressSpaces is answered, or the driver is not registered", _IPAM),
    "authz": Rule("Allow alone decides and is given; Err in a 200 is not read", "moby pkg/authorization"),
    "log-capability": Rule("capabilities stand in Cap; elsewhere they are not read", "moby daemon/logger"),
    "unknown-id": Rule("what is not known is refused, or answered as done", "moby, the caller of each method"),
    "create-again": Rule("Create of what exists is no error: the engine may send it twice", _CLIENT),
    "mount-path": Rule("Mount gives an absolute path: hosts mount the container's own bundle without one", _VOLUMES),
    "mount-id": Rule("the same ID may mount twice and then goes twice: docker cp does that", "moby volume/mounts"),
    "safe-names": Rule("a name is not a path: engines let ../x through", "moby volume/service/store.go"),
    "created": Rule("what was created can be got, listed and removed", _VOLUMES),
    "endpoint": Rule("CreateEndpoint adds addresses, and gives none back that the host has set", _NETWORK),
    "log-lines": Rule("ReadLogs gives back what was logged, each line with its newline", "moby daemon/logger"),
    "pool": Rule("a pool and an address are given in CIDR form, and taken back", _IPAM),
}  # fmt: skip


@dataclass(frozen=True)
class Outcome:
    """What one check came to, and why."""

    verdict: Verdict
    reason: str = ""


def passed(reason: str = "") -> Outcome:
    """Return that all is well."""
    return Outcome(Verdict.PASS, reason)


def warned(reason: str) -> Outcome:
    """Return that it works, but not everywhere or not for ever."""
    return Outcome(Verdict.WARN, reason)


def failed(reason: str) -> Outcome:
    """Return that a host breaks."""
    return Outcome(Verdict.FAIL, reason)


def skipped(reason: str) -> Outcome:
    """Return that it was not tried."""
    return Outcome(Verdict.SKIP, reason)


@dataclass(frozen=True)
class Result:
    """One line of a conformance run.

    Args:
        check: what was tried.
        verdict: what it came to.
        reason: why, where there is more to say.
        rule: what is asked of plugins.
    """

    check: str
    verdict: Verdict
    reason: str
    rule: Rule

    def as_json(self) -> dict[str, object]:
        """Return it for a program to read."""
        return {
            "check": self.check,
            "verdict": self.verdict.value,
            "reason": self.reason,
            "rule": {"text": self.rule.text, "source": self.rule.source},
        }
