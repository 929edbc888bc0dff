"""HTTP/1.1 as bytes: requests out, responses in. Knows no sockets, no deadlines and no JSON."""

from __future__ import annotations

import re
import sys
from collections.abc import Iterable
from dataclasses import dataclass
from functools import lru_cache
from typing import TYPE_CHECKING, NamedTuple

import httptools

from ..errors import ConnectionLost, ProtocolError, SpecError
from ..protocol import excerpt

if TYPE_CHECKING:
    from zlib import _Decompress

# The engine's own headers (moby pkg/plugins/client.go; the user agent is the default of Go's client), so that
# plugins that were only tested with Docker see nothing new.
USER_AGENT = "Go-http-client/1.1"
ACCEPT = "application/vnd.docker.plugins.v1.2+json"
UNIX_HOST = "plugin.moby.localhost"  # the Host header over unix sockets, which have no host

Headers = tuple[tuple[bytes, bytes], ...]
"""Pairs of a name in lower case and a value, in the order received."""


@dataclass(frozen=True)
class Limits:
    """The largest accepted response in bytes: its ``headers``, and its ``body``, compressed and decompressed.

    The body of a stream has no limit.
    """

    headers: int = 64 * 1024
    body: int = 16 * 1024 * 1024


class Response(NamedTuple):
    """A whole response.

    ``complete`` is False where the connection ended before the announced end of the body; ``keep_alive`` says
    whether the connection may be used again.
    """

    status: int
    headers: Headers
    body: bytes
    complete: bool
    keep_alive: bool

    def header(self, name: str) -> str | None:
        """Return the value of the first header with this name, in any case, or None."""
        return find_header(self.headers, name)


def find_header(headers: Headers, name: str) -> str | None:
    """Return the value of the first header with this name, in any case, or None."""
    wanted = name.lower().encode()
    return next((value.decode("latin-1") for key, value in headers if key == wanted), None)


# --- requests -----------------------------------------------------------------------------------------

_PATH = re.compile(r"/[!-~]*")  # printable ASCII: neither a space nor a line end may reach the request line
_STARTS_LIMIT = 256


class RequestWriter:
    """Serialises the requests to one host as the engine does (moby ``pkg/plugins/client.go``).

    ``gzip`` asks for packed answers, as the engine does over TCP and TLS only.
    """

    def __init__(self, host: str, *, gzip: bool = False) -> None:
        self._host = host
        self._after_length = "\r\n".join(["", f"Accept: {ACCEPT}", *["Accept-Encoding: gzip"] * gzip, "", ""]).encode()
        self._starts: dict[str, bytes] = {}

    def request(self, path: str, body: bytes) -> bytes:
        """Return a whole POST request."""
        start = self._starts.get(path) or self._start(path)
        return b"%bContent-Length: %d%b%b" % (start, len(body), self._after_length, body)

    def chunked_head(self, path: str) -> bytes:
        """Return the head of a POST request whose body follows in chunks (see `chunk`)."""
        return b"%bTransfer-Encoding: chunked%b" % (self._start(path), self._after_length)

    def _start(self, path: str) -> bytes:
        if not _PATH.fullmatch(path):
            raise SpecError(f"{path!r} is not a valid method: expected printable ASCII without spaces, after a slash")
        if len(self._starts) >= _STARTS_LIMIT:
            self._starts.clear()  # so many paths are built from names, and none is worth keeping
        start = f"POST {path} HTTP/1.1\r\nHost: {self._host}\r\nUser-Agent: {USER_AGENT}\r\n".encode("ascii")
        self._starts[path] = start
        return start


LAST_CHUNK = b"0\r\n\r\n"


def chunk(data: bytes) -> bytes:
    """Return non-empty ``data`` as one chunk of a chunked body."""
    return b"%x\r\n%b\r\n" % (len(data), data)


# --- responses ----------------------------------------------------------------------------------------

STATUS_LINE, HEADERS, BODY, DONE = "status line", "headers", "body", "done"
"""The phases of a `ResponseParser`: what it is waiting for."""

