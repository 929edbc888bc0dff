"""Every fault of a plugin ends alike for Client and AsyncClient: one table, whose words and connections are compared.

The table is in docs/asyncio.md as well, which ``PYTHONPATH=tests python tests/client/test_outcomes.py`` writes.
"""

from __future__ import annotations

import contextlib
import re
import socket
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Any

import pytest
from certificates import Authority
from event_loops import NEW_LOOP, run_in
from faultserver import (
    Behaviour,
    FaultServer,
    Peer,
    answer,
    close_after_read,
    drip,
    endless,
    full_backlog,
    hang,
    read_and_hang,
    reply,
    reset_after_read,
    send_and_close,
    send_and_hang,
    successively,
)

from extframe import AsyncClient, Client, ExtframeError, Limits, TLSConfig

PAGE = Path(__file__).parents[2] / "docs" / "asyncio.md"
START, END = "<!-- outcomes -->", "<!-- end of outcomes -->"
LARGE = {"Data": "x" * 8_000_000}
LIMITS = Limits(headers=16 * 1024, body=1024 * 1024)
CUT_JSON = reply(b'{"Err": ', length=100)


@dataclass(frozen=True)
class Fault:
    """What the plugin does, and how a call ends: the class and words of its error, and the connections it took."""

    name: str
    behaviour: Behaviour
    outcome: str
    words: str
    connections: int = 1
    idempotent: int = 0  # connections of an idempotent call, if it takes others
    succeeds: bool = False  # with an idempotent call
    kind: str = "unix"
    server_tls: str = ""
    arguments: object = None
    server: dict[str, Any] = field(default_factory=dict)
    address: str = ""


def cut_within_tls(peer: Peer) -> None:
    peer.read_request()
    peer.send(b"HTTP/1.1 200 OK\r\n\r\n" + b'{"Err": ')
    socket.socket(fileno=peer.socket.detach()).close()  # without TLS's own end


def speak_http(peer: Peer) -> None:
    peer.socket.recv(65536)
    peer.send(b"HTTP/1.1 400 Bad Request\r\n\r\n")
    peer.hang()


def early(peer: Peer) -> None:
    peer.read_head()
    peer.send(reply(b'{"Err": "too large"}', status="413 Too Large"))
    peer.wait_closed()


def answer_then(behaviour: Behaviour) -> Behaviour:
    """Answer one request of the connection; the next one meets ``behaviour``."""

    def both(peer: Peer) -> None:
        peer.read_request()
        peer.send(reply())
        behaviour(peer)

    return both


