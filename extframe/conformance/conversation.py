"""Check how a plugin talks: headers, connections, several callers, what is no call. Calls nothing but the handshake."""

from __future__ import annotations

from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack

from ..client.http1 import ACCEPT, USER_AGENT, Response
from ..errors import ConnectionLost, TransportError
from ..protocol import ACTIVATE, excerpt
from .check import Check
from .line import Line
from .rules import Outcome, failed, passed, warned

CALLERS = 8
HEADER_SIZE = 64 << 10  # bytes, more than servers take
_JSON_TYPES = ("application/json", "application/vnd.docker.plugins.")


# --- headers ------------------------------------------------------------------------------------------


def _engine(line: Line) -> Outcome:
    head = f"POST /{ACTIVATE} HTTP/1.1\r\nHost: \r\nUser-Agent: {USER_AGENT}\r\nContent-Length: 0\r\nAccept: {ACCEPT}"
    return _must_be_200(line.exchange(f"{head}\r\n\r\n".encode()))


def _podman(line: Line) -> Outcome:
    kind = "application/vnd.docker.plugins.v1.1+json"
    head = f"POST /{ACTIVATE} HTTP/1.1\r\nHost: plugin\r\nUser-Agent: {USER_AGENT}\r\nContent-Length: 0"
    return _must_be_200(line.exchange(f"{head}\r\nContent-Type: {kind}\r\n\r\n".encode()))


def _must_be_200(answer: Response) -> Outcome:
    return passed() if answer.status == 200 else failed(f"status {answer.status}: {excerpt(answer.body, 80)}")


# --- connections --------------------------------------------------------------------------------------


def _keep_alive(line: Line) -> Outcome:
    request = line.request(ACTIVATE)
    with line.connected() as connection:
        line.send(connection, request)
        first = line.receive(connection, request)
        if (first.header("connection") or "").lower() == "close":
            return warned("each answer ends its connection")
        try:
            line.send(connection, request)
            return _must_be_200(line.receive(connection, request))
        except ConnectionLost:
            return failed("the connection is closed after an answer that does not say so (Connection: close)")


def _idle(line: Line) -> Outcome:
    request = line.request(ACTIVATE)
    with line.connected(), line.connected() as half, line.connected() as kept:
        line.send(half, request[:20])
        line.send(kept, request)
        line.receive(kept, request)
        try:
            line.call(ACTIVATE)
        except TransportError as error:
            return failed(f"with three connections open that are silent, another got no answer: {error.message}")
    return passed()


def _concurrent(line: Line) -> Outcome:
    request = line.request(ACTIVATE)
    with ExitStack() as stack:
        connections = [stack.enter_context(line.connected()) for _ in range(CALLERS)]
        for connection in connections:
            line.send(connection, request)
        with ThreadPoolExecutor(CALLERS) as threads:
            answers = list(threads.map(lambda connection: line.receive(connection, request), connections))
    return next((each for each in map(_must_be_200, answers) if each.reason), passed(f"{CALLERS} at a time"))


def _pieces(line: Line) -> Outcome:
    request = line.request(ACTIVATE)
    return _must_be_200(line.exchange(request[:30], request[30:70], request[70:]))


# --- no calls -----------------------------------------------------------------------------------------


def _get(line: Line) -> Outcome:
    answer = line.exchange(f"GET /{ACTIVATE} HTTP/1.1\r\nHost: {line.host}\r\n\r\n".encode())
    if answer.status == 200:
        return warned("GET is answered as POST is")
    return passed(f"status {answer.status}") if answer.status >= 400 else failed(f"status {answer.status}")


def _large_header(line: Line) -> Outcome:
    head = line.request(ACTIVATE).removesuffix(b"\r\n")
    return _survives(line, head + b"X-Large: " + b"x" * HEADER_SIZE + b"\r\n\r\n")


def _no_http(line: Line) -> Outcome:
    return _survives(line, b"\x16\x03\x01 this is no HTTP\r\n\r\n")


def _survives(line: Line, data: bytes) -> Outcome:
    try:
        told = f"status {line.exchange(data).status}"
    except ConnectionLost:
        told = "closed"
    except TransportError as error:
        told = error.message
    try:
        line.call(ACTIVATE)
    except TransportError as error:
        return failed(f"it answers nobody any more: {error.message}")
    return passed(told)


# --- all answers --------------------------------------------------------------------------------------


def _content_types(line: Line) -> Outcome:
    for path, answer in line.answers:
        kind = (answer.header("content-type") or "").lower()
        if answer.status == 200 and not kind.startswith(_JSON_TYPES) and not path.endswith(".ReadLogs"):
            return warned(f"{path} answers with Content-Type {kind or '(none)'}")
    return passed()


def _sizes(line: Line) -> Outcome:
    path, answer = max(line.answers, key=lambda each: len(each[1].body))
    told = f"the largest of {len(line.answers)} has {len(answer.body)} bytes ({path})"
    return warned(told) if len(answer.body) > 1 << 20 else passed(told)


CONVERSATION: Sequence[Check] = (
    Check("headers as Docker's engine sends them", "engine-headers", _engine),
    Check("headers as podman sends them", "podman-headers", _podman),
    Check("two calls on one connection", "keep-alive", _keep_alive),
    Check("a call beside silent connections", "idle", _idle),
    Check("calls at the same time", "concurrent", _concurrent),
    Check("a request in pieces", "pieces", _pieces),
    Check("GET", "post-only", _get),
    Check("a header of 64 KiB", "survives", _large_header),
    Check("what is not HTTP", "survives", _no_http),
)
"""How it talks, before any method is called."""

AFTERWARDS: Sequence[Check] = (
    Check("content types of all answers", "content-type", _content_types),
    Check("sizes of all answers", "answer-size", _sizes),
)
"""What can be said of all answers, when they are there."""
