"""TLS over real sockets: what is trusted, what is refused, and whether the words say what to write instead."""

from __future__ import annotations

import os
import select
import socket
import ssl
import time
import warnings
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from certificates import Authority, Identity
from faultserver import FaultServer, Peer, answer, close_at_once, eventually, hang

from extframe.client.http1 import Response
from extframe.client.steps import Steps
from extframe.client.tls import TLSConnection, client_context, handshake, shaking_hands
from extframe.client.transport import Transport
from extframe.errors import CallTimeout, ConnectError, ConnectionLost, ProtocolError, SpecError
from extframe.protocol import Address, TLSConfig

LOCAL = ("127.0.0.1", "localhost")


@pytest.fixture(scope="module")
def directory(tmp_path_factory) -> Path:
    return tmp_path_factory.mktemp("tls")


@pytest.fixture(scope="module")
def authority(directory) -> Authority:
    return Authority(directory)


@pytest.fixture(scope="module")
def identity(authority) -> Identity:
    return authority.issue("server", *LOCAL)


@pytest.fixture
def server(fault_server, identity) -> FaultServer:
    return fault_server(answer(), kind="tcp", tls=identity.server_context())


@pytest.fixture
def trusted(authority) -> TLSConfig:
    return TLSConfig(ca_file=authority.ca_file)


def call(address: str, tls: TLSConfig | None, seconds: float = 10.0, body: bytes = b"") -> Response:
    transport = Transport(Address.parse(address), tls)
    try:
        return transport.exchange("/A.B", body, time.monotonic() + seconds)
    finally:
        transport.close()


# --- what is trusted ----------------------------------------------------------------------------------


@pytest.mark.parametrize("host", LOCAL)
def test_a_plugin_is_trusted_whose_authority_stands_in_cafile(server, trusted, host):
    assert call(f"https://{host}:{server.port}", trusted).status == 200
    assert ("Accept-Encoding", "gzip") in server.requests[0].headers


def test_what_stands_in_cafile_is_trusted_as_it_is(fault_server, authority, identity):
    # A plugin's own certificate, which its authority signed: no root, and enough for Go.
    server = fault_server(answer(), kind="tcp", tls=identity.server_context())
    assert call(server.address, TLSConfig(ca_file=identity.cert_file)).status == 200


def test_connections_are_kept_over_tls(server, trusted):
    transport = Transport(Address.parse(server.address), trusted)
    for _ in range(20):
        assert transport.exchange("/A.B", b"", time.monotonic() + 10).status == 200
    transport.close()
    assert server.connections == 1


def test_an_idle_connection_that_the_server_closed_is_noticed_over_tls(fault_server, identity, trusted):
    def answer_and_close(peer: Peer) -> None:
        peer.read_request()
        peer.send(b"HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n")
        peer.socket.unwrap()  # waits for our close_notify, which comes with the next call

    server = fault_server(answer_and_close, kind="tcp", tls=identity.server_context())
    transport = Transport(Address.parse(server.address), trusted)
    for _ in range(2):  # after that, no connection of this plugin is kept
        assert transport.exchange("/A.B", b"", time.monotonic() + 10).status == 200
        (kept,) = transport._idle
        assert select.select([kept._socket], [], [], 30)[0]  # the close_notify has come
    transport.close()
    assert server.connections == 2


@pytest.mark.parametrize("size", [0, 100, 16_384, 3_000_000])
def test_requests_and_answers_of_any_size_go_over_tls(fault_server, identity, trusted, size):
    server = fault_server(answer(b"y" * size), kind="tcp", tls=identity.server_context())
    assert call(server.address, trusted, body=b"x" * size).body == b"y" * size
    assert server.requests[0].body == b"x" * size


def test_a_client_shows_its_certificate(fault_server, authority, identity):
    client = authority.issue("client")
    context = identity.server_context(clients_of=authority.ca_file)
    server = fault_server(answer(), kind="tcp", tls=context)
    tls = TLSConfig(ca_file=authority.ca_file, cert_file=client.cert_file, key_file=client.key_file)
    assert call(server.address, tls).status == 200


def test_verification_is_off_where_the_spec_says_so(fault_server, directory):
    stranger = Authority(directory, "stranger").issue("elsewhere", "elsewhere.example", expired=True)
    server = fault_server(answer(), kind="tcp", tls=stranger.server_context())
    assert call(server.address, TLSConfig(insecure_skip_verify=True)).status == 200
    # As in the engine, CAFile is not even read then.
    assert call(server.address, TLSConfig(insecure_skip_verify=True, ca_file="/no/such/file")).status == 200


