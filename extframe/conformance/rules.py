"""Verdicts, results, and the rules that plugins are checked against, each with its source. No I/O."""

from __future__ import annotations

import enum
from collections.abc import Mapping
from dataclasses import dataclass


class Verdict(str, enum.Enum):
    """The verdict of a check.

    PASS: the plugin follows the rule. NOTE: it differs from the recommendation, and no host is affected. WARN: every
    host works, but a host or a client shows less than it could, or fails in a rare case. FAIL: dockerd, podman or
    extframe fails. SKIP: the check did not run; the reason says why.
    """

    PASS = "pass"
    NOTE = "note"
    WARN = "warn"
    FAIL = "fail"
    SKIP = "skip"

    @property
    def severity(self) -> int:
        """A number to compare verdicts by: 0 (pass, skip), 1 (note), 2 (warn), 3 (fail)."""
        return _SEVERITIES.get(self, 0)


_SEVERITIES = {Verdict.NOTE: 1, Verdict.WARN: 2, Verdict.FAIL: 3}


@dataclass(frozen=True)
class Rule:
    """A rule of the protocol.

    Args:
        text: what a plugin does.
        source: the code, document or standard that makes it a rule.
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
_SETTINGS = "extframe docs, settings"
_HTTP = "RFC 9110 and 9112"

RULES: Mapping[str, Rule] = {
    "handshake": Rule('Plugin.Activate returns 200 and {"Implements": [...]}; the engine asks only once', _PLUGINS),
    "handshake-again": Rule("Plugin.Activate always returns the same: every podman command calls it", _PODMAN),
    "known-points": Rule("names in Implements are case-sensitive; hosts ignore names they do not know", _PLUGINS),
    "metrics": Rule("only a managed plugin lists MetricsCollector: for others the engine deadlocks", _PLUGINS),
    "engine-headers": Rule("a request has no Content-Type and, up to 24.0.4, an empty Host header", _CLIENT),
    "podman-headers": Rule("a request has podman's Content-Type and Host headers, and no Accept header", _PODMAN),
    "content-type": Rule("responses have a JSON content type, though no engine reads it", "docker docs, plugin API"),
    "answer-size": Rule("responses are small: the engine reads them whole, without a limit", _CLIENT),
    "keep-alive": Rule("a connection stays open, or the response says Connection: close", _CLIENT),
    "idle": Rule("an idle connection does not block other connections: the engine keeps two of them", _CLIENT),
    "silent": Rule("a connection that sends nothing does not block other connections", _CLIENT),
    "concurrent": Rule("several hosts and containers call at the same time", _CLIENT),
    "pieces": Rule("a request may arrive in pieces", _HTTP),
    "body-pieces": Rule("a body may arrive in pieces: hosts send one over 4 KiB so", _CLIENT),
    "upgrade": Rule("an Upgrade header may be ignored, and does not lose the request", _HTTP),
    "half-close": Rule("a client that closes its sending side after the request still gets the response", _HTTP),
    "not-found": Rule("an unknown method returns 404, which hosts read as not implemented", _CLIENT),
    "post-only": Rule("calls are POST requests; other methods return an error, best 405", _CLIENT),
    "bad-request": Rule('an invalid body returns an error, best 400 and {"Err": ...}', _CLIENT),
    "empty-body": Rule("a missing body returns an error: the engine loses the body when it retries", _CLIENT),
    "unknown-key": Rule("unknown keys are ignored: later engines send more", _CLIENT),
    "settings-points": Rule("Settings lists extension points of Implements that take settings", _SETTINGS),
    "settings": Rule("Plugin.Configure refuses settings that it does not know, best with 400", _SETTINGS),
    "schema": Rule("each response has the schema of its method", "the OpenAPI document of the interface"),
    "survives": Rule("an invalid request affects only its own connection", _HTTP),
    "status": Rule("success is status 200 with a JSON object; an empty body is an error", _CLIENT),
    "error": Rule('an error is status 500 and {"Err": "..."}: podman reads Err only there', _BOTH),
    "ipam-error": Rule("IPAM: hosts read Err if the status is not 200, and Error if it is", _IPAM),
    "volume-list": Rule("Volumes has no null elements: they crash the engine and podman", _VOLUMES),
    "volume-object": Rule("a volume has a Name, no relative Mountpoint, and CreatedAt in RFC 3339 or none", _VOLUMES),
    "unknown-volume": Rule("Get of an unknown volume returns no volume: only then hosts create it", _VOLUMES),
    "network-scope": Rule("GetCapabilities returns the Scope local or global, in lower case", _NETWORK),
    "address-spaces": Rule("GetDefaultAddressSpaces succeeds, or the engine does not register the driver", _IPAM),
    "authz": Rule("Allow alone decides; the engine does not read Err in a 200", "moby pkg/authorization"),
    "log-capability": Rule("capabilities are inside Cap; the engine reads them only there", "moby daemon/logger"),
    "unknown-id": Rule("an unknown name or ID returns an error or success", "moby, the caller of each method"),
    "create-again": Rule("Create of an existing volume succeeds: the engine may repeat the call", _CLIENT),
    "mount-path": Rule("Mount returns an absolute path: else hosts mount the container's own bundle", _VOLUMES),
    "mount-id": Rule("the same ID may mount twice and then unmounts twice: docker cp does so", "moby volume/mounts"),
    "safe-names": Rule("a volume name is not a path: engines let ../x through", "moby volume/service/store.go"),
    "created": Rule("what was created can be used, listed and removed", "moby, the caller of each method"),
    "endpoint": Rule("CreateEndpoint returns only addresses that the host did not set", _NETWORK),
    "log-lines": Rule("ReadLogs returns what was logged, each line with its newline", "moby daemon/logger"),
    "pool": Rule("pools and addresses are in CIDR form, and can be released", _IPAM),
}  # fmt: skip


@dataclass(frozen=True)
class Outcome:
    """A verdict and its reason."""

    verdict: Verdict
    reason: str = ""


def passed(reason: str = "") -> Outcome:
    """Return an outcome with the verdict PASS."""
    return Outcome(Verdict.PASS, reason)


def noted(reason: str) -> Outcome:
    """Return an outcome with the verdict NOTE: no host is affected."""
    return Outcome(Verdict.NOTE, reason)


def warned(reason: str) -> Outcome:
    """Return an outcome with the verdict WARN: it works, with less than it could or not in a rare case."""
    return Outcome(Verdict.WARN, reason)


def failed(reason: str) -> Outcome:
    """Return an outcome with the verdict FAIL: a host fails."""
    return Outcome(Verdict.FAIL, reason)


def skipped(reason: str) -> Outcome:
    """Return an outcome with the verdict SKIP: the check did not run."""
    return Outcome(Verdict.SKIP, reason)


@dataclass(frozen=True)
class Result:
    """The result of one check.

    Args:
        check: the name of the check.
        verdict: its verdict.
        reason: why, if there is more to say. An error message of the plugin's is in it, unshortened.
        rule: the rule that was checked.
    """

    check: str
    verdict: Verdict
    reason: str
    rule: Rule

    def as_json(self) -> dict[str, object]:
        """Return it as a JSON object: ``check``, ``verdict``, ``reason``, and ``rule`` with ``text`` and ``source``."""
        return {
            "check": self.check,
            "verdict": self.verdict.value,
            "reason": self.reason,
            "rule": {"text": self.rule.text, "source": self.rule.source},
        }