_UNPACKED_SIZE = 64 * 1024  # bytes of a stream that are decompressed at a time


class ResponseParser:
    """Parses one `Response` from the bytes of a connection.

    Feed it until it is ``done``; call `end` where the connection ends. Interim answers (1xx) are skipped. The
    whole answer is then ``response``. With ``streaming`` the body is taken in pieces by `take_body` while it
    comes, and has no limit.
    """

    def __init__(self, limits: Limits, *, streaming: bool = False) -> None:
        self._limits = limits
        self._streaming = streaming
        self._message = _Message()
        self._parser = httptools.HttpResponseParser(self._message)
        self._overhead = 0  # bytes since the body last grew: of headers, chunk sizes, trailers
        self._head_read = False
        self._framed = False  # by Content-Length or chunks, not by the end of the connection
        self._gunzip: _Gunzip | None = None
        self._unpacked: list[bytes] = []
        self._room = (
            limits.body + 1
        )  # bytes that may still be decompressed; one more than allowed shows what is too large
        self._cut = False

    @property
    def phase(self) -> str:
        """What the parser waits for: "status line", "headers" or "body"; "done" at the end."""
        return self._message.phase

    @property
    def done(self) -> bool:
        """Whether the response is complete, or ended with its connection."""
        return self._message.phase is DONE

    @property
    def head_done(self) -> bool:
        """Whether ``status`` and ``headers`` have been parsed."""
        return self._head_read

    @property
    def status(self) -> int:
        """The status code of the response."""
        return self._message.status

    @property
    def headers(self) -> Headers:
        """The headers of the response."""
        return tuple(self._message.headers)

    @property
    def keep_alive(self) -> bool:
        """Whether the connection may be reused; valid once the response is done."""
        return self._message.keep_alive

    @property
    def complete(self) -> bool:
        """Whether the body reached its announced end; valid once the response is done."""
        return not self._cut

    def feed(self, data: bytes) -> None:
        """Parse received bytes.

        Raises:
            ProtocolError: it is not HTTP/1, or over a limit.
        """
        message = self._message
        size_before = message.size
        message.parser = self._parser  # only now: kept for longer, it would be a reference cycle as large as a body
        try:
            self._parse(data)
        finally:
            del message.parser
        self._overhead += len(data)
        if not self._head_read and message.phase in (BODY, DONE):
            self._read_head()
        if message.size != size_before:
            self._overhead = 0
            if not self._streaming:
                self._keep()
        elif self._overhead > self._limits.headers:
            raise self._over_header_limit()

    def _parse(self, data: bytes) -> None:
        handled = sys.exc_info()[1]
        try:
            self._parser.feed_data(data)
        except httptools.HttpParserCallbackError as stopped:
            raise _interruption(stopped, handled) from None
        except httptools.HttpParserUpgrade:
            raise ProtocolError("the plugin switched to another protocol without being asked to") from None
        except httptools.HttpParserError as wrong:
            if not self.done:
                raise ProtocolError(f"the response is not HTTP: {wrong}: {excerpt(data)!r}{_hint(data)}") from None

    def end(self, *, clean: bool = True) -> None:
        """Record that the connection ended; not ``clean`` if TLS shows that it was truncated.

        Raises:
            ConnectionLost: before the end of the headers.
        """
        message = self._message
        if message.phase is STATUS_LINE:
            raise ConnectionLost("the plugin closed the connection without a response")
        if message.phase is HEADERS:
            raise ConnectionLost("the plugin closed the connection within the headers of its response")
        if message.phase is BODY:
            self._cut = self._framed or not clean
            message.phase = DONE

    def take_body(self) -> bytes:
        """Return a piece of the body that was received and not taken yet; nothing if there is none.

        Raises:
            ProtocolError: it is packed and cannot be unpacked.
        """
        self._message.size = 0
        data = self._message.take()
        piece = data if self._gunzip is None else self._gunzip.unpack(data, _UNPACKED_SIZE)
        if not piece:
            self._check_packed_end()
        return piece

    def _keep(self) -> None:
        """Keep the received part of the body, decompressed.

        At once and not in the end, as a body of many small gzip members takes long to unpack: between two pieces the
        deadline is looked at.
        """
        if self._message.size > self._limits.body:
            raise self._over_body_limit()
        if self._gunzip is not None:
            data = self._message.take()
            while piece := self._gunzip.unpack(data, min(self._room, _UNPACKED_SIZE)):
                self._unpacked.append(piece)
                self._room -= len(piece)
                data = b""
            if not self._room:
                raise self._over_body_limit()

    def _check_packed_end(self) -> None:
        if self.done and self.complete and self._gunzip is not None and not self._gunzip.at_end:
            raise ProtocolError("the body of the response ends within its gzip data")

    @property
    def response(self) -> Response:
        """The response, once it is done. Takes the body."""
        message = self._message
        body = message.take() if self._gunzip is None else b"".join(self._unpacked)
        self._check_packed_end()
        return Response(message.status, self.headers, body, not self._cut, message.keep_alive)

    def _read_head(self) -> None:
        self._head_read = True
        message = self._message
        if message.version not in ("1.1", "1.0") or message.status < 100:
            raise ProtocolError(f"the response is HTTP/{message.version} with status {message.status}, not HTTP/1.1")
        if message.status == 101:
            raise ProtocolError("the plugin switched to another protocol without being asked to")
        if self._overhead > self._limits.headers and _size(message.headers) > self._limits.headers:
            raise self._over_header_limit()
        for name, value in message.headers:
            read = _HEAD_READERS.get(name)
            if read is not None:
                read(self, value)

    def _read_length(self, value: bytes) -> None:
        self._framed = True
        if int(value) > self._limits.body and not self._streaming and not self.done:
            raise self._over_body_limit()

    def _read_transfer_coding(self, value: bytes) -> None:
        self._framed = True
        if value.strip().lower() != b"chunked":
            raise ProtocolError(f"the response's Transfer-Encoding is {value.decode('latin-1')!r}, not chunked")

    def _read_content_coding(self, value: bytes) -> None:
        coding = value.strip().lower()
        if coding == b"gzip":
            self._gunzip = _Gunzip()
        elif coding not in (b"identity", b""):
            raise ProtocolError(
                f"the response's Content-Encoding is {value.decode('latin-1')!r}; only gzip is supported"
            )

    def _over_body_limit(self) -> ProtocolError:
        return ProtocolError(
            f"the body of the response is over {self._limits.body} bytes, which is Limits.body; raise it with "
            "limits=Limits(body=...) of the client or the manager, or read the response with stream()"
        )

    def _over_header_limit(self) -> ProtocolError:
        return ProtocolError(
            f"the headers of the response are over {self._limits.headers} bytes, which is Limits.headers"
        )


