"""What a hostile name, plugin or environment may try, through the public door: no harm, no wait, and words."""

from __future__ import annotations

import gzip
import io
import json
import os
import shutil
import socket
import ssl
import struct
import subprocess
import warnings
import zlib
from collections.abc import Callable, Iterator
from functools import reduce
from pathlib import Path

import pytest
from certificates import Authority
from faultserver import Behaviour, FaultServer, Peer, answer, endless, eventually, reply, send_and_close
from program import Program
from served_client import ends_within, served_clients

from extframe import Client, Limits, LocalRegistry, PluginManager, PluginNotFound, SpecError, TLSConfig
from extframe.errors import ActivationError, CallTimeout, ConnectError, ProtocolError, RemoteError

MIB = 1 << 20


@pytest.fixture
def client_of(fault_server):
    yield from served_clients(fault_server)


def read_all(client: Client, timeout: float | None = None) -> bytes:
    with client.stream("A.B", timeout=timeout) as stream:
        return stream.read()


CALLS: dict[str, Callable[[Client], object]] = {
    "call": lambda client: client.call("A.B"),
    "send_file": lambda client: client.send_file("A.B", io.BytesIO(b"file")),
    "stream": read_all,
}
each_call = pytest.mark.parametrize("call", CALLS.values(), ids=CALLS)

# --- names --------------------------------------------------------------------------------------------

LEAVING = [
    *(
        "",
        ".",
        "..",
        "/",
        "//",
        "./p",
        "../p",
        "../../outside/p",
        "p/",
        "p/.",
        "p/p",
        "/etc/passwd",
        "a/../../outside/p",
    ),
    *("..\\p", "a\\b", "\0", "p\0", "p\0.sock", "a\nb", "a\rb", "a\tb", "\x1b[2J", "\x7f", "\x85", "\x9b31m"),
    *("\ud800", "\udcff", "a" * 256, "ü" * 128, "../" * 1000),
]
"""Names that are none, as they could be more than a file in a directory, or nobody could write them down."""

STRANGE = [
    "...",
    "~",
    "~root",
    "$HOME",
    "%2e%2e%2fp",
    "*",
    "?",
    "[p]",
    ";id",
    "`id`",
    "$(id)",
    "'",
    '"',
    "\u202ep",
    "\uff0e\uff0e",
]
"""Names of files like any others, whatever a shell, a browser or a reader may think of them."""


@pytest.fixture
def trap(short_path) -> Iterator[tuple[Path, FaultServer]]:
    """A plugin directory, and beside it a plugin that nobody may reach from there."""
    outside, inside = short_path / "outside", short_path / "in"
    outside.mkdir()
    inside.mkdir()
    (inside / "a").mkdir()
    with FaultServer(answer(b'{"Implements": ["VolumeDriver"]}'), path=str(outside / "p.sock")) as server:
        for extension in (".spec", ".json"):
            (outside / f"p{extension}").write_text(server.address)
        (short_path / "p.spec").write_text(server.address)
        yield inside, server


@pytest.mark.parametrize("name", LEAVING, ids=ascii)
def test_a_name_that_could_leave_the_directory_reaches_nothing(trap, name):
    directory, server = trap
    with PluginManager(LocalRegistry(directory, [directory]), groups=()) as pm:
        for ask in (pm.get, pm._activator.registry.find, lambda name: pm.driver(name, "VolumeDriver", wait=60)):
            with pytest.raises(SpecError, match="cannot be a plugin's name") as refused:
                ask(name)
            assert str(refused.value).isprintable()
    assert server.connections == 0


@pytest.mark.parametrize("name", [name for name in LEAVING if len(name) < 999], ids=ascii)
@pytest.mark.parametrize("command", [["inspect"], ["call"], ["check"]], ids=" ".join)
def test_on_the_command_line_such_a_name_is_wrong_usage(trap, command, name):
    from click.testing import CliRunner

    from extframe.cli.program import program

    directory, server = trap
    arguments = [*command, "--dir", str(directory), "--", name, *["A.B"] * (command == ["call"])]
    result = CliRunner().invoke(program, arguments, prog_name="extframe")
    assert (result.exit_code, result.stdout) == (2, "")
    assert "cannot be a plugin's name" in result.stderr
    assert result.stderr.replace("\n", "").isprintable()
    assert server.connections == 0


