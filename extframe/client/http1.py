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

# What the engine sends (moby pkg/plugins/client.go; the user agent is the default of Go's client), so that a
# plugin which was only ever tried with Docker meets nothing new.
USER_AGENT = "Go-http-client/1.1"
ACCEPT = "application/vnd.docker.plugins.v1.2+json"
UNIX_HOST = "plugin.moby.localhost"  # the Host header where there is none: over unix sockets

Headers = tuple[tuple[bytes, bytes], ...]
"""Names in lower case and values, in the order in which they came."""


@dataclass(frozen=True)
class Limits:
    """How many bytes of an answer are taken: of its ``headers`` and of its ``body``, packed and unpacked."""

    headers: int = 64 * 1024
    body: int = 64 * 1024 * 1024


class Response(NamedTuple):
    """A whole answer.

    ``complete`` is False where the connection ended before the announced end of the body; ``keep_alive`` says
    whether the connection may be used again.
    """

    status: int
    headers: Headers
    body: bytes
    complete: bool
    keep_alive: bool

    def header(self, name: str) -> str | None:
        """Return the value of the first header of this name, which is given in any case."""
        return find_header(self.headers, name)


def find_header(headers: Headers, name: str) -> str | None:
    """Return the value of the first header called ``name``, or None."""
    wanted = name.lower().encode()
    return next((value.decode("latin-1") for key, value in headers if key == wanted), None)


# --- requests -----------------------------------------------------------------------------------------

_PATH = re.compile(r"/[!-~]*")  # printable ASCII: neither a space nor a line end may reach the request line
_STARTS_LIMIT = 256


class RequestWriter:
    """Writes the requests to one host as the engine writes them (moby ``pkg/plugins/client.go``).

    ``gzip`` asks for packed answers, as the engine does over TCP and TLS only.
    """

    def __init__(self, host: str, *, gzip: bool = False) -> None:
        self._host = host
        self._after_length = "\r\n".join(["", f"Accept: {ACCEPT}", *["Accept-Encoding: gzip"] * gzip, "", ""]).encode()
        self._starts: dict[str, bytes] = {}

    def request(self, path: str, body: bytes) -> bytes:
        """Return a POST of ``body``, whole."""
        start = self._starts.get(path) or self._start(path)
        return b"%bContent-Length: %d%b%b" % (start, len(body), self._after_length, body)

    def chunked_head(self, path: str) -> bytes:
        """Return the head of a POST whose body follows in chunks (see `chunk`)."""
        return b"%bTransfer-Encoding: chunked%b" % (self._start(path), self._after_length)

    def _start(self, path: str) -> bytes:
        if not _PATH.fullmatch(path):
            raise SpecError(f"{path!r} cannot be called: a method is printable ASCII without spaces, after a slash")
        if len(self._starts) >= _STARTS_LIMIT:
            self._starts.clear()  # a program with so many methods builds them from names; none is worth keeping
        start = f"POST {path} HTTP/1.1\r\nHost: {self._host}\r\nUser-Agent: {USER_AGENT}\r\n".encode("ascii")
        self._starts[path] = start
        return start


LAST_CHUNK = b"0\r\n\r\n"


def chunk(data: bytes) -> bytes:
    """Return ``data``, which is not empty, as one chunk of a body."""
    return b"%x\r\n%b\r\n" % (len(data), data)


# --- responses ----------------------------------------------------------------------------------------

STATUS_LINE, HEADERS, BODY, DONE = "status line", "headers", "body", "done"
"""The phases of a `ResponseParser`: what it is waiting for."""

_UNPACKED_SIZE = 64 * 1024  # bytes of a packed stream that are unpacked at a time