_END_OF_HEAD = b"\r\n\r\n"
_REMEMBERED_HEAD = 1024  # bytes


def read_whole(data: bytes, limits: Limits) -> Response | None:
    """Return the response if ``data`` is a whole one with an unencoded body, else None.

    A `ResponseParser` reads any response, this one included. But the heads of a busy plugin's answers are the same
    bytes until the second in their Date is over: what they mean is remembered, which saves an eighth of a call.
    """
    head, end, body = data.partition(_END_OF_HEAD)
    if not end or len(head) > min(_REMEMBERED_HEAD, limits.headers) or len(body) > limits.body:
        return None
    known = _read_head(head, len(body))
    return None if known is None else Response(known.status, known.headers, body, known.complete, known.keep_alive)


@lru_cache(maxsize=256)
def _read_head(head: bytes, body_length: int) -> Response | None:
    """Return the response with this head and a body of zeros; None if those would not be its whole body."""
    zeros = bytes(body_length)
    parser = ResponseParser(Limits())
    try:
        parser.feed(head + _END_OF_HEAD + zeros)
        response = parser.response if parser.done else None
    except ProtocolError:
        return None
    return response if response is not None and response.body == zeros else None


_HEAD_READERS = {
    b"content-length": ResponseParser._read_length,
    b"transfer-encoding": ResponseParser._read_transfer_coding,
    b"content-encoding": ResponseParser._read_content_coding,
}