def test_the_systems_authorities_count_unless_cafile_is_exclusive(authority, monkeypatch):
    loaded = []
    monkeypatch.setattr(ssl.SSLContext, "load_default_certs", lambda context: loaded.append(context))
    beside = client_context(TLSConfig(ca_file=authority.ca_file))
    alone = client_context(TLSConfig(ca_file=authority.ca_file, exclusive_root_pools=True))
    system = client_context(None)
    assert loaded == [beside, system]
    assert [len(context.get_ca_certs()) for context in (beside, alone, system)] == [1, 1, 0]


def test_the_context_is_made_once_and_its_files_are_read_at_the_first_call(server, trusted, monkeypatch):
    made = []
    monkeypatch.setattr("extframe.client.tls.client_context", lambda tls: made.append(client_context(tls)) or made[-1])
    transport = Transport(Address.parse(server.address), trusted)
    assert made == []
    for _ in range(3):
        transport.exchange("/A.B", b"", time.monotonic() + 10)
    assert made == [transport.tls_context()]
    transport.close()


def test_addresses_without_tls_have_no_context(short_path):
    assert Transport(Address.parse(f"unix://{short_path}/x.sock"), TLSConfig(ca_file="/no/file")).tls_context() is None
    assert Transport(Address.parse("tcp://127.0.0.1:1")).tls_context() is None


# --- what is refused ----------------------------------------------------------------------------------

RIGHT_NAME = "write a name or number that the certificate is for into Addr, or give the plugin a certificate for this"
NEW_CERTIFICATE = "give the plugin a certificate that is valid now"
REMEDY = r'\.json file with .*"CAFile": .*or with "InsecureSkipVerify": true'


def refused(server: FaultServer, tls: TLSConfig | None) -> ConnectError:
    with pytest.raises(ConnectError) as caught:
        call(server.address, tls)
    assert server.requests == []
    assert caught.value.address == server.address
    return caught.value


def test_without_cafile_a_plugins_own_authority_is_refused_and_the_error_says_what_to_write(server):
    for tls in (None, TLSConfig()):
        assert pytest.raises(ConnectError, call, server.address, tls).match(REMEDY)


@pytest.mark.parametrize(
    ("hosts", "options", "words", "remedy"),
    [
        (["elsewhere.example"], {}, "IP address mismatch, certificate is not valid for '127.0.0.1'", RIGHT_NAME),
        ([], {}, "mismatch", RIGHT_NAME),
        (LOCAL, {"expired": True}, "certificate has expired", NEW_CERTIFICATE),
        (LOCAL, {"early": True}, "certificate is not yet valid", NEW_CERTIFICATE),
    ],
    ids=["another host", "no host", "expired", "early"],
)
def test_a_certificate_that_is_not_right_is_refused_with_what_would_mend_it(
    fault_server, authority, trusted, hosts, options, words, remedy
):
    wrong = authority.issue("wrong", *hosts, **options)
    error = refused(fault_server(answer(), kind="tcp", tls=wrong.server_context()), trusted)
    assert words in error.message
    assert f"; {remedy}" in error.message
    assert '"InsecureSkipVerify": true' in error.message
    assert "CAFile" not in error.message  # which would mend nothing


def test_a_host_name_that_is_not_the_certificates_is_refused_with_what_would_mend_it(fault_server, authority, trusted):
    wrong = authority.issue("wrong", "127.0.0.1")
    server = fault_server(answer(), kind="tcp", tls=wrong.server_context())
    with pytest.raises(ConnectError, match=f"certificate is not valid for 'localhost'.*; {RIGHT_NAME}"):
        call(f"https://localhost:{server.port}", trusted)


def test_a_certificate_with_a_common_name_alone_is_refused_as_by_go(fault_server, authority, trusted):
    named = authority.issue("localhost")
    server = fault_server(answer(), kind="tcp", tls=named.server_context())
    with pytest.raises(ConnectError, match=r"in its subjectAltName; the common name \(CN\) does not count"):
        call(f"https://localhost:{server.port}", trusted)


def test_a_certificate_of_another_authority_is_refused(fault_server, directory, trusted):
    foreign = Authority(directory, "foreign").issue("foreign server", *LOCAL)
    error = refused(fault_server(answer(), kind="tcp", tls=foreign.server_context()), trusted)
    assert "unable to get local issuer certificate" in error.message


def test_a_self_signed_certificate_is_refused(fault_server, directory):
    itself = Authority(directory, "itself")._own
    error = refused(fault_server(answer(), kind="tcp", tls=itself.server_context()), None)
    assert "self-signed" in error.message or "self signed" in error.message