TIMED_OUT = "timed out waiting for "
CLOSED = "the plugin closed the connection"
HALF_HEAD = b"HTTP/1.1 200 OK\r\nContent-Le"
OVER_BODY = b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n"
FAULTS = [
    Fault("no socket", hang, "ConnectError", "No such file", 0, address="unix:///no/such.sock"),
    Fault("refused port", hang, "ConnectError", "Connection refused", 0, address="tcp://127.0.0.1:9"),
    Fault("no such host", hang, "ConnectError", "the host name", 0, address="tcp://no-such-host.invalid:80"),
    Fault("full backlog", hang, "CallTimeout", TIMED_OUT + "the plugin to accept", 0, server={"backlog": 0}),
    Fault(
        "full backlog, TCP",
        hang,
        "CallTimeout",
        TIMED_OUT + "the plugin to accept",
        0,
        kind="tcp",
        server={"backlog": 0},
    ),
    Fault("hangs before the request", hang, "CallTimeout", TIMED_OUT + "the response"),
    Fault("hangs after the request", read_and_hang, "CallTimeout", TIMED_OUT + "the response"),
    Fault("hangs, TCP", read_and_hang, "CallTimeout", TIMED_OUT + "the response", kind="tcp"),
    Fault("reads no large request", hang, "CallTimeout", TIMED_OUT + "the plugin to take", arguments=LARGE),
    Fault("hangs after half a head", send_and_hang(HALF_HEAD), "CallTimeout", TIMED_OUT + "the headers"),
    Fault("hangs after half a body", send_and_hang(CUT_JSON), "CallTimeout", TIMED_OUT + "the body"),
    Fault("a byte at a time", drip(reply(b" " * 100_000), 0.02), "CallTimeout", TIMED_OUT + "the "),
    Fault("closes after the request", close_after_read, "ConnectionLost", f"{CLOSED} without a response", 1, 3),
    Fault(
        "resets after the request", reset_after_read, "ConnectionLost", f"{CLOSED}: Connection reset", 1, 3, kind="tcp"
    ),
    Fault("closes within the head", send_and_close(HALF_HEAD), "ConnectionLost", f"{CLOSED} within the headers", 1, 3),
    Fault("closes within the JSON", send_and_close(CUT_JSON), "ConnectionLost", "the reply ended after 8 bytes", 1, 3),
    Fault("closes once, then works", successively(close_after_read, answer()), "ConnectionLost", CLOSED, 1, 2, True),
    Fault(
        "closes a kept connection", answer_then(lambda peer: peer.read_request()), "ConnectionLost", CLOSED, 1, 2, True
    ),
    Fault("answers a large request early", early, "RemoteError", "too large", arguments=LARGE),
    Fault("garbage", send_and_close(b"SSH-2.0-OpenSSH_9.2\r\n"), "ProtocolError", "the response is not HTTP"),
    Fault(
        "another protocol",
        send_and_close(b"HTTP/1.1 101 S\r\nUpgrade: h2c\r\n\r\n"),
        "ProtocolError",
        "the plugin switched",
    ),
    Fault(
        "flood of headers",
        endless(b"HTTP/1.1 200 OK\r\n", b"X-Y: z\r\n" * 512),
        "ProtocolError",
        "the headers of the response are over",
    ),
    Fault(
        "flood of body",
        endless(OVER_BODY, b"1000\r\n" + b"x" * 4096 + b"\r\n"),
        "ProtocolError",
        "the body of the response is over",
    ),
    Fault(
        "announces too much", send_and_hang(reply(length=1 << 40)), "ProtocolError", "the body of the response is over"
    ),
    Fault("not JSON", answer(b"not json"), "ProtocolError", "not JSON"),
    Fault("wrong shape", answer(b"[1]"), "ProtocolError", "Expected `object | null`"),
    Fault("its own error", answer(b'{"Err": "no space"}', status="500 Oops"), "RemoteError", "no space"),
    Fault("its own error, status 200", answer(b'{"Err": "no space"}'), "RemoteError", "no space"),
    Fault(
        "redirect",
        answer(b"", status="307 Over There", headers="Location: /x\r\n"),
        "RemoteError",
        "Temporary Redirect",
    ),
    Fault(
        "hangs in the TLS handshake", hang, "CallTimeout", TIMED_OUT + "the TLS handshake", kind="tcp", address="https"
    ),
    Fault("hangs, TLS", read_and_hang, "CallTimeout", TIMED_OUT + "the response", kind="tcp", server_tls="server"),
    Fault(
        "closes in the TLS handshake",
        lambda peer: peer.socket.recv(65536),
        "ConnectError",
        "the TLS handshake failed",
        kind="tcp",
        address="https",
    ),
    Fault("speaks no TLS", speak_http, "ConnectError", "the plugin does not speak TLS", kind="tcp", address="https"),
    Fault(
        "certificate of a stranger",
        answer(),
        "ConnectError",
        "the plugin's certificate is refused",
        kind="tcp",
        server_tls="stranger",
    ),
    Fault(
        "asks for a certificate",
        answer(),
        "ConnectError",
        "the plugin refuses this host",
        kind="tcp",
        server_tls="asks",
    ),
    Fault(
        "cut within TLS",
        cut_within_tls,
        "ConnectionLost",
        "the reply ended after 8 bytes",
        1,
        3,
        kind="tcp",
        server_tls="server",
    ),
]


@pytest.fixture(scope="module")
def tls_contexts(tmp_path_factory):
    ours, other = (Authority(tmp_path_factory.mktemp(name)) for name in ("ours", "other"))
    server = ours.issue("server", "127.0.0.1")
    contexts = {
        "server": server.server_context(),
        "stranger": other.issue("server", "127.0.0.1").server_context(),
        "asks": server.server_context(clients_of=ours.ca_file),
    }
    return contexts, TLSConfig(ca_file=ours.ca_file)


Ending = tuple[str, str, int]
"""The class of the error, or "reply"; its words; and the number of connections."""


