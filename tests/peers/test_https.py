"""Plugins behind TLS: who is verified, by what, and what the error says to write. Go's TLS and Python's OpenSSL."""

from __future__ import annotations

import json
import ssl
import threading
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest
from certificates import Authority, Identity

from extframe import ActivationError, ConnectError, LocalRegistry, PluginManager

# --- certificates -------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Certificates:
    ours: Authority
    theirs: Authority  # an authority that nobody here trusts
    server: Identity
    client: Identity
    stranger: Identity  # a client that the other authority vouches for
    elsewhere: Identity  # a server, for another host
    expired: Identity


@pytest.fixture(scope="session")
def certificates(tmp_path_factory) -> Certificates:
    directory = tmp_path_factory.mktemp("certificates")
    ours, theirs = Authority(directory, "ours"), Authority(directory, "theirs")
    return Certificates(
        ours,
        theirs,
        server=ours.issue("server", "127.0.0.1", "localhost"),
        client=ours.issue("client"),
        stranger=theirs.issue("stranger"),
        elsewhere=ours.issue("elsewhere", "plugins.example"),
        expired=ours.issue("expired", "127.0.0.1", expired=True),
    )


# --- servers ------------------------------------------------------------------------------------------

Serve = Callable[[Identity], int]
"""Starts a server that shows this certificate and wants one of a client that ``ours`` signed; returns its port."""


class Plugin(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"

    def do_POST(self) -> None:
        asked = json.loads(self.rfile.read(int(self.headers["Content-Length"])) or "{}")
        reply = {"Implements": ["Echo"]} if self.path == "/Plugin.Activate" else {"Text": asked["Text"]}
        body = json.dumps(reply).encode()
        self.send_response(200)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *arguments: object) -> None:
        pass


class TLSServer(ThreadingHTTPServer):
    def __init__(self, context: ssl.SSLContext) -> None:
        super().__init__(("127.0.0.1", 0), Plugin)
        self._context = context

    def finish_request(self, request, client_address) -> None:
        # In the connection's own thread, so that no handshake holds up another.
        with self._context.wrap_socket(request, server_side=True) as connection:
            super().finish_request(connection, client_address)

    def handle_error(self, request, client_address) -> None:
        pass  # what the client says of it is tested


@contextmanager
def python_server(shown: Identity, clients: str) -> Iterator[int]:
    with TLSServer(shown.server_context(clients_of=clients)) as server:
        thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
        thread.start()
        try:
            yield server.server_port
        finally:
            server.shutdown()
            thread.join()


@pytest.fixture(params=["python", "go"])
def serve(request, certificates) -> Iterator[Serve]:
    if request.param == "go":
        program, start = request.getfixturevalue("echo_program"), request.getfixturevalue("start")

        def serve_with_go(shown: Identity) -> int:
            files = ("-cert", shown.cert_file, "-key", shown.key_file, "-clients", certificates.ours.ca_file)
            return int(start(program, "-listen", "127.0.0.1:0", *files).wait_for(r"127\.0\.0\.1:(\d+)")[1])

        yield serve_with_go
    else:
        with ExitStack() as servers:
            yield lambda shown: servers.enter_context(python_server(shown, certificates.ours.ca_file))


# --- the host -----------------------------------------------------------------------------------------


@pytest.fixture
def specs(tmp_path) -> Path:
    directory = tmp_path / "specs"
    directory.mkdir()
    return directory


@pytest.fixture
def manager(specs) -> Iterator[PluginManager]:
    with PluginManager(LocalRegistry(specs, specs=[specs])) as manager:
        yield manager


@pytest.fixture
def announce(specs, certificates) -> Callable[..., Path]:
    """Write ``echo.json`` for a plugin at a port; keys of TLSConfig given as None are left out."""

    def write(port: int, host: str = "127.0.0.1", **keys: object) -> Path:
        config = {
            "CAFile": certificates.ours.ca_file,
            "CertFile": certificates.client.cert_file,
            "KeyFile": certificates.client.key_file,
            **keys,
        }
        config = {key: value if isinstance(value, bool) else str(value) for key, value in config.items() if value}
        path = specs / "echo.json"
        path.write_text(json.dumps({"Name": "echo", "Addr": f"https://{host}:{port}", "TLSConfig": config}))
        return path

    return write