def test_a_refusal_after_an_answer_is_a_lost_connection():
    # No server here can be made to send one, and a retry of what was carried out would be the harm.
    class Answering:
        data: Iterator[bytes] = iter([b"answer"])

        def recv(self, size: int) -> bytes:
            for data in self.data:
                return data
            refusal = ssl.SSLError(1, "tlsv1 alert access denied")
            refusal.reason = "TLSV1_ALERT_ACCESS_DENIED"
            raise refusal

    ours, theirs = socket.socketpair()
    with ours, theirs:
        connection = TLSConnection(ours)
        connection._socket = Answering()
        assert connection._read(100) == b"answer"
        with pytest.raises(ConnectionLost, match="ACCESS_DENIED"):
            connection._read(100)
        connection._socket = ours


@pytest.mark.parametrize("version", [ssl.TLSVersion.TLSv1_2, ssl.TLSVersion.TLSv1_3])
@pytest.mark.parametrize("late", [False, True], ids=["at once", "after the refusal"])
def test_a_client_without_a_certificate_is_told_where_it_belongs(
    fault_server, authority, identity, trusted, monkeypatch, version, late
):
    context = identity.server_context(clients_of=authority.ca_file)
    context.maximum_version = version
    server = fault_server(answer(), kind="tcp", tls=context)

    def shake_hands(*arguments: Any) -> Steps[TLSConnection]:
        # In TLS 1.3 the client's handshake is over before the server has seen that there is no certificate.
        connection = yield from shaking_hands(*arguments)
        assert not late or eventually(lambda: server.errors and not server._open)
        return connection

    monkeypatch.setattr("extframe.client.tls.shaking_hands", shake_hands)
    with pytest.raises(ConnectError, match="refuses this host: .* CertFile and KeyFile in TLSConfig"):
        call(server.address, trusted)


@pytest.mark.parametrize("host", [".localhost", "a..b", "x" * 64])
def test_a_host_that_no_certificate_can_be_for_is_a_connect_error_though_its_name_was_found(server, trusted, host):
    sock = socket.create_connection(("127.0.0.1", server.port))
    with pytest.raises(ConnectError, match="no certificate can be for the host"):
        handshake(sock, client_context(trusted), host, time.monotonic() + 10)
    assert sock.fileno() == -1


def test_a_plugin_that_does_not_speak_tls_is_told_apart(fault_server, trusted):
    def speak(peer: Peer) -> None:
        peer.socket.recv(1000)
        peer.send(b"HTTP/1.1 400 Bad Request\r\n\r\n")
        peer.hang()

    server = fault_server(speak, kind="tcp")
    with pytest.raises(ConnectError, match=r"does not speak TLS .*tcp://"):
        call(f"https://127.0.0.1:{server.port}", trusted)


def test_a_plugin_that_speaks_tls_where_none_is_expected_is_told_apart(server):
    with pytest.raises((ProtocolError, ConnectionLost)) as caught:
        call(f"tcp://127.0.0.1:{server.port}", None)
    if isinstance(caught.value, ProtocolError):
        assert "https://" in caught.value.message


def test_a_plugin_below_min_version_is_refused(fault_server, authority, identity):
    context = identity.server_context()
    context.maximum_version = ssl.TLSVersion.TLSv1_2
    server = fault_server(answer(), kind="tcp", tls=context)
    assert call(server.address, TLSConfig(ca_file=authority.ca_file, min_version=771)).status == 200
    with pytest.raises(ConnectError, match="no TLS version from MinVersion on"):
        call(server.address, TLSConfig(ca_file=authority.ca_file, min_version=772))


def test_tls_1_1_is_refused(fault_server, identity, trusted):
    context = identity.server_context()
    context.set_ciphers("ALL:@SECLEVEL=0")
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # ssl says that these versions are old
        context.minimum_version = ssl.TLSVersion.TLSv1
        context.maximum_version = ssl.TLSVersion.TLSv1_1
    error = refused(fault_server(answer(), kind="tcp", tls=context), trusted)
    assert "no TLS version from MinVersion on, which is TLS 1.2 at least" in error.message


def test_a_plugin_that_closes_within_the_handshake_is_a_connect_error(fault_server, trusted):
    server = fault_server(close_at_once, kind="tcp")
    with pytest.raises(ConnectError, match="TLS handshake failed"):
        call(f"https://127.0.0.1:{server.port}", trusted)


def test_a_body_whose_end_tls_does_not_confirm_is_not_complete(fault_server, identity, trusted):
    def cut(peer: Peer) -> None:
        peer.read_request()
        peer.send(b"HTTP/1.1 200 OK\r\n\r\n{}")
        peer.socket.shutdown(socket.SHUT_RDWR)

    def say_goodbye(peer: Peer) -> None:
        peer.read_request()
        peer.send(b"HTTP/1.1 200 OK\r\n\r\n{}")
        peer.socket.unwrap()

    for behaviour, complete in ((cut, False), (say_goodbye, True)):
        server = fault_server(behaviour, kind="tcp", tls=identity.server_context())
        response = call(server.address, trusted)
        assert (response.body, response.complete) == (b"{}", complete)