@pytest.mark.parametrize("name", STRANGE, ids=ascii)
def test_a_strange_name_is_that_of_a_file_in_the_directory_and_of_no_other(trap, name):
    directory, server = trap
    registry = LocalRegistry(directory, [directory])
    with pytest.raises(PluginNotFound):
        registry.find(name)
    (directory / f"{name}.spec").write_text("tcp://localhost:1")
    assert registry.find(name).source == f"{directory}/{name}.spec"
    assert registry.scan() == [name]
    assert server.connections == 0


def test_a_link_out_of_the_directory_is_followed_only_where_no_other_user_could_have_made_it(trap):
    directory, server = trap
    (directory / "p.sock").symlink_to(server.path)
    with PluginManager(LocalRegistry(directory, [directory]), groups=()) as pm:
        Path(server.path).parent.chmod(0o777)
        with pytest.raises(SpecError, match="outside is world-writable; fix with: chmod o-w "):
            pm.get("p")
        assert server.connections == 0
        Path(server.path).parent.chmod(0o755)
        assert pm.get("p").implements("VolumeDriver")


# --- words --------------------------------------------------------------------------------------------

CONTROLS = "\x1b[2J\x1b]0;title\x07\x9b31m\u202e\u2028\r\nERROR"
SAYS = json.dumps({"Implements": [f"VolumeDriver{CONTROLS}", CONTROLS], "Err": CONTROLS, "Volumes": CONTROLS}).encode()


@pytest.mark.parametrize("status", ["200 OK", "500 \x1b[2J"])
@pytest.mark.parametrize(
    "command",
    [["ls"], ["ls", "-o", "json"], ["inspect", "p"], ["call", "p", "VolumeDriver.List"], ["check", "p"]],
    ids=" ".join,
)
def test_no_command_shows_what_moves_a_cursor_or_makes_a_line_of_its_own(short_path, command, status):
    from click.testing import CliRunner

    from extframe.cli.program import program

    with FaultServer(answer(SAYS, status=status), path=str(short_path / "p.sock")):
        result = CliRunner().invoke(program, [*command, "-v", "--dir", str(short_path)], prog_name="extframe")
    assert result.output
    for line in result.output.split("\n"):
        assert line.isprintable()
        assert not line.startswith("ERROR")


def test_no_word_of_a_plugin_reaches_the_log_as_it_is(short_path, caplog):
    def handler(name: str, client: Client) -> None:
        client.call("VolumeDriver.List")

    caplog.set_level("DEBUG", "extframe")
    registry = LocalRegistry(short_path, [short_path])
    says = json.dumps({"Implements": ["VolumeDriver", CONTROLS], "Err": CONTROLS}).encode()
    server = FaultServer(answer(says), path=str(short_path / "p.sock"))
    with server, PluginManager(registry, groups=()) as pm:
        pm.handle("VolumeDriver", handler)
        pm.get("p")
        assert [failure for failure in pm.failures() if CONTROLS in str(failure.exception)]
    assert caplog.text.count(r"\x1b[2J") >= 3  # in the manifest, as no hook, and in what the handler raised
    lines = caplog.text.split("\n")
    assert all(line.isprintable() and not line.startswith("ERROR") for line in lines), caplog.text


# --- where answers and the environment would lead -----------------------------------------------------


@each_call
@pytest.mark.parametrize("status", [301, 302, 303, 307, 308])
@pytest.mark.parametrize(
    "location", ["http://127.0.0.1:{port}/A.B", "//127.0.0.1:{port}/", "/Other", "unix:///x", "\x1b[2J"]
)
def test_no_call_follows_a_redirect(client_of, fault_server, call, status, location):
    elsewhere = fault_server(answer(), kind="tcp")
    location = location.format(port=elsewhere.port)
    client = client_of(answer(b"", status=f"{status} Moved", headers=f"Location: {location}\r\n"))
    with pytest.raises((RemoteError, ProtocolError)) as refused:
        call(client)
    assert str(refused.value).isprintable()
    assert len(client.server.requests) == 1
    assert elsewhere.connections == 0


