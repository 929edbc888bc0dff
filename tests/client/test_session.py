"""The requests session: bound to one plugin, one connection for many methods, nothing from the environment."""

from __future__ import annotations

import contextlib
import gzip
import socket
import ssl
import subprocess
import sys
import threading
import time

import pytest
import requests
from certificates import Authority
from faultserver import answer, answer_with, eventually, read_and_hang, reply, send_and_hang
from served_client import served_clients
from urllib3.exceptions import InsecureRequestWarning

from extframe.client.client import Client
from extframe.client.session import PluginSession
from extframe.errors import ConnectError
from extframe.protocol import TLSConfig


@pytest.fixture
def client_of(fault_server):
    yield from served_clients(fault_server)


BOTH = pytest.mark.parametrize("kind", ["unix", "tcp"])


@BOTH
@pytest.mark.parametrize("url", ["VolumeDriver.List", "/VolumeDriver.List"])
def test_a_url_is_a_method_of_the_plugin(client_of, kind, url):
    client = client_of(answer(b'{"Volumes": []}'), kind=kind)
    response = client.session.post(url, json={"A": 1})
    assert response.json() == {"Volumes": []}
    (request,) = client.server.requests
    assert request.path == "/VolumeDriver.List"
    assert request.body == b'{"A": 1}'
    assert dict(request.headers)["Accept"] == "application/vnd.docker.plugins.v1.2+json"


@BOTH
def test_the_host_header_is_the_one_that_calls_send(client_of, kind):
    client = client_of(kind=kind)
    client.session.get("A.B")
    client.call("A.B")
    by_session, by_call = (dict(request.headers)["Host"] for request in client.server.requests)
    assert by_session == by_call
    assert by_session == ("plugin.moby.localhost" if kind == "unix" else f"localhost:{client.server.port}")


@pytest.mark.parametrize("meanwhile", ["retarget", "close"])
def test_a_session_that_is_made_while_the_client_changes_is_not_kept(fault_server, monkeypatch, meanwhile):
    here, there = fault_server(answer(b"{}")), fault_server(answer(b"{}"))
    client = Client(here.address)
    acts = [client.close if meanwhile == "close" else lambda: client.retarget(there.address)]
    make = PluginSession.__init__

    def make_slowly(session, *arguments, **options):
        make(session, *arguments, **options)
        while acts:
            acts.pop()()  # in another thread

    monkeypatch.setattr(PluginSession, "__init__", make_slowly)
    with client:
        if meanwhile == "close":
            with pytest.raises(ConnectError, match="the client is closed"):
                _ = client.session
        else:
            client.session.post("A.B")
            assert (len(here.requests), len(there.requests)) == (0, 1)


@BOTH
def test_many_methods_use_one_connection(client_of, kind):
    client = client_of(kind=kind)
    for number in range(20):
        client.session.post(f"VolumeDriver.Method{number}")
    assert client.server.connections == 1


def test_a_query_and_a_whole_url_of_the_plugin_are_taken(client_of):
    client = client_of()
    client.session.post("GraphDriver.ApplyDiff?to=http://x/", params={"id": "a b"})
    response = client.session.get(client.session.base + "metrics")
    assert response.request.url == client.session.base + "metrics"
    assert [request.path for request in client.server.requests] == [
        "/GraphDriver.ApplyDiff?to=http://x/&id=a+b",
        "/metrics",
    ]


def test_preparing_a_request_leaves_it_as_it_was(client_of):
    session = client_of().session
    request = requests.Request("POST", "VolumeDriver.List")
    assert session.prepare_request(request).url == session.base + "VolumeDriver.List"
    assert request.url == "VolumeDriver.List"


@BOTH
@pytest.mark.parametrize(
    "url",
    [
        "http://localhost/x",
        "https://localhost/x",
        "http+unix://%2Frun%2Fother.sock/x",
        "http://localhost:{port}0/x",
        "http://localhost:{port}@127.0.0.1/x",
        "file:///etc/passwd",
    ],
)
def test_a_url_that_leads_elsewhere_is_refused(client_of, kind, url):
    client = client_of(kind=kind)
    with pytest.raises(requests.exceptions.InvalidURL):
        client.session.get(url.format(port=client.server.port if kind == "tcp" else 1))
    assert client.server.connections == 0


def redirect(location: str):
    def function(request):
        if request.path == "/Start":
            return reply(b"", status="302 Found", headers=f"Location: {location}\r\n")
        return reply(b'{"Followed": true}')

    return answer_with(function)


