"""Check how a plugin speaks HTTP: headers, connections, concurrency, invalid requests. Sends only the handshake."""

from __future__ import annotations

from collections.abc import Collection, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack

from ..client.http1 import ACCEPT, USER_AGENT, Response
from ..errors import ConnectionLost, ProtocolError, TransportError
from ..protocol import ACTIVATE, excerpt
from .check import Check
from .raw_client import RawClient
from .rules import Outcome, Verdict, failed, noted, passed, skipped, warned

CALLERS = 8
HEADER_SIZE = 64 << 10  # bytes: more than servers accept
_JSON_TYPES = ("application/json", "application/x-ndjson", "application/vnd.docker.plugins.")


def http_checks(implements: Collection[str]) -> Iterator[Check]:
    """Yield the checks of valid requests. Podman calls volume plugins only."""
    podman = Verdict.FAIL if "VolumeDriver" in implements else Verdict.NOTE
    yield Check("headers as Docker's engine sends them", "engine-headers", _engine)
    yield Check("headers as podman sends them", "podman-headers", _podman, worst=podman)
    yield Check("two calls on one connection", "keep-alive", _keep_alive)
    yield Check("a call during two idle connections", "idle", _idle)
    yield Check("a call during a silent connection", "silent", _silent, worst=Verdict.WARN)
    yield Check("concurrent calls", "concurrent", _concurrent)
    yield Check("a request in pieces", "pieces", _pieces, worst=Verdict.WARN)
    yield Check("a request with Upgrade: h2c", "upgrade", _upgrade, worst=Verdict.WARN)
    yield Check("a client that half-closes", "half-close", _half_close, worst=Verdict.WARN)
    yield Check("GET", "post-only", _get, worst=Verdict.NOTE)


# --- headers ------------------------------------------------------------------------------------------


def _engine(client: RawClient) -> Outcome:
    return _send(client, f"Host: \r\nUser-Agent: {USER_AGENT}\r\nContent-Length: 0\r\nAccept: {ACCEPT}\r\n")


def _podman(client: RawClient) -> Outcome:
    kind = "application/vnd.docker.plugins.v1.1+json"
    return _send(client, f"Host: plugin\r\nUser-Agent: {USER_AGENT}\r\nContent-Length: 0\r\nContent-Type: {kind}\r\n")


def _send(client: RawClient, headers: str) -> Outcome:
    return _as_before(client, client.exchange(f"POST /{ACTIVATE} HTTP/1.1\r\n{headers}\r\n".encode()))


def _as_before(client: RawClient, response: Response) -> Outcome:
    """Return PASS if the response has the status of the first handshake."""
    if response.status == client.handshake_status:
        return passed()
    return failed(f"status {response.status}: {excerpt(response.body, 80)}")


# --- connections --------------------------------------------------------------------------------------


def _keep_alive(client: RawClient) -> Outcome:
    request = client.request(ACTIVATE)
    with client.connected() as connection:
        client.send(connection, request)
        first = client.receive(connection, request)
        if not first.keep_alive:
            if "close" in (first.header("connection") or "").lower():
                return noted("each response ends its connection, and says so")
            return noted("no connection is reused: HTTP/1.0, no length, or a response that is not quite HTTP/1.1")
        try:
            client.send(connection, request)
            return _as_before(client, client.receive(connection, request))
        except ConnectionLost:
            return warned(
                "the connection is closed after a response without Connection: close; a call that is sent at this"
                " moment is lost, and Docker's engine repeats it without its body"
            )


def _idle(client: RawClient) -> Outcome:
    request = client.request(ACTIVATE)
    with ExitStack() as stack:
        for idle in range(3):
            connection = stack.enter_context(client.connected())
            client.send(connection, request)
            try:
                client.receive(connection, request)
            except TransportError as error:
                return failed(f"with {idle} idle connections open, the next one gets no response: {error.message}")
    return passed()