def refused(manager: PluginManager) -> str:
    """Return what is said of a plugin that cannot be activated."""
    with pytest.raises(ActivationError) as refusal:
        manager.get("echo", timeout=60)
    assert isinstance(refusal.value.__cause__, ConnectError)
    return str(refusal.value)


@pytest.mark.parametrize("host", ["127.0.0.1", "localhost"])
def test_a_plugin_and_a_host_that_know_each_others_certificates_talk(serve, announce, manager, certificates, host):
    announce(serve(certificates.server), host)
    plugin = manager.get("echo", "Echo")
    assert plugin.client.call("Echo.Say", {"Text": "hello"}) == {"Text": "hello"}
    assert plugin.client.call("Echo.Say", {"Text": "again"}) == {"Text": "again"}


def test_a_session_has_the_same_certificates(serve, announce, manager, certificates):
    announce(serve(certificates.server))
    session = manager.get("echo").client.session
    assert session.post("Echo.Say", json={"Text": "hello"}).json() == {"Text": "hello"}


def test_a_host_without_a_certificate_is_refused(serve, announce, manager, certificates):
    announce(serve(certificates.server), CertFile=None, KeyFile=None)
    words = refused(manager)
    assert "the plugin refuses this host" in words
    assert "CertFile and KeyFile" in words


def test_a_host_with_a_strangers_certificate_is_refused(serve, announce, manager, certificates):
    announce(
        serve(certificates.server), CertFile=certificates.stranger.cert_file, KeyFile=certificates.stranger.key_file
    )
    assert "the plugin refuses this host" in refused(manager)


def test_a_plugin_that_another_authority_signed_is_refused_with_the_remedy(serve, announce, manager, certificates):
    announce(serve(certificates.server), CAFile=certificates.theirs.ca_file)
    words = refused(manager)
    assert "CAFile" in words
    assert "InsecureSkipVerify" in words


def test_a_plugin_is_refused_without_a_ca_file_too(serve, announce, manager, certificates):
    """Docker's engine skips verification here."""
    announce(serve(certificates.server), CAFile=None)
    assert "CAFile" in refused(manager)


def test_a_spec_file_means_that_the_plugin_is_verified(serve, specs, manager, certificates):
    """Docker's engine skips verification here too."""
    specs.joinpath("echo.spec").write_text(f"https://127.0.0.1:{serve(certificates.server)}\n")
    words = refused(manager)
    assert ".json" in words
    assert "CAFile" in words


def test_a_certificate_for_another_host_is_refused(serve, announce, manager, certificates):
    announce(serve(certificates.elsewhere))
    assert "certificate is not valid for '127.0.0.1'" in refused(manager)


def test_a_certificate_that_has_ended_is_refused(serve, announce, manager, certificates):
    announce(serve(certificates.expired))
    assert "certificate has expired" in refused(manager)


@pytest.mark.parametrize("shown", ["server", "elsewhere", "expired"])
def test_insecure_skip_verify_takes_any_certificate(serve, announce, manager, certificates, shown):
    announce(serve(getattr(certificates, shown)), CAFile=None, InsecureSkipVerify=True)
    assert manager.get("echo").client.call("Echo.Say", {"Text": "hello"}) == {"Text": "hello"}


def test_a_failed_activation_is_tried_again_with_the_file_that_was_mended(serve, announce, manager, certificates):
    port = serve(certificates.server)
    announce(port, CAFile=certificates.theirs.ca_file)
    refused(manager)
    announce(port)
    assert manager.get("echo").manifest.implements == ("Echo",)


@pytest.mark.parametrize("key", ["CAFile", "CertFile", "KeyFile"])
def test_a_file_that_is_missing_is_named(serve, announce, manager, certificates, tmp_path, key):
    announce(serve(certificates.server), **{key: tmp_path / "missing.pem"})
    with pytest.raises(ActivationError, match=r"missing\.pem"):
        manager.get("echo")