@pytest.mark.parametrize("method", ["GET", "OPTIONS", "HEAD", "POST", "PUT", "PATCH", "DELETE"])
def test_a_redirect_is_the_answer(client_of, method):
    client = client_of(redirect("/Followed"))
    assert getattr(client.session, method.lower())("Start").status_code == 302
    assert client.session.request(method, "Start").status_code == 302
    prepared = client.session.prepare_request(requests.Request(method, "Start"))
    assert client.session.send(prepared).status_code == 302
    assert {request.path for request in client.server.requests} == {"/Start"}


@BOTH
@pytest.mark.parametrize("location", ["/Followed", "Followed", "?Followed", "./x/../Followed"])
def test_a_redirect_inside_the_plugin_is_followed_where_a_request_says_so(client_of, kind, location):
    client = client_of(redirect(location), kind=kind)
    assert client.session.get("Start", allow_redirects=True).json() == {"Followed": True}


@BOTH
@pytest.mark.parametrize("scheme", ["http:", ""])
def test_a_redirect_to_elsewhere_is_refused_even_then(client_of, fault_server, kind, scheme):
    elsewhere = fault_server(answer(), kind="tcp")
    client = client_of(redirect(f"{scheme}//127.0.0.1:{elsewhere.port}/x"), kind=kind)
    with pytest.raises(requests.exceptions.InvalidURL):
        client.session.get("Start", allow_redirects=True)
    assert elsewhere.connections == 0


# --- timeouts and errors are requests' own ------------------------------------------------------------


@BOTH
@pytest.mark.parametrize("options", [{}, {"timeout": None}, {"timeout": 0.2}, {"timeout": (5, 0.2)}])
def test_a_request_has_the_clients_timeout_or_its_own(client_of, kind, options):
    own = options.get("timeout") is not None
    client = client_of(read_and_hang, kind=kind, timeout=30 if own else 0.2)
    started = time.monotonic()
    with pytest.raises(requests.exceptions.ReadTimeout):
        client.session.post("A.B", **options)
    assert time.monotonic() - started < 8


def test_a_socket_that_takes_no_more_connections_is_an_error_and_no_wait(client_of, fault_server):
    server = fault_server(read_and_hang, accepting=False, backlog=0)
    waiting = []
    with contextlib.suppress(BlockingIOError):
        while True:
            waiting.append(socket.socket(socket.AF_UNIX))
            waiting[-1].setblocking(False)
            waiting[-1].connect(server.path)
    with Client(server.address, timeout=0.3) as client, pytest.raises(requests.exceptions.ConnectionError):
        client.session.post("A.B")
    for sock in waiting:
        sock.close()