# --- deadlines ----------------------------------------------------------------------------------------


def timeout_in(phase: str, address: str, tls: TLSConfig, body: bytes = b"") -> CallTimeout:
    """Return how a call ends in a phase; a stall of the machine may end it before: then it has longer."""
    for seconds in (0.5, 1.5, 5.0):
        start = time.monotonic()
        with pytest.raises(CallTimeout) as caught:
            call(address, tls, seconds=seconds, body=body)
        assert time.monotonic() - start < seconds + 8
        if caught.value.phase == phase:
            break
    return caught.value


def drip_body(peer: Peer) -> None:
    """Send the headers, and then a byte at a time, for longer than any test waits."""
    peer.read_request()
    peer.send(b"HTTP/1.1 200 OK\r\nContent-Length: 1000\r\n\r\n")
    peer.drip(b"x" * 1000, 0.02)


def test_a_deadline_holds_for_the_handshake(fault_server, trusted):
    server = fault_server(hang, kind="tcp")
    timeout = timeout_in("TLS handshake", f"https://127.0.0.1:{server.port}", trusted)
    assert timeout.phase == "TLS handshake"
    assert "timed out waiting for the TLS handshake" in timeout.message


@pytest.mark.parametrize(
    ("behaviour", "body", "phase"),
    [
        (hang, b"", "status line"),
        (hang, b"x" * 20_000_000, "send"),
        (drip_body, b"", "body"),
    ],
    ids=["silent", "does not read", "drips"],
)
def test_a_deadline_holds_over_tls(fault_server, identity, trusted, behaviour, body, phase):
    server = fault_server(behaviour, kind="tcp", tls=identity.server_context())
    assert timeout_in(phase, server.address, trusted, body).phase == phase


# --- files --------------------------------------------------------------------------------------------


@pytest.fixture
def files(directory, authority) -> dict[str, str]:
    good, locked = authority.issue("good"), authority.issue("locked", password=b"secret")
    fifo = str(directory / f"{len(list(directory.iterdir()))}.fifo")
    os.mkfifo(fifo)
    text = directory / "text.pem"
    text.write_text("no certificate")
    return {
        "cert": good.cert_file,
        "key": good.key_file,
        "locked cert": locked.cert_file,
        "locked key": locked.key_file,
        "text": str(text),
        "directory": str(directory),
        "missing": str(directory / "missing.pem"),
        "fifo": fifo,
        "endless": "/dev/zero",
    }


@pytest.mark.parametrize(
    ("config", "words"),
    [
        ({"ca_file": "missing"}, r"CAFile .*/missing\.pem: No such file"),
        ({"ca_file": "directory"}, "CAFile .*: Is a directory"),
        ({"ca_file": "fifo"}, "CAFile .*: it is a device or a FIFO; expected a file in PEM form"),
        ({"ca_file": "endless"}, "CAFile /dev/zero: it is a device or a FIFO"),
        ({"cert_file": "cert", "key_file": "fifo"}, "KeyFile .*: it is a device or a FIFO"),
        ({"ca_file": "text"}, r"CAFile .*/text\.pem: no certificates in PEM form"),
        ({"cert_file": "missing", "key_file": "key"}, r"CertFile .*/missing\.pem: No such file"),
        ({"cert_file": "cert", "key_file": "missing"}, r"KeyFile .*/missing\.pem: No such file"),
        ({"cert_file": "text", "key_file": "key"}, r"CertFile .*/text\.pem and KeyFile .*: no certificate and its key"),
        ({"cert_file": "cert", "key_file": "locked key"}, r"KeyFile .*/locked\.key: the key is encrypted"),
        ({"cert_file": "locked cert", "key_file": "key"}, r"KEY_VALUES_MISMATCH|key values mismatch"),
    ],
)
def test_a_file_that_cannot_be_used_is_named_with_its_key(server, files, config, words):
    tls = TLSConfig(**{key: files[name] for key, name in config.items()})
    with pytest.raises(SpecError, match=words) as caught:
        call(server.address, tls)
    assert caught.value.address == server.address


def test_a_file_that_was_mended_is_read_by_the_next_call(server, directory, authority):
    late = directory / "late.pem"
    transport = Transport(Address.parse(server.address), TLSConfig(ca_file=str(late)))
    with pytest.raises(SpecError):
        transport.exchange("/A.B", b"", time.monotonic() + 10)
    late.write_bytes(Path(authority.ca_file).read_bytes())
    assert transport.exchange("/A.B", b"", time.monotonic() + 10).status == 200
    transport.close()


def test_no_connection_stays_open_after_a_failed_handshake(server):
    for _ in range(5):
        with pytest.raises(ConnectError):
            call(server.address, None)
    assert eventually(lambda: not server._open)