class _Message:
    """What httptools reports about one response. What follows its end is not part of it."""

    __slots__ = ("headers", "keep_alive", "parser", "phase", "pieces", "size", "status", "version")
    parser: httptools.HttpResponseParser  # there while it is fed

    def __init__(self) -> None:
        self.phase = STATUS_LINE
        self.status = 0
        self.version = ""
        self.headers: list[tuple[bytes, bytes]] = []
        self.pieces: list[bytes] = []
        self.size = 0
        self.keep_alive = False

    def take(self) -> bytes:
        """Return the part of the body received since the last call."""
        data = self.pieces[0] if len(self.pieces) == 1 else b"".join(self.pieces)
        self.pieces.clear()
        return data

    def on_message_begin(self) -> None:
        if self.phase is DONE:
            self.keep_alive = False  # unsolicited bytes: requests and responses would no longer match
        else:
            self.phase = HEADERS

    def on_header(self, name: bytes, value: bytes) -> None:
        if self.phase is HEADERS:  # not a trailer
            self.headers.append((name.lower(), value))

    def on_headers_complete(self) -> None:
        if self.phase is HEADERS:
            self.status = self.parser.get_status_code()
            self.version = self.parser.get_http_version()
            self.phase = BODY

    def on_body(self, piece: bytes) -> None:
        if self.phase is BODY:
            self.pieces.append(piece)
            self.size += len(piece)

    def on_message_complete(self) -> None:
        if self.phase is not BODY:
            return
        if 100 <= self.status < 200 and self.status != 101:
            self.headers.clear()
            self.phase = STATUS_LINE
        else:
            self.keep_alive = self.parser.should_keep_alive()  # valid only inside this callback
            self.phase = DONE


def _interruption(stopped: httptools.HttpParserCallbackError, handled: BaseException | None) -> BaseException:
    """Return what was raised inside `_Message`, which only a signal handler does.

    httptools makes an error of its own of it, be it Ctrl-C. Where the caller is handling another exception, Python has
    put that in its place, and Ctrl-C is the best guess.
    """
    raised = stopped.__context__
    return KeyboardInterrupt() if raised is None or raised is handled else raised


class _Gunzip:
    """Decompresses a body received in pieces; consecutive gzip members form one body, as in Go."""

    def __init__(self) -> None:
        self._member = _gzip_member()
        self._packed = b""
        self._full = False  # the last piece had the full size: zlib may hold back more
        self._started = False

    @property
    def at_end(self) -> bool:
        """Whether no member is incomplete. An empty body counts as complete, though it is not gzip."""
        return self._member.eof or not self._started

    def unpack(self, data: bytes, size: int) -> bytes:
        """Return at most ``size`` decompressed bytes; call again with no data for more."""
        import zlib

        self._started = self._started or bool(data)
        self._packed += data
        unpacked = bytearray()
        while (self._packed or self._full) and len(unpacked) < size:
            if self._member.eof and self._packed:
                self._member = _gzip_member()
            try:
                piece = self._member.decompress(self._packed, size - len(unpacked))
            except zlib.error as wrong:
                raise ProtocolError(f"the body of the response is not gzip, contrary to its headers: {wrong}") from None
            self._packed = self._member.unconsumed_tail or self._member.unused_data
            unpacked += piece
            self._full = len(unpacked) == size
        return bytes(unpacked)


def _gzip_member() -> _Decompress:
    import zlib

    return zlib.decompressobj(wbits=16 + zlib.MAX_WBITS)


def _size(headers: Iterable[tuple[bytes, bytes]]) -> int:
    return sum(len(name) + len(value) + len(": \r\n") for name, value in headers)


def _hint(data: bytes) -> str:
    # 21 and 22 begin the alert and handshake records of TLS.
    return "; the plugin seems to speak TLS: its address should begin with https://" if data[:1] in b"\x15\x16" else ""