def test_a_request_may_have_no_timeout(client_of):
    client = client_of(send_and_hang(b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\n"), timeout=0.1)
    result = []

    def work() -> None:
        try:
            client.session.post("A.B", timeout=(None, None))
        except requests.exceptions.RequestException as error:
            result.append(error)

    thread = threading.Thread(target=work)
    thread.start()
    thread.join(0.6)
    assert thread.is_alive()
    client.server.close()
    thread.join(30)
    assert not isinstance(result[0], requests.exceptions.Timeout)


def test_a_socket_with_nobody_behind_it_is_a_connection_error_of_requests(short_path):
    with Client(f"unix://{short_path}/none.sock") as client, pytest.raises(requests.exceptions.ConnectionError):
        client.session.post("A.B")


def test_hooks_and_auth_are_requests_own(client_of):
    client = client_of()
    seen = []
    client.session.hooks["response"].append(lambda response, **kwargs: seen.append(response.status_code))
    client.session.auth = ("user", "word")
    client.session.post("A.B")
    assert seen == [200]
    assert dict(client.server.requests[0].headers)["Authorization"].startswith("Basic ")


def test_a_reply_of_any_size_is_read_in_pieces_where_a_request_says_so(client_of):
    packed = gzip.compress(bytes(100 << 20), mtime=0)
    client = client_of(answer(packed, headers="Content-Encoding: gzip\r\n"))
    with client.session.post("A.B", stream=True) as response:
        sizes = [len(piece) for piece in response.iter_content(65536)]
    assert (sum(sizes), max(sizes)) == (100 << 20, 65536)


# --- nothing from the environment ---------------------------------------------------------------------


@BOTH
def test_proxies_and_netrc_of_the_environment_change_nothing(client_of, fault_server, monkeypatch, short_path, kind):
    proxy = fault_server(answer(), kind="tcp")
    for name in ("HTTP_PROXY", "http_proxy", "HTTPS_PROXY", "ALL_PROXY", "all_proxy"):
        monkeypatch.setenv(name, f"http://127.0.0.1:{proxy.port}")
    monkeypatch.setenv("NO_PROXY", "")
    monkeypatch.setenv("no_proxy", "")
    netrc = short_path / "netrc"
    netrc.write_text("default login user password word\n")
    netrc.chmod(0o600)
    monkeypatch.setenv("NETRC", str(netrc))
    client = client_of(kind=kind)
    client.session.post("A.B")
    client.call("A.B")
    assert proxy.connections == 0
    assert not any(name == "Authorization" for request in client.server.requests for name, _ in request.headers)


def test_requests_is_imported_by_the_first_use_of_a_session_and_not_by_calls(fault_server):
    server = fault_server(answer())
    code = (
        "import sys; from extframe.client.client import Client\n"
        "with Client(sys.argv[1]) as client:\n"
        "    client.call('A.B'); print('requests' in sys.modules)\n"
        "    client.session.post('A.B'); print('requests' in sys.modules)\n"
    )
    run = [sys.executable, "-c", code, server.address]
    assert subprocess.run(run, check=True, capture_output=True, text=True, timeout=60).stdout.split() == [
        "False",
        "True",
    ]


# --- its life -----------------------------------------------------------------------------------------


def test_a_session_is_made_once_and_closed_with_its_client(client_of):
    client = client_of()
    session = client.session
    session.post("A.B")
    assert client.session is session
    client.close()
    assert eventually(lambda: not client.server._open)


def test_threads_get_the_same_session(client_of):
    client = client_of()
    sessions = []
    threads = [threading.Thread(target=lambda: sessions.append(client.session)) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(set(map(id, sessions))) == 1


def test_a_relative_socket_works(fault_server, short_path, monkeypatch):
    monkeypatch.chdir(short_path)
    fault_server(answer(b'{"Here": 1}'), path=".plugin.sock")
    with Client("unix://.plugin.sock") as client:
        assert client.session.post("A.B").json() == {"Here": 1}


def test_a_path_of_any_characters_works(fault_server, short_path):
    path = str(short_path / "a b%41?#ü.sock")
    fault_server(answer(b'{"Here": 1}'), path=path)
    with Client(f"unix://{path}") as client:
        assert client.session.post("A.B").json() == {"Here": 1}


# --- TLS ----------------------------------------------------------------------------------------------


@pytest.fixture
def authority(short_path) -> Authority:
    return Authority(short_path, "ours")


@pytest.fixture
def server_tls(authority) -> ssl.SSLContext:
    return authority.issue("server", "localhost").server_context()


def test_a_session_trusts_the_ca_of_the_spec_and_shows_its_certificate(client_of, authority, monkeypatch):
    monkeypatch.setenv("REQUESTS_CA_BUNDLE", "/nonexistent")
    us = authority.issue("client")
    server_tls = authority.issue("server", "localhost").server_context(clients_of=authority.ca_file)
    tls = TLSConfig(ca_file=authority.ca_file, cert_file=us.cert_file, key_file=us.key_file)
    client = client_of(answer(b'{"TLS": 1}'), kind="tcp", server_tls=server_tls, tls=tls)
    assert client.session.post("A.B").json() == {"TLS": 1}
    assert client.session.post("C.D", verify=True).json() == {"TLS": 1}
    assert client.server.connections == 1


@pytest.mark.parametrize("verify", [True, False])
@pytest.mark.parametrize("trusting", [True, False])
def test_a_server_that_the_spec_does_not_trust_is_refused_whatever_the_request_says(
    client_of, server_tls, short_path, trusting, verify
):
    other = Authority(short_path, "other")
    tls = TLSConfig(ca_file=other.ca_file, exclusive_root_pools=True) if trusting else None
    client = client_of(kind="tcp", server_tls=server_tls, tls=tls)
    with pytest.raises(requests.exceptions.SSLError):
        client.session.post("A.B", verify=verify)
    assert client.server.requests == []


def test_a_server_with_another_name_is_refused(authority, server_tls, fault_server):
    server = fault_server(answer(), kind="tcp", tls=server_tls)
    client = Client(server.address, tls=TLSConfig(ca_file=authority.ca_file))
    with pytest.raises(requests.exceptions.SSLError, match="127.0.0.1"):
        client.session.post("A.B")


def test_verification_is_left_out_where_the_spec_says_so(client_of, server_tls):
    client = client_of(
        answer(b'{"TLS": 1}'),
        kind="tcp",
        server_tls=server_tls,
        tls=TLSConfig(insecure_skip_verify=True),
    )
    with pytest.warns(InsecureRequestWarning):
        assert client.session.post("A.B").json() == {"TLS": 1}
