"""Authz: what the engine sends, what decides, and a chain of plugins that fails closed."""

from __future__ import annotations

import pytest
from scripted_client import DriverClient, ScriptedClient

from extframe.errors import ConnectError, RemoteError
from extframe.interface import routes
from extframe.subsystems.authz import BODY_LIMIT, Authz, AuthzChain, AuthzRequest, AuthzResponse

REQUEST = AuthzRequest(
    user="alice",
    user_authn_method="TLS",
    request_method="POST",
    request_uri="/v1.41/volumes/create?a=1&b=<2>",
    request_body=b'{"Name":"a"}',
    request_headers={"Content-Type": "application/json"},
    request_peer_certificates=[b"-----BEGIN CERTIFICATE-----\n"],
)
REQUEST_JSON = (
    b'"User":"alice","UserAuthNMethod":"TLS","RequestMethod":"POST","RequestUri":"/v1.41/volumes/create?a=1&b=<2>",'
    b'"RequestBody":"eyJOYW1lIjoiYSJ9","RequestHeaders":{"Content-Type":"application/json"},'
    b'"RequestPeerCertificates":["LS0tLS1CRUdJTiBDRVJUSUZJQ0FURS0tLS0tCg=="]'
)


def driver(*replies: object, status: int = 200) -> tuple[Authz, ScriptedClient]:
    client = ScriptedClient(*replies, status=status)
    return Authz.remote(client), client


# --- the calls ----------------------------------------------------------------------------------------


def test_a_request_has_what_is_set_and_the_headers_which_plugins_rely_on():
    authz, client = driver()
    authz.authz_req()
    assert (client.last.method, client.last.body) == ("AuthZPlugin.AuthZReq", b'{"RequestHeaders":{}}\n')
    authz.authz_res(request_method="GET", response_status_code=200)
    assert client.last.method == "AuthZPlugin.AuthZRes"
    assert client.last.body == b'{"RequestMethod":"GET","RequestHeaders":{},"ResponseStatusCode":200}\n'


def test_a_whole_request_is_byte_for_byte_what_the_engine_sends():
    authz, client = driver()
    authz.authz_req(
        user="alice",
        user_authn_method="TLS",
        request_method="POST",
        request_uri=REQUEST.request_uri,
        request_body=b'{"Name":"a"}',
        request_headers={"Content-Type": "application/json"},
        request_peer_certificates=REQUEST.request_peer_certificates,
    )
    assert client.last.body == b"{" + REQUEST_JSON + b"}\n"


@pytest.mark.parametrize(
    ("reply", "verdict"),
    [
        ({"Allow": True, "Msg": "", "Err": ""}, AuthzResponse(allow=True)),
        ({"allow": True}, AuthzResponse(allow=True)),
        ({"Allow": False, "Msg": "no entry"}, AuthzResponse(msg="no entry")),
        ({}, AuthzResponse()),
        (b"null", AuthzResponse()),
        ({"Allow": None}, AuthzResponse()),
    ],
)
def test_only_allow_decides_and_a_missing_one_denies(reply, verdict):
    assert driver(reply)[0].authz_req() == verdict


def test_an_err_next_to_the_verdict_does_not_change_it():
    assert driver({"Allow": True, "Err": "ignored?"})[0].authz_req() == AuthzResponse(allow=True, err="ignored?")


@pytest.mark.parametrize(("reply", "status"), [({"Allow": True}, 500), ({"Err": "x"}, 500), (b"404 page", 404)])
def test_a_status_other_than_200_is_an_error_whatever_else_is_said(reply, status):
    with pytest.raises(RemoteError):
        driver(reply, status=status)[0].authz_req()


class Policy(Authz):
    def __init__(self, verdict: AuthzResponse) -> None:
        self.verdict = verdict
        self.asked: list[dict] = []

    def authz_req(self, **request) -> AuthzResponse:
        self.asked.append(request)
        return self.verdict

    def authz_res(self, **request) -> AuthzResponse:
        return self.authz_req(**request)


def test_a_verdict_is_written_with_an_explicit_allow():
    """An engine takes a missing one for a denial; a reader of the log should not have to know that."""
    method, _ = routes(Policy(AuthzResponse()))["AuthZPlugin.AuthZReq"]
    assert method.encode_reply(AuthzResponse()) == b'{"Allow":false}\n'
    assert method.encode_reply(AuthzResponse(allow=True)) == b'{"Allow":true}\n'


