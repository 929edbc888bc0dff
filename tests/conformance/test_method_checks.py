"""What a plugin returns: each fault is found and named, and no host's tolerance is a failure."""

from __future__ import annotations

import json

import pytest
from conformance_runs import faults, implementing, run, with_verdict
from faultserver import Peer, reply
from scripted_plugin import answers, error, ok, scripted

from extframe.conformance import Verdict

GET, LIST, CAPABILITIES = "VolumeDriver.Get", "VolumeDriver.List", "VolumeDriver.Capabilities"
PATH, REMOVE = "VolumeDriver.Path", "VolumeDriver.Remove"
ACTIVATE, UNKNOWN = "Plugin.Activate", "VolumeDriver: an unknown method"
NOT_FOUND = error("what?", "404 Not Found")  # also what the scripted plugin returns for unknown methods
TEXT_400 = reply(b"EOF\n", status="400 Bad Request", headers="Content-Type: text/plain\r\n")


def listing(*volumes: object) -> bytes:
    return ok({"Volumes": volumes})


@pytest.mark.parametrize(
    ("check", "verdict", "words", "changed", "answer"),
    [
        ("handshake", "fail", "status 500", ACTIVATE, error("starting")),
        ("handshake", "fail", "the response is empty", ACTIVATE, reply(b"")),
        ("handshake", "fail", "not JSON", ACTIVATE, reply(b"VolumeDriver")),
        ("handshake", "fail", "Implements is empty", ACTIVATE, ok({"Implements": None})),
        ("handshake", "warn", "twice", ACTIVATE, implementing("VolumeDriver", "VolumeDriver")),
        ("names in Implements", "fail", "'volumedriver': no host", ACTIVATE, implementing("volumedriver")),
        ("names in Implements", "note", "Backup", ACTIVATE, implementing("Backup")),
        ("no MetricsCollector", "warn", "managed", ACTIVATE, implementing("MetricsCollector")),
        (UNKNOWN, "note", "status 200", "absent", ok({})),
        (UNKNOWN, "note", "status 500", "absent", error("what?")),
        (LIST, "fail", "Volumes[1] is null", LIST, listing({"Name": "a"}, None)),
        (LIST, "warn", "no Name", LIST, listing({"Mountpoint": "/x"})),
        (LIST, "fail", "CreatedAt ''", LIST, listing({"Name": "a", "Mountpoint": "x", "CreatedAt": ""})),
        (LIST, "warn", "not absolute", LIST, listing({"Name": "a", "Mountpoint": "x"})),
        (LIST, "fail", "Expected", LIST, ok({"Volumes": {}})),
        (LIST, "fail", "empty body", LIST, reply(b"")),
        (LIST, "fail", "status 204", LIST, reply(b"", status="204 No Content")),
        (LIST, "fail", "status 500", LIST, error("disk on fire")),
        (LIST, "fail", "not implemented", LIST, error("what?", "404 Not Found")),
        (LIST, "warn", "podman reads it as success", LIST, ok({"Err": "disk on fire"})),
        (CAPABILITIES, "warn", "assumes local", CAPABILITIES, ok({"Capabilities": {"Scope": "all"}})),
        (CAPABILITIES, "note", "better 404", CAPABILITIES, error("no")),
        (GET, "fail", "hosts do not create it", GET, ok({"Volume": {"Name": "a"}})),
        (GET, "pass", "no volume", GET, ok({})),
        (GET, "pass", "no volume: null", GET, reply(b"null")),
        (GET, "pass", "no such volume", GET, ok({"Err": "no such volume"})),
        (GET, "warn", "a volume and an error", GET, ok({"Volume": {"Name": "a"}, "Err": "no"})),
        (GET, "warn", "text instead of", GET, reply(b"no", status="500 Oh")),
        (GET, "warn", "without a message", GET, reply(b"{}", status="500 Oh")),
        (GET, "warn", "status 302", GET, reply(b"", status="302 Found")),
        (GET, "note", "text instead of", GET, TEXT_400),
        (PATH, "note", "a path for an unknown volume", PATH, ok({"Mountpoint": "/mnt/x"})),
        (PATH, "pass", "no path", PATH, ok({})),
        (PATH, "pass", "not implemented", PATH, NOT_FOUND),
        (REMOVE, "warn", "Error only", REMOVE, reply(b'{"Error": "no"}', status="500 Oh")),
        (REMOVE, "warn", "podman reads it as success", REMOVE, ok({"Err": "no"})),
        (REMOVE, "fail", "status 204", REMOVE, reply(b"", status="204 No Content")),
        (f"{GET}: truncated JSON", "warn", "status 200", GET, ok({"Volume": {"Name": ""}})),
        (f"{GET}: truncated JSON", "note", "text instead of", GET, TEXT_400),
        (f"{GET}: an object instead of a string", "note", "instead of 400", GET, error("no such volume")),
        (f"{GET}: no body", "pass", "no volume", GET, ok({})),
        (f"{GET}: no body", "warn", "status 200", GET, ok({"Volume": {"Name": ""}})),
        (f"{GET}: no body", "note", "instead of 400", GET, error("EOF")),
        ("content types of all responses", "note", "(none)", LIST, reply(b"{}")),
        ("sizes of all responses", "warn", "2097", LIST, ok({"Padding": "x" * (2 << 20)})),
    ],
)
def test_what_a_plugin_returns_is_judged_by_what_hosts_do_with_it(fault_server, check, verdict, words, changed, answer):
    result = run(fault_server(scripted({changed: answer})).address)[check]
    assert (result.verdict.value, words in result.reason) == (verdict, True), result


