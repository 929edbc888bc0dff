"""Whatever is sent to a plugin, it stays up, and every answer is JSON, a closed connection or a plain 400."""

from __future__ import annotations

import json
import os
import re

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from lab import AsyncLab, SyncLab
from wire import Wire

from extframe.server import serving

CASES = int(os.environ.get("EXTFRAME_FUZZ", 3 * settings.default.max_examples // 2))
often = settings(max_examples=CASES, deadline=None, suppress_health_check=list(HealthCheck))

JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(),
    lambda inner: st.lists(inner) | st.dictionaries(st.text() | st.sampled_from(["Name", "name", "Seconds"]), inner),
)
VERBS = st.sampled_from([b"POST", b"GET", b"HEAD", b"CONNECT", b"PRI", b"post", b"", b"M-SEARCH"])
PATHS = st.sampled_from(
    [b"/Lab.Work", b"/Plugin.Activate", b"*", b"//", b"/%00", b"/%ff", b"http://x/Lab.Rest", b"/\xff"]
)
VERSIONS = st.sampled_from([b"HTTP/1.1", b"HTTP/1.0", b"HTTP/2.0", b"HTTP/9", b"ICY", b""])
HEADERS = st.sampled_from(
    [
        b"Host:",
        b"Content-Length: 2",
        b"Content-Length: -1",
        b"Content-Length: 99999999999999999999999",
        b"Content-Length: 2, 2",
        b"Transfer-Encoding: chunked",
        b"Transfer-Encoding: gzip, chunked",
        b"Transfer-Encoding: x",
        b"Expect: 100-continue",
        b"Upgrade: websocket\r\nConnection: upgrade",
        b"Upgrade: h2c\r\nConnection: upgrade",
        b"Connection: close",
        b" folded: line",
        b"X\0: y",
        b"X: \xff\x00",
        b": nothing",
        b"X" * 70_000 + b": y",
        b"X: " + b"y" * 70_000,
    ]
)
BODIES = st.sampled_from(
    [b"", b"{}", b'{"Name": "a"}', b"2\r\n{}\r\n0\r\n\r\n", b"zz\r\n", b"ffffffffffffffffff\r\n{}"]
)
ENDS = st.sampled_from([b"\r\n", b"\n", b"\r", b"\r\n\r\n", b""])


@st.composite
def almost_requests(draw) -> bytes:
    """Bytes that are a request, or nearly one."""
    end = draw(ENDS)
    lines = [b" ".join([draw(VERBS), draw(PATHS), draw(VERSIONS)]), *draw(st.lists(HEADERS, max_size=4))]
    return end.join([*lines, b"", b""]) + draw(BODIES | st.binary(max_size=50))


@pytest.fixture(scope="module", params=[SyncLab, AsyncLab])
def plugin(request):
    with serving(request.param(lambda: "done"), limit=100_000, threads=4) as plugin:
        yield plugin


HEAD = re.compile(rb"HTTP/1\.1 (\d{3}) [^\r\n]*\r\n((?:[^\r\n]+\r\n)*)\r\n")
LENGTH = re.compile(rb"content-length: (\d+)\r\n")


def answers_in(received: bytes) -> list[tuple[int, bytes, bytes]]:
    """Split what came back into statuses, headers and bodies; fail where something else stands between them."""
    found = []
    while received:
        head = HEAD.match(received)
        assert head, received
        received = received[head.end() :]
        length = LENGTH.search(head[2])
        size = int(length[1]) if length and not received.startswith(b"HTTP/1.1 ") else 0
        found.append((int(head[1]), head[2], received[:size]))
        received = received[size:]
    return found


def check(plugin, data: bytes) -> None:
    with Wire(plugin.address) as wire:
        try:
            wire.write(data)
            wire.sock.shutdown(1)
        except OSError:
            pass  # it was closed before all was sent
        received = wire.read_until_closed()
    for status, headers, body in answers_in(received):
        if b"text/plain" in headers:
            assert status == 400, body
        elif body:
            assert isinstance(json.loads(body), dict)
    with Wire(plugin.address) as wire:
        assert wire.post("Lab.Rest").status == 200


@often
@given(data=almost_requests())
def test_it_survives_requests_that_are_nearly_right(plugin, data):
    check(plugin, data)


@often
@given(data=st.binary(max_size=2000))
def test_it_survives_noise(plugin, data):
    check(plugin, data)


@often
@given(body=st.binary(max_size=200) | JSON.map(lambda value: json.dumps(value).encode()))
def test_every_body_is_answered_with_json(plugin, body):
    with Wire(plugin.address) as wire:
        answer = wire.post("Lab.Work", body)
        assert answer.status in (200, 400)
        assert isinstance(answer.json, dict)
        assert wire.post("Lab.Rest").status == 200


@often
@given(whole=st.lists(almost_requests(), max_size=4).map(b"".join), cut=st.integers(0, 300))
def test_it_survives_requests_that_come_in_pieces(plugin, whole, cut):
    with Wire(plugin.address) as wire:
        try:
            wire.write(whole[:cut])
            wire.write(whole[cut:])
        except OSError:
            pass
    with Wire(plugin.address) as wire:
        assert wire.post("Lab.Rest").status == 200
