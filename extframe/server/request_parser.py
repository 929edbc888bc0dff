"""Parse HTTP/1.1 requests from bytes, within limits. No I/O.

httptools checks each head, and only the head. The framing of the body is done here, because httptools treats what
follows an ``Upgrade`` header as another protocol (MagicStack/httptools#124): it drops the body of such a request or
parses it as the next request. RFC 9110, 7.8 lets a server ignore the header.
"""

from __future__ import annotations

import re
from contextlib import suppress
from functools import lru_cache
from typing import NamedTuple
from urllib.parse import unquote

import httptools

from ..errors import ExtframeError

_END_OF_HEAD = re.compile(rb"\r?\n\r?\n")
_START_OF_REQUEST = re.compile(rb"[A-Z-]{1,20}(?: |\Z)")
_CHUNK_HEADER = re.compile(rb"([0-9A-Fa-f]{1,16})[ \t]*(?:;[^\r\n]*)?")
_CACHED_HEAD = 1024  # bytes

Headers = tuple[tuple[bytes, bytes], ...]


class BadRequest(ExtframeError):
    """A request that cannot be read. ``status`` is that of the response, after which the connection closes."""

    def __init__(self, message: str, *, status: int = 400) -> None:
        super().__init__(message)
        self.status = status


class Head(NamedTuple):
    """The head of a request.

    ``length`` is that of the body in bytes, None if the body comes in chunks. Names of headers are in lower case.
    """

    method: str
    target: bytes
    path: str
    version: str
    headers: Headers
    length: int | None
    keep_alive: bool
    expects_continue: bool


class Request(NamedTuple):
    """A complete request."""

    head: Head
    body: bytes | bytearray


class RequestParser:
    """Turns the bytes of one connection into requests.

    Args:
        head_limit: bytes of a head, and of the chunk headers and trailers of a body.
        body_limit: bytes of a body.
    """

    __slots__ = ("_body", "_body_limit", "_chunks", "_head", "_head_limit", "_pending", "_scanned")

    def __init__(self, head_limit: int, body_limit: int) -> None:
        self._head_limit = head_limit
        self._body_limit = body_limit
        self._pending = bytearray()  # not parsed yet
        self._scanned = 0  # bytes of it, for the end of the head
        self._head: Head | None = None
        self._body = bytearray()
        self._chunks: _Chunks | None = None

    @property
    def size(self) -> int:
        """How many bytes are held."""
        return len(self._pending) + len(self._body)

    @property
    def idle(self) -> bool:
        """Whether no request has begun."""
        return self._head is None and not self._pending

    @property
    def waits_for_continue(self) -> bool:
        """Whether the client waits for "100 Continue" before it sends the body."""
        return self._head is not None and self._head.expects_continue and not self.size

    def hold(self, data: bytes) -> None:
        """Keep ``data`` for the next `receive`."""
        self._pending += data

    def receive(self, data: bytes) -> Request | None:
        """Take ``data`` and return the next request if it is complete. What follows it is held.

        Raises:
            BadRequest: it is not HTTP/1, or exceeds a limit.
        """
        if self._head is None:
            body = self._read_head(data)
            if body is None:
                return None
            data = body
        return self._read_body(data)

    def _read_head(self, data: bytes) -> bytes | None:
        """Return what follows the head, None while the head is incomplete."""
        if not self._pending:
            if data[:1] in (b"\r", b"\n"):
                data = data.lstrip(b"\r\n")  # RFC 9112, 2.2
            end = data.find(b"\r\n\r\n") + 4
            if 4 < end <= self._head_limit:
                self._start(data[:end])
                return data[end:]
        self._pending += data
        found = _END_OF_HEAD.search(self._pending, self._scanned)  # a bare line feed is for httptools to refuse
        end = found.end() if found else len(self._pending)
        if end > self._head_limit:
            raise BadRequest(f"the request head exceeds {self._head_limit} bytes (head_limit=)", status=431)
        if found is None:
            if self._pending and not _START_OF_REQUEST.match(self._pending[:21]):
                raise BadRequest(f"not an HTTP request: {bytes(self._pending[:21])!r}")
            self._scanned = max(0, len(self._pending) - 3)
            return None
        head, rest = bytes(self._pending[:end]), bytes(self._pending[end:])
        self._pending.clear()
        self._scanned = 0
        self._start(head)
        return rest

    def _start(self, data: bytes) -> None:
        head = _cached_head(data) if len(data) <= _CACHED_HEAD else parse_head(data)
        if head.length is None:
            self._chunks = _Chunks(self._head_limit, self._body_limit)
        elif head.length > self._body_limit:
            raise body_too_large(self._body_limit)
        self._head = head

    def _read_body(self, data: bytes) -> Request | None:
        head = self._head
        assert head is not None
        body: bytes | bytearray = self._body
        if head.length is None:
            assert self._chunks is not None
            rest = self._chunks.receive(data, self._body)
            if rest is None:
                return None
        else:
            missing = head.length - len(body)
            if len(data) < missing:
                self._body += data
                return None
            rest = data[missing:]
            if body:
                self._body += data[:missing]
            else:
                body = data[:missing]
        self._head, self._chunks, self._body = None, None, bytearray()
        if rest:
            self._pending += rest
        return Request(head, body)