def ended(call: Callable[[], object], server: FaultServer, address: str) -> Ending:
    try:
        outcome, words = "reply", repr(call())
    except ExtframeError as error:
        outcome, words = (
            type(error).__name__,
            f"{error} ({getattr(error, 'phase', None)}, {error.plugin}, {error.method})",
        )
        words = re.sub(r"(\d+ attempts) in \d+\.\d s", r"\1", words.replace(address, "ADDRESS"))
    return outcome, words, server.connections


def call_sync(make: dict[str, Any], address: str, calls: int, **options: Any) -> object:
    with Client(address, **make) as client:
        return [client.call("/VolumeDriver.Create", **options) for _ in range(calls)][-1]


def call_async(kind: str, make: dict[str, Any], address: str, calls: int, **options: Any) -> object:
    async def main() -> object:
        async with AsyncClient(address, **make) as client:
            return [await client.call("/VolumeDriver.Create", **options) for _ in range(calls)][-1]

    return run_in(kind, main)


CLIENTS: dict[str, Callable[..., object]] = {"sync": call_sync}
CLIENTS |= {kind: partial(call_async, kind) for kind in NEW_LOOP}


def endings(
    fault: Fault, idempotent: bool, timeout: float, contexts: dict[str, Any], tls: TLSConfig
) -> dict[str, Ending]:
    """Return how a call ends with each client, all of which make it at the same time, to servers of their own."""

    def ending(call: Callable[..., object]) -> Ending:
        options = {"tls": contexts.get(fault.server_tls), "accepting": "backlog" not in fault.server, **fault.server}
        with FaultServer(fault.behaviour, kind=fault.kind, **options) as server, contextlib.ExitStack() as stack:
            address = server.address
            if fault.address:
                address = address.replace("tcp://", "https://") if fault.address == "https" else fault.address
            if "backlog" in fault.server:
                stack.enter_context(full_backlog(server))
            make = {"plugin": "rec", "timeout": timeout, "limits": LIMITS, "tls": tls}
            calls = 2 if "kept" in fault.name else 1
            arguments = {"arguments": fault.arguments, "idempotent": idempotent}
            return ended(lambda: call(make, address, calls, **arguments), server, address)

    with ThreadPoolExecutor(len(CLIENTS)) as threads:
        return dict(zip(CLIENTS, threads.map(ending, CLIENTS.values()), strict=True))


@pytest.mark.parametrize("idempotent", [False, True], ids=["once", "idempotent"])
@pytest.mark.parametrize("fault", FAULTS, ids=lambda fault: fault.name)
def test_a_fault_ends_alike_for_threads_and_for_event_loops(fault, idempotent, tls_contexts):
    connections = fault.idempotent if idempotent and fault.idempotent else fault.connections
    outcome, words = ("reply", "{}") if idempotent and fault.succeeds else (fault.outcome, fault.words)
    for timeout in (0.4, 2.0, 8.0):  # a machine that stalls may end a call in an earlier phase: then it has longer
        found = endings(fault, idempotent, timeout, *tls_contexts)
        is_alike = len(set(found.values())) == 1
        if is_alike and (found["sync"][0], found["sync"][2]) == (outcome, connections) and words in found["sync"][1]:
            break
    assert found == dict.fromkeys(CLIENTS, found["sync"])
    assert (found["sync"][0], found["sync"][2]) == (outcome, connections)
    assert words in found["sync"][1]


def table() -> str:
    """Return the table as Markdown."""
    rows = ["| the plugin | a call raises | connections | of an idempotent call |", "| --- | --- | --- | --- |"]
    for each in FAULTS:
        again = f"{each.idempotent or each.connections}{', which succeeds' if each.succeeds else ''}"
        words = each.words.strip().replace("|", "\\|")
        rows.append(f"| {each.name} | `{each.outcome}`: {words} ... | {each.connections} | {again} |")
    return "\n".join(rows)


def page() -> str:
    """Return the page with the table in its place."""
    text = PAGE.read_text()
    start, end = text.index(START) + len(START), text.index(END)
    return f"{text[:start]}\n{table()}\n{text[end:]}"


def test_the_table_in_the_documentation_is_this_one():
    assert PAGE.read_text() == page(), "run PYTHONPATH=tests python tests/client/test_outcomes.py"


if __name__ == "__main__":
    PAGE.write_text(page())