def test_both_ends_understand_each_other():
    policy = Policy(AuthzResponse(allow=True))
    chain = AuthzChain({"policy": Authz.remote(DriverClient(policy))})
    assert chain.check_request(REQUEST).allow
    (asked,) = policy.asked
    assert asked == {name: value for name, value in vars(REQUEST).items() if not name.startswith("response")}


# --- the chain ----------------------------------------------------------------------------------------

YES, NO = AuthzResponse(allow=True), AuthzResponse(allow=False, msg="no entry")


def test_a_chain_allows_what_all_its_plugins_allow():
    one, two = Policy(YES), Policy(YES)
    chain = AuthzChain({"one": one, "two": two})
    assert chain.check_request(REQUEST) == chain.check_response(REQUEST) == YES
    assert len(one.asked) == len(two.asked) == 2
    assert AuthzChain({}).check_request(REQUEST) == YES


def test_the_first_denial_ends_the_chain_and_is_its_message():
    one, two, three = Policy(YES), Policy(NO), Policy(AuthzResponse(allow=False, msg="me too"))
    verdict = AuthzChain({"one": one, "two": two, "three": three}).check_request(REQUEST)
    assert verdict == AuthzResponse(allow=False, msg="authorization denied by plugin two: no entry")
    assert three.asked == []


def test_a_denial_without_a_message_has_the_plugins_error_if_there_is_one():
    def words(verdict: AuthzResponse) -> str:
        return AuthzChain({"one": Policy(verdict)}).check_request(REQUEST).msg

    assert words(AuthzResponse(err="no database")) == "authorization denied by plugin one: no database"
    assert words(AuthzResponse()) == "authorization denied by plugin one: "


def broken(error: Exception) -> Authz:
    class Broken(Authz):
        def authz_req(self, **request) -> AuthzResponse:
            raise error

        authz_res = authz_req

    return Broken()


@pytest.mark.parametrize(
    "error", [RemoteError("some error", status=500), ConnectError("gone"), ZeroDivisionError("gone")]
)
def test_a_plugin_that_fails_denies(error):
    chain = AuthzChain({"one": broken(error), "two": Policy(YES)})
    for verdict in (chain.check_request(REQUEST), chain.check_response(REQUEST)):
        assert verdict == AuthzResponse(allow=False, msg=f"plugin one failed with error: {error}")


@pytest.mark.parametrize("reply", [b"", b"[]", b"<html>", {"Allow": "yes"}, {"Allow": 1}])
def test_an_invalid_reply_denies(reply):
    assert not AuthzChain({"one": driver(reply)[0]}).check_request(REQUEST).allow


def test_a_body_over_the_limit_is_denied_without_calling_a_plugin():
    policy = Policy(YES)
    chain = AuthzChain({"one": policy}, body_limit=10)
    assert chain.check_request(AuthzRequest(request_body=b"x" * 10)).allow
    assert chain.check_response(AuthzRequest(response_body=b"x" * 10)).allow
    assert len(policy.asked) == 2
    for verdict in (
        chain.check_request(AuthzRequest(request_body=b"x" * 11)),
        chain.check_response(AuthzRequest(request_body=b"x" * 11)),
        chain.check_response(AuthzRequest(response_body=b"x" * 11)),
    ):
        assert verdict == AuthzResponse(
            allow=False, msg="the body has 11 bytes, and authorization plugins see at most 10"
        )
    assert len(policy.asked) == 2


def test_the_limit_is_that_of_the_engine():
    chain = AuthzChain({"one": Policy(YES)})
    assert chain.check_request(AuthzRequest(request_body=b"x" * BODY_LIMIT)).allow
    assert not chain.check_request(AuthzRequest(request_body=b"x" * (BODY_LIMIT + 1))).allow


def test_a_response_is_judged_with_the_request_it_answers():
    authz, client = driver({"Allow": True})
    answered = AuthzRequest(**{**vars(REQUEST), "response_status_code": 201, "response_body": b"{}"})
    AuthzChain({"one": authz}).check_response(answered)
    assert client.last.body == b"{" + REQUEST_JSON + b',"ResponseStatusCode":201,"ResponseBody":"e30="}\n'
