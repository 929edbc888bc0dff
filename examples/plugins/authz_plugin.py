"""An authorization plugin: a policy file says who may do what with Docker's engine.

The policy is read at every request, so that a change counts at once; one that cannot be read denies everything.
The first rule that fits decides, and what no rule fits is denied:

    {"rules": [
        {"allow": true,  "users": ["admin"]},
        {"allow": false, "methods": ["POST"], "paths": ["/containers/create"], "body": "'Privileged':true",
         "message": "no privileged containers"},
        {"allow": true,  "methods": ["GET", "HEAD"]},
        {"allow": true,  "paths": ["/containers/*", "/volumes/*", "/_ping"]}
    ]}

    python authz_plugin.py /etc/docker/policy.json
    dockerd --authorization-plugin=policy
"""

from __future__ import annotations

import argparse
import fnmatch
import json
import logging
import posixpath
import re
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from urllib.parse import unquote, urlsplit

from extframe.server import serve
from extframe.subsystems.authz import Authz, AuthzResponse

logger = logging.getLogger("policy")


@dataclass(frozen=True)
class Rule:
    """A line of the policy. What it leaves out fits everything.

    Args:
        allow: what it decides.
        users: common names of clients' certificates.
        methods: ``GET`` and so on.
        paths: without the API's version, ``*`` matches anything.
        body: a regular expression to search for in the request's JSON, ignoring case. The JSON is first normalised:
            without white space and with ' instead of ", so that another spelling does not evade the rule.
        message: the reason, for the user.
    """

    allow: bool
    users: tuple[str, ...] = ("*",)
    methods: tuple[str, ...] = ("*",)
    paths: tuple[str, ...] = ("*",)
    body: str = ""
    message: str = "the policy does not allow it"

    def fits(self, user: str, method: str, path: str, body: str) -> bool:
        """Whether it decides on such a request."""
        return (
            _fits(user, self.users)
            and _fits(method, self.methods)
            and _fits(path, self.paths)
            and (not self.body or re.search(self.body, body, re.IGNORECASE) is not None)
        )


def _fits(value: str, patterns: tuple[str, ...]) -> bool:
    return any(fnmatch.fnmatchcase(value, pattern) for pattern in patterns)


NOT_ALLOWED = Rule(allow=False)


def read_rule(keys: dict[str, Any]) -> Rule:
    """Return a rule from its entry in the policy file."""
    lists: dict[str, Any] = {key: tuple(value) for key, value in keys.items() if isinstance(value, list)}
    return Rule(**{**keys, **lists})


class Policy(Authz):
    """Verdicts by a policy file."""

    def __init__(self, file: Path) -> None:
        self.file = file
        self.rules()  # a policy that cannot be read shall be seen at the start

    def rules(self) -> list[Rule]:
        """Read the policy."""
        policy = json.loads(self.file.read_bytes())
        return [read_rule(rule) for rule in policy["rules"]]

    def authz_req(self, *_: Any, **request: Any) -> AuthzResponse:
        """Return whether a request may be carried out."""
        user, method, path = request["user"], request["request_method"], api_path(request["request_uri"])
        try:
            body = readable(request["request_body"], request["request_headers"])
            rule = next((rule for rule in self.rules() if rule.fits(user, method, path, body)), NOT_ALLOWED)
        except ValueError as unclear:
            rule = Rule(allow=False, message=str(unclear))
        if rule.allow:
            return AuthzResponse(allow=True)
        logger.info("denied %s %s to %r: %s", method, path, user, rule.message)
        return AuthzResponse(allow=False, msg=rule.message)

    def authz_res(self, *_: Any, **request: Any) -> AuthzResponse:
        """Return that the answer may be seen: what was asked for is done by now."""
        return AuthzResponse(allow=True)


def api_path(uri: str) -> str:
    """Return the path of a request without the API's version, and without the tricks that would slip past a rule.

    >>> api_path("/v1.41/containers/create?name=x"), api_path("//containers/./%63reate"), api_path("/v1.41/_ping")
    ('/containers/create', '/containers/create', '/_ping')
    """
    path = posixpath.normpath("/" + unquote(urlsplit("http://engine/" + uri.lstrip("/")).path).lstrip("/"))
    return re.sub(r"^/v\d+(\.\d+)*(?=/)", "", path)


def readable(body: bytes, headers: dict[str, str]) -> str:
    """Return a request's JSON in the one form that rules are written for.

    >>> readable(b'{"HostConfig" : {"Privileged": true}}', {})
    "{'HostConfig':{'Privileged':true}}"

    Raises:
        ValueError: it is not JSON, or the engine omitted it because it is too large.
    """
    if not body:
        kind = headers.get("Content-Type", "").partition(";")[0].strip()
        if kind == "application/json" and headers.get("Content-Length") != "0":
            raise ValueError("the request's body is too large to be judged")
        return ""
    return json.dumps(json.loads(body), separators=(",", ":"), ensure_ascii=False).replace('"', "'")


def main() -> None:
    """Serve the verdicts of a policy file."""
    parser = argparse.ArgumentParser(description="An authorization plugin that follows a policy file.")
    parser.add_argument("policy", type=Path, help="the policy, JSON")
    parser.add_argument("--name", default="policy", help="the plugin's name")
    parser.add_argument("--directory", default="/run/docker/plugins", help="where its socket is made")
    options = parser.parse_args()
    serve(Policy(options.policy), name=options.name, directory=options.directory)


if __name__ == "__main__":
    main()
