"""GET requests and headers of the caller, by both clients, on real sockets."""

from __future__ import annotations

import io

import msgspec
import pytest
from event_loops import run
from faultserver import answer, close_after_read, successively
from served_client import served_clients

from extframe import AsyncClient
from extframe.errors import ConnectionLost, ProtocolError, RemoteError, SpecError

TOKEN = {"Authorization": "Bearer t0ken"}


@pytest.fixture
def client_of(fault_server):
    yield from served_clients(fault_server)


def both(client, use):
    """Return what ``use`` gets of the client and of an AsyncClient of the same plugin, and the requests of each."""
    results = []
    for each in (use, lambda client: run(lambda: in_loop(client, use))):
        client.server.requests.clear()
        results.append((each(client), list(client.server.requests)))
    return results


async def in_loop(client, use):
    async with AsyncClient(client.address, plugin=client.plugin) as other:
        return await use(other)


def test_get_sends_a_get_request_without_a_body_and_returns_any_json(client_of):
    client = client_of(answer(b'[{"Name": "photos"}]'))
    for result, (request,) in both(client, lambda client: client.get("plugins?all=1")):
        assert result == [{"Name": "photos"}]
        assert request.head == (
            b"GET /plugins?all=1 HTTP/1.1\r\n"
            b"Host: plugin.moby.localhost\r\n"
            b"User-Agent: Go-http-client/1.1\r\n"
            b"Accept: application/vnd.docker.plugins.v1.2+json\r\n\r\n"
        )
        assert request.body == b""


def test_get_decodes_a_type_and_returns_text_unchanged(client_of):
    client = client_of(answer(b'[{"Name": "photos"}]'))

    class Installed(msgspec.Struct):
        Name: str

    for result, _ in both(client, lambda client: client.get("/plugins", reply=list[Installed])):
        assert result == [Installed("photos")]
    client = client_of(answer(b"OK"))
    for result, _ in both(client, lambda client: client.get("/_ping", reply=msgspec.Raw)):
        assert bytes(result) == b"OK"
    with pytest.raises(ProtocolError):
        client.get("/_ping")


def test_get_is_retried_when_its_connection_is_lost(client_of):
    client = client_of(successively(close_after_read, answer(b"1")))
    assert client.get("/a") == 1
    assert client.server.connections == 2


def test_the_error_of_a_get_names_the_request(client_of):
    client = client_of(answer(b'{"message": "no such plugin"}', status="404 Not Found"))
    with pytest.raises(RemoteError, match="^GET /plugins/x/json on plugin 'rec' .*: no such plugin") as caught:
        client.get("plugins/x/json")
    assert caught.value.not_found
    with pytest.raises(RemoteError, match="GET /a"), client.stream("/a", http_method="GET"):
        pytest.fail("refused")


def test_headers_are_sent_with_every_kind_of_request(client_of):
    client = client_of(answer(b'{"n": 1}'))

    def stream(client, **options):
        if isinstance(client, AsyncClient):
            return stream_async(client, **options)
        with client.stream("A.B", headers=TOKEN, **options) as body:
            return body.read()

    async def stream_async(client, **options):
        async with client.stream("A.B", headers=TOKEN, **options) as body:
            return await body.read()

    uses = {
        "POST": lambda client: client.call("A.B", {"a": 1}, headers=TOKEN),
        "GET": lambda client: client.get("A.B", headers=TOKEN),
        "upload": lambda client: client.send_file("A.B", io.BytesIO(b"file"), headers=TOKEN),
        "stream": stream,
        "GET stream": lambda client: stream(client, http_method="GET", follow=True),
    }
    bodies = {"POST": b'{"a":1}\n', "upload": b"file"}
    for kind, use in uses.items():
        for result, (request,) in both(client, use):
            assert result in ({"n": 1}, b'{"n": 1}')
            assert request.head.startswith(b"GET /A.B HTTP" if "GET" in kind else b"POST /A.B HTTP")
            assert dict(request.headers)["Authorization"] == TOKEN["Authorization"]
            assert request.body == bodies.get(kind, b"")
            assert ("Content-Length" in dict(request.headers)) == (kind in ("POST", "stream"))


def test_user_agent_and_accept_can_be_replaced(client_of):
    client = client_of()
    client.call("A.B", headers={"user-agent": "me/1", "Accept": "application/json", "X-Empty": ""})
    names = [name for name, _ in client.server.requests[0].headers]
    assert sorted(names) == ["Accept", "Content-Length", "Host", "X-Empty", "user-agent"]
    client.call("A.B")
    assert dict(client.server.requests[1].headers)["User-Agent"] == "Go-http-client/1.1"


def test_the_same_headers_are_sent_again_on_a_retry(client_of):
    client = client_of(successively(close_after_read, close_after_read, answer()))
    client.call("A.B", headers=TOKEN, idempotent=True)
    assert [dict(request.headers)["Authorization"] for request in client.server.requests] == 3 * ["Bearer t0ken"]


@pytest.mark.parametrize(
    ("headers", "error", "message"),
    [
        ({"A B": "x"}, SpecError, "'A B' is not a valid name"),
        ({"A\r\nB": "x"}, SpecError, "is not a valid name"),
        ({"": "x"}, SpecError, "is not a valid name"),
        ({"Authorization": "s3cret\r\nHost: b"}, SpecError, "the value of the header Authorization is invalid"),
        ({"Authorization": "s3cret\N{SNOWMAN}"}, SpecError, "Latin-1"),
        ({"content-length": "5"}, SpecError, "content-length is set by the client"),
        ({"Host": "other"}, SpecError, "set by the client"),
        ({"A": 5}, TypeError, "has a int as value"),
        ({5: "x"}, TypeError, "expected a str"),
        ([("A", "x")], TypeError, "expected a mapping"),
    ],
)
def test_invalid_headers_are_refused_before_anything_is_sent(client_of, headers, error, message):
    client = client_of()
    uses = (
        lambda: client.call("A.B", headers=headers),
        lambda: client.get("A.B", headers=headers),
        lambda: client.send_file("A.B", io.BytesIO(), headers=headers),
        lambda: client.stream("A.B", headers=headers).__enter__(),
    )
    for use in uses:
        with pytest.raises(error, match=message) as caught:
            use()
        assert "s3cret" not in str(caught.value)
    assert client.server.connections == 0


def test_a_get_request_has_no_arguments_and_other_http_methods_are_refused(client_of):
    client = client_of()
    with pytest.raises(ValueError, match="a GET request has no body"):
        client.call("A.B", {}, http_method="GET")
    with pytest.raises(ValueError, match="http_method='PUT' is invalid: expected POST or GET"):
        client.call("A.B", http_method="PUT")
    assert client.server.connections == 0


def test_a_lost_connection_of_a_call_with_headers_is_not_retried(client_of):
    client = client_of(close_after_read)
    with pytest.raises(ConnectionLost):
        client.call("A.B", headers=TOKEN)
    assert client.server.connections == 1