@pytest.mark.parametrize(
    ("point", "method", "answer", "verdict", "words"),
    [
        ("IpamDriver", "IpamDriver.ReleasePool", ok({"Err": "x"}), "fail", "reads Error only"),
        ("IpamDriver", "IpamDriver.ReleasePool", ok({"Error": "x"}), "pass", "'x'"),
        ("IpamDriver", "IpamDriver.ReleasePool", NOT_FOUND, "warn", "logs the error"),
        ("NetworkDriver", "NetworkDriver.GetCapabilities", ok({"Scope": "Local"}), "fail", "'Local'"),
        ("NetworkDriver", "NetworkDriver.EndpointOperInfo", NOT_FOUND, "pass", "not implemented"),
        ("NetworkDriver", "NetworkDriver.EndpointOperInfo", reply(b"no", status="500 Oh"), "note", "text instead of"),
        ("NetworkDriver", "NetworkDriver.Leave", NOT_FOUND, "warn", "logs the error"),
        ("authz", "AuthZPlugin.AuthZReq", ok({}), "note", "no Allow"),
        ("authz", "AuthZPlugin.AuthZReq", ok({"Allow": True, "Err": "broken"}), "warn", "does not read Err in a 200"),
        ("authz", "AuthZPlugin.AuthZReq", error("no certificate"), "warn", "refused: no certificate"),
        ("authz", "AuthZPlugin.AuthZReq", NOT_FOUND, "fail", "not implemented"),
        ("LogDriver", "LogDriver.Capabilities", ok({"ReadLogs": True}), "warn", "outside of Cap"),
        ("secretprovider", "SecretProvider.GetSecret", ok({"Value": "eA=="}), "note", "for an unknown name"),
    ],
)
def test_other_extension_points_are_judged_so_too(fault_server, point, method, answer, verdict, words):
    server = fault_server(scripted({ACTIVATE: implementing(point), method: answer}))
    result = run(server.address)[method]
    assert (result.verdict.value, words in result.reason) == (verdict, True), result


def test_an_endpoint_oper_info_that_is_missing_is_not_reported_again_for_invalid_requests(fault_server):
    missing = {
        ACTIVATE: implementing("NetworkDriver"),
        "absent": reply(b"404 page not found\n", status="404 Not Found"),
    }
    results = run(fault_server(scripted(missing)).address)
    about = {name: result.verdict for name, result in results.items() if name.startswith("NetworkDriver.EndpointOperI")}
    assert about.pop("NetworkDriver.EndpointOperInfo") is Verdict.PASS
    assert about.pop("NetworkDriver.EndpointOperInfo: a body in two pieces") is Verdict.PASS
    assert about.pop("NetworkDriver.EndpointOperInfo: an unknown key") is Verdict.PASS
    assert set(about.values()) == {Verdict.SKIP}


