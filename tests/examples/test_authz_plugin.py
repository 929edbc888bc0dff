"""The example authorization plugin: rules, the ways around them, and policies that cannot be read."""

from __future__ import annotations

import base64
import doctest
import json

import pytest
from wire import Wire

from extframe.server import serving

RULES = [
    {"allow": True, "users": ["admin"]},
    {
        "allow": False,
        "methods": ["POST"],
        "paths": ["/containers/create"],
        "body": "'Privileged':true",
        "message": "no privileged containers",
    },
    {"allow": True, "methods": ["GET", "HEAD"]},
    {"allow": True, "paths": ["/containers/*", "/_ping"]},
]


@pytest.fixture(scope="module")
def module(example):
    return example("authz_plugin")


@pytest.fixture
def file(short_path):
    path = short_path / "policy.json"
    path.write_text(json.dumps({"rules": RULES}))
    return path


@pytest.fixture
def ask(module, file):
    """A function that asks the plugin as Docker's engine does."""
    with serving(module.Policy(file)) as plugin, Wire(plugin.address) as wire:

        def request(method, uri, body=b"", user="", headers=None):
            known = {"RequestMethod": method, "RequestUri": uri, "RequestHeaders": headers or {}}
            if user:
                known |= {"User": user, "UserAuthNMethod": "TLS"}
            if body:
                known["RequestBody"] = base64.b64encode(body).decode()
            return wire.post("AuthZPlugin.AuthZReq", known)

        request.wire = wire
        yield request


def create(**host_config) -> bytes:
    return json.dumps({"Image": "alpine", "HostConfig": host_config}).encode()


def test_the_first_rule_that_fits_decides(ask):
    assert ask("GET", "/v1.41/info").json == {"Allow": True}
    assert ask("POST", "/v1.41/containers/create", create()).json == {"Allow": True}
    denied = ask("POST", "/v1.41/containers/create", create(Privileged=True)).json
    assert denied == {"Allow": False, "Msg": "no privileged containers"}
    assert ask("POST", "/v1.41/containers/create", create(Privileged=True), user="admin").json == {"Allow": True}


def test_what_no_rule_fits_is_denied(ask):
    assert ask("POST", "/v1.41/volumes/prune").json == {"Allow": False, "Msg": "the policy does not allow it"}


@pytest.mark.parametrize(
    "uri",
    [
        "/containers/create",
        "/v1.24/containers/create",
        "/v1.41/containers/create?name=x",
        "//v1.41//containers/create",
        "/v1.41/containers/./create",
        "/v1.41/images/../containers/create",
        "/v1.41/containers/%63reate",
        "/v1.41/containers/create/",
    ],
)
@pytest.mark.parametrize(
    "body",
    [
        create(Privileged=True),
        b'{"HostConfig":{"Privileged"\n:\ttrue}}',
        b'{"hostconfig":{"privileged":true}}',
        b'{"HostConfig":{"Priv\\u0069leged":true}}',
        b'{"HostConfig":{"Privileged":true}} trailing',
        b'\xff{"HostConfig":{"Privileged":true}}',
    ],
)
def test_spelling_it_otherwise_does_not_slip_past_a_rule(ask, uri, body):
    assert ask("POST", uri, body).json["Allow"] is False


def test_a_body_that_docker_left_out_because_of_its_size_is_denied(ask):
    headers = {"Content-Type": "application/json", "Content-Length": "1048576"}
    denied = ask("POST", "/v1.41/containers/create", headers=headers).json
    assert denied == {"Allow": False, "Msg": "the request's body is too large to be judged"}
    headers = {"Content-Type": "application/json"}  # sent in chunks
    assert ask("POST", "/v1.41/containers/create", headers=headers).json["Allow"] is False
    headers = {"Content-Type": "text/plain", "Content-Length": "0"}
    assert ask("POST", "/v1.41/containers/abc/start", headers=headers).json == {"Allow": True}


def test_a_policy_that_changes_counts_at_once(ask, file):
    assert ask("GET", "/v1.41/info").json == {"Allow": True}
    file.write_text('{"rules": []}')
    assert ask("GET", "/v1.41/info").json["Allow"] is False


@pytest.mark.parametrize("policy", ["", "{", "[]", "{}", '{"rules": [{}]}', '{"rules": [{"allow": true, "who": 1}]}'])
def test_a_policy_that_cannot_be_read_denies_everything(ask, file, policy):
    file.write_text(policy)
    answer = ask("GET", "/v1.41/info", user="admin")
    assert answer.status == 500 or answer.json["Allow"] is False


def test_a_policy_that_cannot_be_read_at_the_start_is_an_error(module, file):
    file.write_text("{}")
    with pytest.raises(KeyError, match="rules"):
        module.Policy(file)


def test_answers_may_be_seen(ask):
    asked = {"RequestMethod": "GET", "RequestUri": "/info", "ResponseStatusCode": 200, "ResponseBody": "e30="}
    assert ask.wire.post("AuthZPlugin.AuthZRes", asked).json == {"Allow": True}


def test_the_examples_in_its_docstrings_give_what_they_say(module):
    assert doctest.testmod(module).failed == 0