class ResponseParser:
    """Makes one `Response` of the bytes that come from a connection.

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
        self._room = limits.body + 1  # bytes that may yet be unpacked: one more than allowed shows what is too large
        self._cut = False

    @property
    def phase(self) -> str:
        """What is being waited for: "status line", "headers" or "body"; else "done"."""
        return self._message.phase

    @property
    def done(self) -> bool:
        """Whether the answer has come to its end."""
        return self._message.phase is DONE

    @property
    def head_done(self) -> bool:
        """Whether ``status`` and ``headers`` are there."""
        return self._head_read

    @property
    def status(self) -> int:
        """The status of the answer."""
        return self._message.status

    @property
    def headers(self) -> Headers:
        """The headers of the answer."""
        return tuple(self._message.headers)

    @property
    def keep_alive(self) -> bool:
        """Whether the connection may be used again; not before the answer is done."""
        return self._message.keep_alive

    @property
    def complete(self) -> bool:
        """Whether the body reached its announced end; right once the answer is done."""
        return not self._cut

    def feed(self, data: bytes) -> None:
        """Read what came.

        Raises:
            ProtocolError: it is not HTTP/1, or over a limit.
        """
        message = self._message
        size_before = message.size
        message.parser = self._parser  # only now: held for longer it would be a cycle, and garbage as large as a body
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
            raise ProtocolError("the plugin switched to another protocol, which nobody asked for") from None
        except httptools.HttpParserError as wrong:
            if not self.done:
                raise ProtocolError(f"the answer is not HTTP: {wrong}: {excerpt(data)!r}{_hint(data)}") from None

    def end(self, *, clean: bool = True) -> None:
        """Note that the connection ended; not ``clean`` where TLS shows that it was cut.

        Raises:
            ConnectionLost: before the end of the headers.
        """
        message = self._message
        if message.phase is STATUS_LINE:
            raise ConnectionLost("the plugin closed the connection without an answer")
        if message.phase is HEADERS:
            raise ConnectionLost("the plugin closed the connection within the headers of its answer")
        if message.phase is BODY:
            self._cut = self._framed or not clean
            message.phase = DONE

    def take_body(self) -> bytes:
        """Return what has come of the body and was not taken yet, or some of it: nothing when all was taken.

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
        """Keep what came of the body, unpacked.

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
            raise ProtocolError("the body of the answer ends within its gzip data")

    @property
    def response(self) -> Response:
        """The answer, which is done. The body is taken by it."""
        message = self._message
        body = message.take() if self._gunzip is None else b"".join(self._unpacked)
        self._check_packed_end()
        return Response(message.status, self.headers, body, not self._cut, message.keep_alive)

    def _read_head(self) -> None:
        self._head_read = True
        message = self._message
        if message.version not in ("1.1", "1.0") or message.status < 100:
            raise ProtocolError(f"the answer is HTTP/{message.version} with status {message.status}, not HTTP/1.1")
        if message.status == 101:
            raise ProtocolError("the plugin switched to another protocol, which nobody asked for")
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
            raise ProtocolError(f"the answer's Transfer-Encoding is {value.decode('latin-1')!r}, not chunked")

    def _read_content_coding(self, value: bytes) -> None:
        coding = value.strip().lower()
        if coding == b"gzip":
            self._gunzip = _Gunzip()
        elif coding not in (b"identity", b""):
            raise ProtocolError(f"the answer's Content-Encoding is {value.decode('latin-1')!r}; only gzip is read")

    def _over_body_limit(self) -> ProtocolError:
        return ProtocolError(f"the body of the answer is over {self._limits.body} bytes, which is Limits.body")

    def _over_header_limit(self) -> ProtocolError:
        return ProtocolError(
            f"the headers of the answer are over {self._limits.headers} bytes, which is Limits.headers"
        )


_END_OF_HEAD = b"\r\n\r\n"
_REMEMBERED_HEAD = 1024  # bytes


def read_whole(data: bytes, limits: Limits) -> Response | None:
    """Return the response that ``data`` is, where it is a whole one whose body stands there as it is; else None.

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
    """Return the response that has this head and as many zeros; None where those would not be its body, all of it."""
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
    """What httptools reports of one answer. What follows a finished one is not part of it."""

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
        """Return what came of the body since it was last taken."""
        data = self.pieces[0] if len(self.pieces) == 1 else b"".join(self.pieces)
        self.pieces.clear()
        return data

    def on_message_begin(self) -> None:
        if self.phase is DONE:
            self.keep_alive = False  # bytes that nobody asked for: request and answer would no longer match
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
            self.keep_alive = self.parser.should_keep_alive()  # is right here and nowhere else
            self.phase = DONE


def _interruption(stopped: httptools.HttpParserCallbackError, handled: BaseException | None) -> BaseException:
    """Return what was raised within `_Message`: by a signal handler, as nothing there raises of itself.

    httptools makes an error of its own of it, be it Ctrl-C. Where the caller is handling another exception, Python has
    put that in its place, and Ctrl-C is the best guess.
    """
    raised = stopped.__context__
    return KeyboardInterrupt() if raised is None or raised is handled else raised


class _Gunzip:
    """Unpacks a body that comes in pieces; of gzip members in a row it makes one, as Go does."""

    def __init__(self) -> None:
        self._member = _gzip_member()
        self._packed = b""
        self._full = False  # the last piece was as long as was asked for: zlib may hold more of what it has read
        self._started = False

    @property
    def at_end(self) -> bool:
        """Whether no member is half read. An empty body counts, though it is not gzip."""
        return self._member.eof or not self._started

    def unpack(self, data: bytes, size: int) -> bytes:
        """Return at most ``size`` bytes of what was given so far; call again, with nothing, for the next."""
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
                raise ProtocolError(f"the body of the answer is not gzip, as its headers say: {wrong}") from None
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