def body_too_large(limit: int) -> BadRequest:
    """Return the error for a body over ``limit`` bytes."""
    return BadRequest(f"the request body exceeds {limit} bytes, the plugin's limit=", status=413)


class _Chunks:
    """Decodes the chunked transfer coding (RFC 9112, 7.1) of one body."""

    __slots__ = ("_body_limit", "_excess", "_head_limit", "_left", "_line", "_rest")

    def __init__(self, head_limit: int, body_limit: int) -> None:
        self._head_limit = head_limit
        self._body_limit = body_limit
        self._left = 0  # bytes of the current chunk
        self._line = _Chunks._read_size  # what the next line is
        self._rest = b""  # an incomplete line
        self._excess = 0

    def receive(self, data: bytes, body: bytearray) -> bytes | None:
        """Append decoded data to ``body``. Return what follows the body, None while it is incomplete."""
        if self._rest:
            data = self._rest + data
        at = 0
        while True:
            if self._left:
                piece = data[at : at + self._left]
                at += len(piece)
                self._left -= len(piece)
                body += piece
                if self._left:
                    self._rest = b""
                    return None
            end = data.find(b"\r\n", at)
            if end < 0:
                self._rest = data[at:]
                self._check_excess(len(self._rest))
                return None
            line, at = data[at:end], end + 2
            if self._line(self, line):
                return data[at:]
            if self._left and len(body) + self._left > self._body_limit:
                raise body_too_large(self._body_limit)

    def _read_size(self, line: bytes) -> bool:
        found = _CHUNK_HEADER.fullmatch(line)
        if found is None:
            raise BadRequest(f"not a chunk header: {line[:40]!r}")
        self._left = int(found[1], 16)
        # Short extensions are free, as in Go (CVE-2023-39326); data pays for longer ones.
        self._excess = max(0, self._excess + len(line) - 16 - 2 * self._left)
        self._check_excess(0)
        self._line = _Chunks._read_end_of_chunk if self._left else _Chunks._read_trailer
        return False

    def _read_end_of_chunk(self, line: bytes) -> bool:
        if line:
            raise BadRequest(f"expected the end of a chunk, got {line[:40]!r}")
        self._line = _Chunks._read_size
        return False

    def _read_trailer(self, line: bytes) -> bool:
        self._excess += len(line) + 2
        self._check_excess(0)
        return not line

    def _check_excess(self, incomplete: int) -> None:
        if self._excess + incomplete > self._head_limit:
            message = f"the chunk headers or trailers exceed {self._head_limit} bytes (head_limit=)"
            raise BadRequest(message, status=431)


# --- heads --------------------------------------------------------------------------------------------


class _Events:
    """What httptools reports of a head."""

    def __init__(self) -> None:
        self.target = b""
        self.headers: list[tuple[bytes, bytes]] = []
        self.complete = False

    def on_url(self, target: bytes) -> None:
        self.target += target

    def on_header(self, name: bytes, value: bytes) -> None:
        self.headers.append((name.lower(), value))

    def on_headers_complete(self) -> None:
        self.complete = True


def parse_head(data: bytes) -> Head:
    """Return the head that ``data`` is, from the request line to the empty line.

    Raises:
        BadRequest: it is malformed, or uses what a plugin does not support.
    """
    events = _Events()
    parser = httptools.HttpRequestParser(events)
    try:
        with suppress(httptools.HttpParserUpgrade):
            parser.feed_data(data)
        path = _path(events.target)
    except httptools.HttpParserError as wrong:
        raise BadRequest(f"not an HTTP request: {wrong}: {data[:60]!r}") from None
    version = parser.get_http_version()
    if not events.complete or version not in ("1.1", "1.0"):
        raise BadRequest("expected HTTP/1.1; other versions are not supported", status=505)
    options = [token.strip() for token in _values(events.headers, b"connection").lower().split(b",")]
    return Head(
        method=parser.get_method().decode("ascii"),
        target=events.target,
        path=path,
        version=version,
        headers=tuple(events.headers),
        length=_length(events.headers, version),
        keep_alive=version == "1.1" and b"close" not in options,
        expects_continue=version == "1.1" and _values(events.headers, b"expect").lower() == b"100-continue",
    )


_cached_head = lru_cache(maxsize=256)(parse_head)  # hosts repeat their heads byte by byte


def _path(target: bytes) -> str:
    raw = target.partition(b"?")[0] if target.startswith(b"/") else httptools.parse_url(target).path or target
    path: str = raw.decode("latin-1")
    return unquote(path) if "%" in path else path


def _values(headers: list[tuple[bytes, bytes]], wanted: bytes) -> bytes:
    return b",".join(value for name, value in headers if name == wanted)


def _length(headers: list[tuple[bytes, bytes]], version: str) -> int | None:
    """Return the length of the body, None if it comes in chunks. httptools has refused what is contradictory."""
    coding = _values(headers, b"transfer-encoding").strip().lower()
    if not coding:
        return int(_values(headers, b"content-length") or b"0")
    if coding != b"chunked" or version != "1.1":
        raise BadRequest(f"Transfer-Encoding {coding[:60].decode('latin-1')!r} is not supported", status=501)
    return None
