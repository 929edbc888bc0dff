"""Whatever a plugin answers and whatever a spec file holds: a result or an error of our tree, and never a wait."""

from __future__ import annotations

import base64
import gzip
import json
import logging
import os
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import msgspec
import pytest
from faultserver import FaultServer, Peer
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from strategies import damaged

from extframe import Client, ExtframeError, LocalRegistry, PluginManager, VolumeDriver
from extframe.client.http1 import Limits
from extframe.errors import CallTimeout

CASES = int(os.environ.get("EXTFRAME_FUZZ", 3 * settings.default.max_examples // 2))
often = settings(max_examples=CASES, deadline=None, suppress_health_check=list(HealthCheck))

# --- answers that are nearly right --------------------------------------------------------------------

Recorded = tuple[int, list[tuple[str, str]], bytes]


def recorded_answers() -> list[Recorded]:
    """Return the different answers that real plugins gave."""
    found: dict[str, Recorded] = {}
    for path in sorted((Path(__file__).parent / "transcripts").glob("*.json")):
        for exchange in json.loads(path.read_text())["exchanges"]:
            answer = exchange["response"]
            if answer:
                text = answer.get("body") or ""
                body = base64.b64decode(text) if answer.get("body_encoding") == "base64" else text.encode()
                found[text] = answer["status"], [tuple(header) for header in answer["headers"]], body
    return list(found.values())


RECORDED = st.sampled_from(recorded_answers())
STATUSES = st.sampled_from([0, 99, 100, 101, 103, 199, 200, 204, 205, 299, 304, 307, 404, 500, 999, 1000])
VERSIONS = st.sampled_from([b"HTTP/1.1"] * 9 + [b"HTTP/1.0", b"HTTP/2.0", b"HTTP/0.9", b"RTSP/1.0", b"http/1.1", b""])
ENDS = st.sampled_from([b"\r\n"] * 9 + [b"\n", b"\r", b"\r\r\n"])
HEADERS = st.sampled_from(
    [
        b"Content-Length: 5",
        b"Content-Length:",
        b"Content-Length: +5",
        b"Content-Length: -1",
        b"Content-Length: 5, 5",
        b"Content-Length: 0x5",
        b"Content-Length: 18446744073709551616",
        b"Content-Length: " + b"9" * 5000,
        b"Transfer-Encoding: chunked",
        b"Transfer-Encoding: gzip, chunked",
        b"Transfer-Encoding: identity",
        b"Transfer-Encoding:",
        b"Content-Encoding: gzip",
        b"Content-Encoding: gzip, gzip",
        b"Content-Encoding: deflate",
        b"Content-Encoding: br",
        b"Connection: close",
        b"Connection: upgrade\r\nUpgrade: h2c",
        b"Location: http://\x1b[2J\xff/",
        b"Trailer: X",
        b" folded: line",
        b": nothing",
        b"X\0: y",
        b"\xff: \xff",
        b"X: " + b"y" * 70_000,
        b"Y: z\r\n" * 10_000,
    ]
)


def in_chunks(body: bytes, draw: Callable[..., Any]) -> bytes:
    sizes = draw(st.lists(st.integers(1, 40), max_size=4))
    chunks = []
    for size in sizes:
        chunks.append(body[:size])
        body = body[size:]
    ends = draw(st.sampled_from([b"0\r\n\r\n"] * 5 + [b"", b"0\r\nX: y\r\n\r\n", b"-1\r\n", b"f" * 20 + b"\r\n"]))
    return b"".join(b"%x\r\n%b\r\n" % (len(chunk), chunk) for chunk in (*chunks, body) if chunk) + ends


def spoiled(data: bytes, draw: Callable[..., Any]) -> bytes:
    """Return ``data`` with bytes changed, left out, put in and said twice."""
    spoilt = bytearray(data)
    for _ in range(draw(st.integers(0, 3))):
        at = draw(st.integers(0, len(spoilt)))
        end = at + draw(st.integers(0, 30))
        spoilt[at:end] = draw(st.just(bytes(spoilt[at:end]) * 2) | st.binary(max_size=8))
    return bytes(spoilt)


@st.composite
def almost_answers(draw) -> bytes:
    """A recorded answer with anything wrong in it: status, headers, framing, packing, JSON, single bytes."""
    status, headers, body = draw(RECORDED)
    status = draw(st.just(status) | STATUSES)
    if draw(st.booleans()):
        body = odd_body(draw, body)
    lines = [f"{name}: {value}".encode() for name, value in headers if name.lower() != "content-length"]
    if draw(st.integers(0, 4)) == 0:
        body = gzip.compress(body, mtime=0)
        lines.append(b"Content-Encoding: gzip")
    if draw(st.integers(0, 4)) == 0:
        body = in_chunks(body, draw)
        lines.append(b"Transfer-Encoding: chunked")
    elif draw(st.integers(0, 4)):
        lines.append(b"Content-Length: %d" % len(body))
    lines += draw(st.lists(HEADERS, max_size=2))
    lines = draw(st.permutations(lines))
    end = draw(ENDS)
    first = draw(VERSIONS) + b" %d Any" % status
    return spoiled(end.join([first, *lines, b"", b""]) + body, draw)


def odd_body(draw: Callable[..., Any], body: bytes) -> bytes:
    """Return JSON that was damaged, or is none, or is more than anybody expects."""
    odd = [
        b"",
        b"null",
        b"[" * 5000,
        b'{"Err": ' * 2000,
        b"1" * 5000,
        b'"\\ud800"',
        b'{"Err": "\xff"}',
        b"{} {}",
        b"\xef\xbb\xbf{}",
    ]
    choice = draw(st.integers(0, 2))
    if choice == 0:
        try:
            return damaged(body, Draw(draw))
        except ValueError:
            pass
    return draw(st.sampled_from(odd) if choice == 1 else st.binary(max_size=100))


class Draw:
    """What `damaged` takes, made of what a composite strategy is given."""

    def __init__(self, draw: Callable[..., Any]) -> None:
        self.draw = draw


ANSWERS = st.lists(almost_answers(), min_size=1, max_size=3).map(b"".join) | st.binary(max_size=300)
CUTS = st.lists(st.integers(0, 2000), max_size=5).map(sorted)

# --- a plugin that gives them -------------------------------------------------------------------------


@pytest.fixture(scope="module")
def plugin() -> Iterator[FaultServer]:
    directory = tempfile.TemporaryDirectory(prefix="ef-")
    with directory, FaultServer(lambda peer: None, path=f"{directory.name}/p.sock") as server:
        yield server


def gives(data: bytes, cuts: list[int]) -> Callable[[Peer], None]:
    def behaviour(peer: Peer) -> None:
        if peer.read_request():
            for begin, end in zip([0, *cuts], [*cuts, len(data)], strict=True):
                peer.send(data[begin:end])

    return behaviour


def failure_of(act: Callable[[], object]) -> ExtframeError | None:
    """Return the error of ours that something ends with, None where it ends well."""
    try:
        act()
    except ExtframeError as error:
        return error
    return None


def check(failure: ExtframeError | None) -> None:
    """Fail for an error that comes of waiting, though the plugin has said all and closed, or that says nothing."""
    assert not isinstance(failure, CallTimeout), failure
    assert failure is None or str(failure)


def read_all(client: Client) -> None:
    with client.stream("VolumeDriver.List") as stream:
        while stream.read(1000):
            pass


WAYS: dict[str, Callable[[Client], object]] = {
    "call": lambda client: client.call("VolumeDriver.List"),
    "call for a type": lambda client: client.call("VolumeDriver.List", reply=dict[str, list[int]]),
    "call for nothing": lambda client: client.call("VolumeDriver.List", reply=None, idempotent=True),
    "call for bytes": lambda client: client.call("VolumeDriver.List", reply=msgspec.Raw),
    "stream": read_all,
    "driver": lambda client: VolumeDriver.remote(client).list(),
}


@often
@given(data=ANSWERS, cuts=CUTS, way=st.sampled_from(sorted(WAYS)))
def test_any_answer_to_a_call_is_a_result_or_an_error_of_ours(plugin, data, cuts, way):
    plugin.behaviour = gives(data, cuts)
    with Client(plugin.address, timeout=20, limits=Limits(body=100_000)) as client:
        check(failure_of(lambda: WAYS[way](client)))
    assert {type(error) for error in plugin.errors} <= {BrokenPipeError, ConnectionResetError}


class Heard(logging.Handler):
    """Keeps what was logged."""

    def __init__(self) -> None:
        super().__init__()
        self.lines: list[str] = []

    def emit(self, record: logging.LogRecord) -> None:
        self.lines.append(record.getMessage())


@pytest.fixture(scope="module")
def heard() -> Iterator[Heard]:
    handler = Heard()
    logger = logging.getLogger("extframe")
    logger.addHandler(handler)
    logger.setLevel(logging.DEBUG)
    yield handler
    logger.setLevel(logging.NOTSET)
    logger.removeHandler(handler)


ENTRIES = st.text() | st.sampled_from(
    [
        "VolumeDriver",
        "volume_driver",
        "__class__",
        "plugin_activated",
        "import",
        "\x1b[2J",
        "a\nWARNING b",
        "x" * 5000,
        "",
    ]
)
MANIFESTS = st.fixed_dictionaries({"Implements": st.lists(ENTRIES | st.none() | st.integers(), max_size=5)}).map(
    lambda manifest: b"HTTP/1.1 200 OK\r\n\r\n" + json.dumps(manifest).encode("utf-8", "replace")
)


@often
@given(data=ANSWERS | MANIFESTS, cuts=CUTS)
def test_any_answer_to_the_handshake_is_a_plugin_or_an_error_of_ours(plugin, heard, data, cuts):
    plugin.behaviour = gives(data, cuts)
    heard.lines.clear()
    directory = os.path.dirname(plugin.path)
    with PluginManager(LocalRegistry(directory, [directory]), groups=()) as pm:
        pm.handle("VolumeDriver", lambda name, client: None)
        check(failure_of(lambda: pm.get("p", timeout=20)))
        assert all(str(failure) for failure in pm.failures())
        assert [found.name for found in pm.get_all("VolumeDriver", timeout=20)] in ([], ["p"])
    assert all(line.isprintable() for line in heard.lines), heard.lines


# --- spec files ---------------------------------------------------------------------------------------

SPECS = [
    (".spec", b"tcp://localhost:1234\n"),
    (".spec", b"unix:///run/p.sock"),
    (".spec", b"https://user:word@[::1]:8443/path?query"),
    (".json", b'{"Name": "p", "Addr": "https://localhost:1"}'),
    (
        ".json",
        b'{"addr": "https://h", "TLSConfig": {"CAFile": "/ca.pem", "InsecureSkipVerify": false, "MinVersion": 771}}',
    ),
    (".json", b'{"Addr": "tcp://h:1", "TLSConfig": {"CertFile": "/c", "KeyFile": "/k", "ExclusiveRootPools": true}}'),
]
TOKENS = st.sampled_from(
    [
        *(b"\0", b"\n", b"\r", b"\x1b[2J", b"\xff", b"\xef\xbb\xbf", b"\xe2\x80\xae", b"\xe2\x80\xa8", b"\xef\xbc\x8e"),
        *(b"://", b"[", b"]", b"@", b"%00", b"%", b":99999", b":-1", b"unix:", b"npipe://", b"file:///etc/passwd"),
        *(b"{}", b'"', b'{"Addr": "tcp://h:1"}', b"\\ud800", b"null", b"1e999", b"9" * 5000, b"[" * 5000),
        *(b"../" * 50, b"a" * 200),
    ]
)


@st.composite
def almost_specs(draw) -> tuple[str, bytes]:
    """A spec file with bytes and words put in, taken out and exchanged."""
    extension, content = draw(st.sampled_from(SPECS))
    content = spoiled(content, draw)
    for token in draw(st.lists(TOKENS, max_size=3)):
        at = draw(st.integers(0, len(content)))
        content = content[:at] + token + content[at + draw(st.integers(0, 10)) :]
    return extension, content


@pytest.fixture(scope="module")
def directory() -> Iterator[Path]:
    with tempfile.TemporaryDirectory(prefix="ef-") as directory:
        yield Path(directory)


def call_what_is_found(directory: Path) -> None:
    found = LocalRegistry(directory, [directory]).find("p")
    Client(found.address, tls=found.tls).close()


@often
@given(spec=almost_specs() | st.tuples(st.sampled_from([".spec", ".json"]), st.binary(max_size=300)))
def test_any_spec_file_gives_a_plugin_to_call_or_an_error_of_ours(directory, spec):
    extension, content = spec
    path = directory / f"p{extension}"
    path.write_bytes(content)
    failure = failure_of(lambda: call_what_is_found(directory))
    path.unlink()
    assert failure is None or str(failure).startswith(f"{path}: ")