@each_call
def test_nothing_in_the_environment_diverts_a_call(client_of, fault_server, monkeypatch, short_path, call):
    proxy = fault_server(answer(), kind="tcp")
    for name in ("http_proxy", "https_proxy", "all_proxy", "socks_proxy", "ftp_proxy"):
        for variable in (name, name.upper()):
            monkeypatch.setenv(variable, f"http://127.0.0.1:{proxy.port}")
    for variable in ("no_proxy", "NO_PROXY"):
        monkeypatch.delenv(variable, raising=False)
    (short_path / ".netrc").write_text("default login user password word\n")
    (short_path / ".netrc").chmod(0o600)
    monkeypatch.setenv("HOME", str(short_path))
    for kind in ("tcp", "unix"):
        client = client_of(kind=kind)
        call(client)
        (request,) = client.server.requests
        assert not {"Authorization", "Proxy-Authorization", "Cookie"} & dict(request.headers).keys()
    assert proxy.connections == 0


# --- more than anybody can hold -----------------------------------------------------------------------


def one_gib(head: bytes, status: int) -> Behaviour:
    """Answer with 1 GiB, for as long as the host takes it."""
    piece = b"100000\r\n" + bytes(MIB) + b"\r\n" if b"chunked" in head else bytes(MIB)

    def behaviour(peer: Peer) -> None:
        if peer.read_request():
            peer.send(b"HTTP/1.1 %d Any\r\n" % status + head + b"\r\n")
            for _ in range(1024):
                peer.send(piece)
            peer.send(b"0\r\n\r\n" if b"chunked" in head else b"")

    return behaviour


GREW = """
import io, sys
from pathlib import Path
from extframe import Client, ExtframeError

def peak():  # of this program alone: what getrusage says may be what the program was that started it
    status = Path("/proc/self/status").read_text()
    return int(status.partition("VmHWM:")[2].split()[0]) * 1024

def read_all(client):
    with client.stream("A.B") as stream:
        return sum(map(len, iter(lambda: stream.read(65536), b"")))

ways = {
    "call": lambda client: client.call("A.B"),
    "stream": read_all,
    "send_file": lambda client: client.send_file("A.B", io.BytesIO(b"file")),
}
with Client(sys.argv[1], timeout=120) as client:
    before = peak()
    try:
        print(ways[sys.argv[2]](client))
    except ExtframeError as error:
        print(type(error).__name__, "Limits.body" in str(error))
    print(peak() - before)
"""

on_linux = pytest.mark.skipif(not os.path.exists("/proc/self/status"), reason="needs /proc to tell the peak of memory")


def growth(server: FaultServer, way: str) -> tuple[str, int]:
    """Make a call in a process of its own; return what came of it, and by how many bytes its memory grew."""
    with Program(GREW, server.address, way, measured=False) as program:
        code, said = program.end(timeout=300)
    assert code == 0, said
    outcome, grown = said.splitlines()
    return outcome, int(grown)


@on_linux
@pytest.mark.parametrize(
    "head",
    [b"Content-Length: %d\r\n" % (1 << 30), b"Transfer-Encoding: chunked\r\n", b""],
    ids=["length", "chunks", "end"],
)
@pytest.mark.parametrize(
    ("way", "status", "outcome", "most"),
    [
        ("call", 200, "ProtocolError True", 40 * MIB),
        ("call", 500, "ProtocolError True", 40 * MIB),
        ("send_file", 200, "ProtocolError True", 40 * MIB),
        ("stream", 500, "RemoteError False", 8 * MIB),
        ("stream", 200, str(1 << 30), 8 * MIB),
    ],
)
def test_a_reply_of_one_gib_takes_no_more_memory_than_twice_the_limit(fault_server, head, way, status, outcome, most):
    seen, grown = growth(fault_server(one_gib(head, status)), way)
    assert seen == outcome
    assert grown <= most