def _silent(client: RawClient) -> Outcome:
    with client.connected():
        try:
            return _as_before(client, client.handshake())
        except TransportError as error:
            return failed(f"with a connection open that sends nothing, the next one gets no response: {error.message}")


def _concurrent(client: RawClient) -> Outcome:
    # Each thread connects only when it can also send: a plugin with a single thread serves them one by one.
    with ThreadPoolExecutor(CALLERS) as threads:
        responses = list(threads.map(lambda _: client.handshake(), range(CALLERS)))
    outcomes = (_as_before(client, response) for response in responses)
    return next((each for each in outcomes if each.verdict is not Verdict.PASS), passed(f"{CALLERS} at a time"))


def _pieces(client: RawClient) -> Outcome:
    request = client.request(ACTIVATE)
    with client.connected() as connection:
        for piece in (request[:30], request[30:70], request[70:]):
            client.send(connection, piece)
        return _as_before(client, client.receive(connection, request))


def _half_close(client: RawClient) -> Outcome:
    if client.over_tls:
        return skipped("TLS connections are not half-closed")
    request = client.request(ACTIVATE)
    with client.connected() as connection:
        client.send(connection, request)
        client.half_close(connection)
        return _as_before(client, client.receive(connection, request))


# --- other requests -----------------------------------------------------------------------------------


def _upgrade(client: RawClient) -> Outcome:
    offer = "Connection: Upgrade, HTTP2-Settings\r\nUpgrade: h2c\r\nHTTP2-Settings: AAMAAABkAARAAAAAAAIAAAAA\r\n"
    head = client.request(ACTIVATE).removesuffix(b"\r\n")
    try:
        return _as_before(client, client.exchange(head + offer.encode() + b"\r\n"))
    except ProtocolError as error:
        return noted(f"it switches to HTTP/2, or its response is not HTTP/1.1: {error.message}")


def _get(client: RawClient) -> Outcome:
    response = client.exchange(f"GET /{ACTIVATE} HTTP/1.1\r\nHost: {client.host}\r\n\r\n".encode())
    if response.status >= 400:
        return passed(f"status {response.status}")
    return noted("same response as for POST" if response.status == 200 else f"status {response.status}")


def _large_header(client: RawClient) -> Outcome:
    head = client.request(ACTIVATE).removesuffix(b"\r\n")
    return _survives(client, head + b"X-Large: " + b"x" * HEADER_SIZE + b"\r\n\r\n")


def _not_http(client: RawClient) -> Outcome:
    return _survives(client, b"\x16\x03\x01 this is not HTTP\r\n\r\n")


def _survives(client: RawClient, data: bytes) -> Outcome:
    try:
        shown = f"status {client.exchange(data).status}"
    except ConnectionLost:
        shown = "closed"
    except TransportError as error:
        shown = error.message
    try:
        client.handshake()
    except TransportError as error:
        return failed(f"it does not respond to any connection any more: {error.message}")
    return passed(shown)


# --- all responses ------------------------------------------------------------------------------------


def _content_types(client: RawClient) -> Outcome:
    for path, response in client.responses:
        kind = (response.header("content-type") or "").lower()
        if response.status == 200 and not kind.startswith(_JSON_TYPES) and not path.endswith(".ReadLogs"):
            return noted(f"{path} has the Content-Type {kind or '(none)'}")
    return passed()


def _sizes(client: RawClient) -> Outcome:
    path, response = max(client.responses, key=lambda each: len(each[1].body))
    shown = f"the largest of {len(client.responses)} has {len(response.body)} bytes ({path})"
    return warned(shown) if len(response.body) > 1 << 20 else passed(shown)


LAST_CHECKS: Sequence[Check] = (
    Check("a header of 64 KiB", "survives", _large_header, worst=Verdict.WARN),
    Check("input that is not HTTP", "survives", _not_http, worst=Verdict.WARN),
    Check("content types of all responses", "content-type", _content_types),
    Check("sizes of all responses", "answer-size", _sizes),
)
"""What may leave a plugin dead, and what can be said of all responses."""