def test_authorization_plugins_get_the_headers_that_dockerd_always_sends(fault_server):
    def decide(request) -> bytes:
        try:
            agent = json.loads(request.body)["RequestHeaders"]["User-Agent"]
        except (ValueError, KeyError, TypeError):
            return error("panic", "400 Bad Request")
        return ok({"Allow": agent.startswith("Docker-Client/")})

    drivers = {"AuthZPlugin.AuthZReq": decide, "AuthZPlugin.AuthZRes": decide}
    results = run(fault_server(scripted({ACTIVATE: implementing("authz"), **drivers})).address)
    assert faults(results) == {}
    assert results["AuthZPlugin.AuthZReq"].reason == results["AuthZPlugin.AuthZRes"].reason == "allowed"


@pytest.mark.parametrize(("allow", "verdict"), [(True, "fail"), (False, "pass")])
def test_an_authorization_without_a_request_fails_if_it_allows(fault_server, allow, verdict):
    asked = {"AuthZPlugin.AuthZReq": ok({"Allow": allow})}
    results = run(fault_server(scripted({ACTIVATE: implementing("authz"), **asked})).address)
    assert results["AuthZPlugin.AuthZReq: no body"].verdict.value == verdict
    assert results["AuthZPlugin.AuthZReq: an object instead of a string"].verdict is not Verdict.FAIL


def test_a_response_that_ends_too_early_fails(fault_server):
    def behaviour(peer: Peer) -> None:
        while request := peer.read_request():
            if request.path == f"/{LIST}":
                peer.send(b"HTTP/1.1 200 OK\r\nContent-Length: 100\r\n\r\n{}")
                return
            peer.send(answers({})(request))

    failed = with_verdict(run(fault_server(behaviour).address), Verdict.FAIL)
    assert set(failed) == {LIST}
    assert "before the announced end of the body" in failed[LIST]


def test_an_unknown_key_that_is_refused_is_a_warning_as_no_host_sends_one(fault_server):
    def strict(request) -> bytes:
        return error("what?", "400 Bad Request") if b"ExtframeCheck" in request.body else error("no such volume")

    results = run(fault_server(scripted({"VolumeDriver.Get": strict})).address)
    assert with_verdict(results, Verdict.WARN) == {
        "VolumeDriver.Get: an unknown key": "status 400 with it, 500 without"
    }
    assert with_verdict(results, Verdict.FAIL) == {}


def test_the_plugins_own_words_are_whole_in_a_reason(fault_server):
    words = f"cannot list: {'reason ' * 200}the last word"
    for status in ("500 Internal Server Error", "200 OK"):
        answer = reply(json.dumps({"Err": words}).encode(), status=status)
        results = run(fault_server(scripted({LIST: answer, REMOVE: answer})).address)
        assert words in results[LIST].reason
        assert words in results[REMOVE].reason


def test_a_plugin_that_answers_as_those_made_with_go_plugins_helpers_do_gets_no_warning(fault_server):
    """As recorded: GET is served as POST is, and errors about bodies are text with status 400."""
    helpers = "Content-Type: application/vnd.docker.plugins.v1.1+json\r\n"

    def get(request) -> bytes:
        try:
            name = json.loads(request.body)["Name"]
        except ValueError:
            return TEXT_400
        except (KeyError, TypeError):
            name = ""
        if not isinstance(name, str):
            return TEXT_400
        return reply(b'{"Err": "no such volume"}\n', status="500 Internal Server Error", headers=helpers)

    page = reply(b"404 page not found\n", status="404 Not Found", headers="Content-Type: text/plain\r\n")
    results = run(fault_server(scripted({GET: get, "GET": implementing("VolumeDriver"), "absent": page})).address)
    assert with_verdict(results, Verdict.WARN, Verdict.FAIL) == {}
    assert set(with_verdict(results, Verdict.NOTE)) >= {"GET", f"{GET}: no body", f"{GET}: truncated JSON"}
