"""What authorization plugins are shown of a host's HTTP API: the rules of moby's pkg/authorization."""

from __future__ import annotations

import socket
import ssl
import sys
import threading

import pytest
from certificates import Authority

from extframe import AuthzRequest
from extframe.subsystems.authz import is_body_shown, shown_headers

JSON = {"Content-Type": "application/json"}


@pytest.mark.parametrize(
    ("content_type", "shown"),
    [
        ("application/json", True),
        ("Application/JSON", True),
        (" application/json ; charset=utf-8", True),
        ("application/json;", True),
        ('application/json; profile="a;b\\"c"; charset=utf-8', True),
        ("application/json; charset=utf-8; CHARSET=utf-8", True),
        ("application/json; charset=utf-8; charset=latin-1", False),
        ("application/json; charset", False),
        ("application/json; =utf-8", False),
        ('application/json; charset="utf-8', False),
        ("application/json, text/plain", False),
        ("application/json text/plain", False),
        ("application/json-patch", False),
        ("application/x-tar", False),
        ("application/vnd.docker.raw-stream", False),
        ("text/json", False),
        ("", False),
    ],
)
def test_only_bodies_that_are_json_are_shown(content_type, shown):
    assert is_body_shown("/v1.41/containers/create", {"content-type": content_type}) is shown
    request = AuthzRequest.from_http("POST", "/v1.41/info", {"Content-Type": content_type}, b"{}")
    assert request.request_body == (b"{}" if shown else b"")
    response = request.with_response(200, {"Content-Type": content_type}, b"[]")
    assert response.response_body == (b"[]" if shown else b"")


def test_the_first_content_type_decides():
    assert is_body_shown("/", [("Content-Type", "application/json"), ("Content-Type", "text/plain")])
    assert not is_body_shown("/", [("Content-Type", "text/plain"), ("Content-Type", "application/json")])
    assert not is_body_shown("/", {})


@pytest.mark.parametrize(
    ("uri", "shown"),
    [
        ("/auth", False),
        ("/auth?a=b", False),
        ("/v1.41/auth", False),
        ("/v1.41/auth/optional", False),
        ("/v1/auth", False),
        ("/v1.41%2Fauth", False),
        ("/%61uth", False),
        ("http://localhost/v1.41/auth", False),
        ("/authorize", False),
        ("/v1.41/containers/auth", True),
        ("/containers/auth", True),
        ("/v/auth", True),
        ("/vx/auth", True),
        ("//host/v1.41/info", True),
        ("/v1.41/info?path=/auth", True),
        ("/%zz", False),
        ("/a\nb", False),
        ("//[::1/info", False),
        ("*", True),
    ],
)
def test_no_body_of_the_endpoint_that_takes_passwords_is_shown_and_none_of_an_invalid_uri(uri, shown):
    assert is_body_shown(uri, JSON) is shown
    answered = AuthzRequest.from_http("POST", uri, JSON, b"{}").with_response(200, JSON, b"{}")
    assert (answered.request_body, answered.response_body) == ((b"{}", b"{}") if shown else (b"", b""))


def test_headers_have_gos_names_the_last_value_and_no_credentials():
    headers = [
        ("host", "localhost"),
        ("user-agent", "Docker-Client"),
        ("AUTHORIZATION", "Basic eDp5"),
        ("x-registry-auth", "e30="),
        ("X-Registry-Config", "e30="),
        ("x-meta", "one"),
        ("X-Meta", "two"),
        ("cookie", "a=b"),
        ("transfer-encoding", "chunked"),
        ("trailer", "X-Sum"),
        ("content-md5", "x"),
        ("not a token", "kept as it is"),
    ]
    expected = {
        "User-Agent": "Docker-Client",
        "X-Meta": "two",
        "Cookie": "a=b",
        "Content-Md5": "x",
        "not a token": "kept as it is",
    }
    assert shown_headers(headers) == expected
    response = {"docker-experimental": "false", "Trailer": "X-Sum", "X-Registry-Auth": "e30="}
    assert shown_headers(response, of_response=True) == {"Docker-Experimental": "false", "Trailer": "X-Sum"}


def test_a_request_keeps_what_it_was_when_its_response_is_added():
    request = AuthzRequest.from_http("POST", "/v1.41/volumes/create?x", JSON, b'{"Name":"a"}', user="alice")
    answered = request.with_response(201, JSON, b"{}")
    assert (request.user, request.user_authn_method, request.request_method) == ("alice", "", "POST")
    assert (request.request_uri, request.request_headers) == ("/v1.41/volumes/create?x", JSON)
    assert (request.response_status_code, request.response_body) == (0, b"")
    assert (answered.response_status_code, answered.response_headers, answered.response_body) == (201, JSON, b"{}")
    assert answered.request_body == request.request_body == b'{"Name":"a"}'


@pytest.mark.parametrize("presents", [True, False])
def test_the_client_is_named_by_the_certificate_that_it_presents(tmp_path, presents):
    authority = Authority(tmp_path)
    client = authority.issue("alice", "alice")
    server_context = authority.issue("server", "localhost").server_context()
    server_context.verify_mode = ssl.CERT_OPTIONAL
    server_context.load_verify_locations(authority.ca_file)
    client_context = ssl.create_default_context(cafile=authority.ca_file)
    if presents:
        client_context.load_cert_chain(client.cert_file, client.key_file)
    ours, theirs = socket.socketpair()

    def connect() -> None:
        with client_context.wrap_socket(theirs, server_hostname="localhost") as tls:
            tls.recv(1)

    shake = threading.Thread(target=connect)
    shake.start()
    with server_context.wrap_socket(ours, server_side=True) as tls:
        request = AuthzRequest.from_http("GET", "/info", {}, tls=tls)
        renamed = AuthzRequest.from_http("GET", "/info", {}, tls=tls, user="bob")
    shake.join(30)
    if not presents:
        assert (request.user, request.user_authn_method, request.request_peer_certificates) == ("", "", [])
        return
    assert (request.user, request.user_authn_method) == ("alice", "TLS")
    assert (renamed.user, renamed.user_authn_method) == ("bob", "TLS")
    with open(client.cert_file, "rb") as file:
        assert request.request_peer_certificates[0] == file.read()
    assert len(request.request_peer_certificates) == 1 or sys.version_info >= (3, 13)