@on_linux
def test_a_reply_of_small_values_takes_no_more_memory_than_its_bytes(fault_server):
    body = b'{"Volumes": [' + b"[]," * (5 << 20) + b"[]]}"
    seen, grown = growth(fault_server(send_and_close(reply(body))), "call")
    assert seen == "ProtocolError False"
    assert grown <= 40 * MIB


def packed_zeros(size: int) -> bytes:
    """Return gzip of ``size`` zeros, which take a thousandth of that. All MiB of it are the same bytes (RFC 1952)."""
    packer = zlib.compressobj(9, wbits=-15)
    mib = packer.compress(bytes(MIB)) + packer.flush(zlib.Z_FULL_FLUSH)
    checksum = reduce(lambda crc, _: zlib.crc32(bytes(MIB), crc), range(size // MIB), 0)
    trailer = struct.pack("<II", checksum, size % (1 << 32))
    return gzip.compress(b"", mtime=0)[:10] + mib * (size // MIB) + packer.flush() + trailer


@on_linux
@pytest.mark.parametrize(("way", "most"), [("call", 40 * MIB), pytest.param("stream", 8 * MIB, marks=pytest.mark.long)])
def test_a_compressed_bomb_takes_no_more_memory_than_a_reply_that_is_not_compressed(fault_server, way, most):
    bomb = packed_zeros(1 << 30)
    server = fault_server(send_and_close(reply(bomb, headers="Content-Encoding: gzip\r\n")))
    seen, grown = growth(server, way)
    assert seen == ("ProtocolError True" if way == "call" else str(1 << 30))
    assert grown <= most


@pytest.mark.parametrize("coding", ["gzip, gzip", "gzip,br", "deflate", "br", "zstd", "compress", "x-gzip", "\x1b[2J"])
def test_a_coding_that_was_not_requested_is_not_decompressed_and_named_if_the_body_is_not_json(client_of, coding):
    body = zlib.compress(packed_zeros(MIB))
    client = client_of(answer(body, headers=f"Content-Encoding: {coding}\r\n"))
    for call in (CALLS["call"], CALLS["send_file"]):
        with pytest.raises(ProtocolError, match="only gzip is supported") as refused:
            call(client)
        assert str(refused.value).isprintable()
    assert read_all(client) == body


def test_gzip_within_gzip_is_unpacked_once(client_of):
    inner = packed_zeros(MIB)
    client = client_of(answer(gzip.compress(inner, mtime=0), headers="Content-Encoding: gzip\r\n"))
    with pytest.raises(ProtocolError, match="not JSON"):
        client.call("A.B")
    assert read_all(client) == inner


@pytest.mark.parametrize("call", [CALLS["call"], CALLS["send_file"], lambda client: read_all(client, 0.5)], ids=CALLS)
def test_gzip_in_millions_of_pieces_does_not_outlast_the_deadline(client_of, call):
    nothing = gzip.compress(b"", mtime=0)
    flood = nothing * (48 * MIB // len(nothing))
    behaviour = send_and_close(reply(flood, headers="Content-Encoding: gzip\r\n"))
    client = client_of(behaviour, timeout=0.5, limits=Limits(body=64 * MIB))
    with ends_within(8), pytest.raises(CallTimeout):
        call(client)


FLOODS = {
    "a status line": (b"HTTP/1.1 200 ", b"O" * 1000),
    "many headers": (b"HTTP/1.1 200 OK\r\n", b"A: b\r\n" * 100),
    "names of headers": (b"HTTP/1.1 200 OK\r\n", b"A" * 1000),
    "one header": (b"HTTP/1.1 200 OK\r\nA: ", b"b" * 1000),
    "folded lines": (b"HTTP/1.1 200 OK\r\nA: ", b"b\r\n " * 100),
    "interim answers": (b"", b"HTTP/1.1 100 Continue\r\n\r\n" * 100),
    "hints": (b"", b"HTTP/1.1 103 Early Hints\r\nLink: </x>\r\n\r\n" * 100),
    "an extension of a chunk": (b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n1;", b"extension" * 100),
    "the size of a chunk": (b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n", b"0" * 1000),
    "trailers": (b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n", b"A: b\r\n" * 100),
    "one trailer": (b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n0\r\nA: ", b"b" * 1000),
    "empty lines": (b"", b"\r\n" * 500),
}


@each_call
@pytest.mark.parametrize(("start", "more"), FLOODS.values(), ids=FLOODS)
def test_a_flood_of_what_is_no_body_is_refused(client_of, call, start, more):
    client = client_of(endless(start, more))
    with ends_within(8), pytest.raises(ProtocolError, match="which is Limits.headers|not HTTP|over 4096 bytes"):
        call(client)


@pytest.mark.parametrize(("start", "more"), FLOODS.values(), ids=FLOODS)
def test_a_flood_in_the_handshake_is_an_activation_error(short_path, start, more):
    registry = LocalRegistry(short_path, [short_path])
    server = FaultServer(endless(start, more), path=str(short_path / "p.sock"))
    refused = pytest.raises(ActivationError, match="Limits.headers|not HTTP|over 4096 bytes")
    with server, PluginManager(registry, groups=()) as pm, ends_within(8), refused:
        pm.get("p", timeout=20)


# --- TLS that is too old ------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def authority(tmp_path_factory) -> Authority:
    return Authority(tmp_path_factory.mktemp("authority"))


def old_context(version: ssl.TLSVersion) -> ssl.SSLContext | None:
    """Return a context of a client that speaks this version and no other, None where this OpenSSL cannot."""
    context = ssl.create_default_context()
    context.check_hostname, context.verify_mode = False, ssl.CERT_NONE
    context.set_ciphers("ALL:@SECLEVEL=0")
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # ssl says that these versions are old
        try:
            context.minimum_version = context.maximum_version = version
        except ValueError:
            return None
    return context


@pytest.fixture(params=["TLSv1", "TLSv1_1"])
def old_server(request, authority) -> Iterator[int]:
    """The port of ``openssl s_server``, which speaks one old version of TLS; a client of that version was served."""
    if shutil.which("openssl") is None:
        pytest.skip("openssl is not installed")
    identity = authority.issue("old", "127.0.0.1")
    with socket.create_server(("127.0.0.1", 0)) as free:
        port = free.getsockname()[1]
    option = {"TLSv1": "-tls1", "TLSv1_1": "-tls1_1"}[request.param]
    command = ["openssl", "s_server", option, "-cipher", "ALL:@SECLEVEL=0", "-accept", f"127.0.0.1:{port}", "-www"]
    command += ["-cert", identity.cert_file, "-key", identity.key_file]
    server = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    try:
        context = old_context(ssl.TLSVersion[request.param])
        if context is not None:
            assert eventually(lambda: serves(port, context) or server.poll() is not None)
        if context is None or server.poll() is not None:
            pytest.skip(f"this openssl speaks no {request.param} any more")
        yield port
    finally:
        server.kill()
        server.communicate()


def serves(port: int, context: ssl.SSLContext) -> bool:
    try:
        with socket.create_connection(("127.0.0.1", port), timeout=5) as sock, context.wrap_socket(sock):
            return True
    except OSError:
        return False


@pytest.mark.parametrize("config", [{}, {"insecure_skip_verify": True}], ids=["verified", "not verified"])
def test_a_server_of_tls_1_0_or_1_1_is_refused_with_what_would_mend_it(authority, old_server, config):
    tls = TLSConfig(ca_file=authority.ca_file, **config)
    with Client(f"https://127.0.0.1:{old_server}", tls=tls, timeout=10) as client:
        with pytest.raises(ConnectError, match="no TLS version from MinVersion on, which is TLS 1.2 at least"):
            client.call("A.B")
        with pytest.raises(OSError, match="(?i)version|protocol"):
            client.session.get("A.B")
