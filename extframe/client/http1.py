"""HTTP/1.1 as bytes: requests out, responses in. Knows no sockets, no deadlines and no JSON."""

from __future__ import annotations

import re
from dataclasses import dataclass
from functools import lru_cache
from typing import TYPE_CHECKING, NamedTuple

from ..errors import ConnectionLost, ProtocolError, SpecError
from ..protocol import excerpt
from ..text import quoted
from .response_body import Body, ChunkedBody, Gunzip, SizedBody, UnsizedBody, whole_chunks
from .response_head import CACHED_SIZE, END_OF_HEAD, Head, Headers, may_begin_head, parse_head

if TYPE_CHECKING:
    from .request_options import RequestOptions

__all__ = ["Headers", "Limits", "RequestWriter", "Response", "ResponseParser", "chunk", "find_header", "read_whole"]

# The engine's own headers (moby pkg/plugins/client.go; the user agent is the default of Go's client), so that
# plugins that were only tested with Docker see nothing new.
USER_AGENT = "Go-http-client/1.1"
ACCEPT = "application/vnd.docker.plugins.v1.2+json"
UNIX_HOST = "plugin.moby.localhost"  # the Host header over unix sockets, which have no host


@dataclass(frozen=True)
class Limits:
    """The largest accepted response in bytes: its ``headers``, and its ``body``, compressed and decompressed.

    The body of a stream has no limit.
    """

    headers: int = 64 * 1024
    body: int = 16 * 1024 * 1024


class Response(NamedTuple):
    """A response.

    ``complete`` is False if the body may be unusable: the connection ended before its announced end, or it is framed or
    compressed wrongly, or in an unknown way, as ``fault`` says then. ``keep_alive`` says whether the connection can be
    reused.
    """

    status: int
    headers: Headers
    body: bytes
    complete: bool
    keep_alive: bool
    fault: str = ""

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

    ``gzip`` asks for compressed responses, as the engine does over TCP and TLS only.
    """

    def __init__(self, host: str, *, gzip: bool = False) -> None:
        self._host = host
        self._gzip = gzip
        self._after_length = "\r\n".join(["", f"Accept: {ACCEPT}", *["Accept-Encoding: gzip"] * gzip, "", ""]).encode()
        self._starts: dict[str, bytes] = {}

    def request(self, path: str, body: bytes, options: RequestOptions | None = None) -> bytes:
        """Return a whole request: a POST request where there are no options."""
        if options is not None and not options.is_plain:
            framing = [] if options.http_method == "GET" else [b"Content-Length: %d" % len(body)]
            return self._head(path, framing, options) + body
        start = self._starts.get(path) or self._start(path)
        return b"%bContent-Length: %d%b%b" % (start, len(body), self._after_length, body)

    def chunked_head(self, path: str, options: RequestOptions | None = None) -> bytes:
        """Return the head of a POST request whose body follows in chunks (see `chunk`)."""
        if options is not None and not options.is_plain:
            return self._head(path, [b"Transfer-Encoding: chunked"], options)
        return b"%bTransfer-Encoding: chunked%b" % (self._start(path), self._after_length)

    def _start(self, path: str) -> bytes:
        line = _request_line("POST", path)
        if len(self._starts) >= _STARTS_LIMIT:
            self._starts.clear()  # so many paths are built from names, and none is worth keeping
        start = f"{line}\r\nHost: {self._host}\r\nUser-Agent: {USER_AGENT}\r\n".encode("ascii")
        self._starts[path] = start
        return start

    def _head(self, path: str, framing: list[bytes], options: RequestOptions) -> bytes:
        """Return a head with headers of the caller, which replace those of the client that have the same name."""
        given = {name.lower() for name, _ in options.encoded_headers}
        replaceable = [(b"User-Agent", USER_AGENT.encode()), (b"Accept", ACCEPT.encode())]
        headers = [pair for pair in replaceable if pair[0].lower() not in given]
        lines = [
            f"{_request_line(options.http_method, path)}\r\nHost: {self._host}".encode("ascii"),
            *framing,
            *[b"Accept-Encoding: gzip"] * self._gzip,
            *(b"%b: %b" % pair for pair in (*headers, *options.encoded_headers)),
        ]
        return b"\r\n".join([*lines, b"", b""])


def _request_line(http_method: str, path: str) -> str:
    if not _PATH.fullmatch(path):
        raise SpecError(f"{path!r} is not a valid method: expected printable ASCII without spaces, after a slash")
    return f"{http_method} {path} HTTP/1.1"


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

    Feed it until it is ``done``; call `end` when the connection ends. Interim responses (1xx) are skipped. The whole
    response is then ``response``. With ``streaming`` the body is taken in pieces by `take_body` while it arrives, and
    has no limit.
    """

    def __init__(self, limits: Limits, *, streaming: bool = False) -> None:
        self._limits = limits
        self._streaming = streaming
        self._phase = STATUS_LINE
        self._received = b""  # the beginning of a head
        self._scanned = 0  # bytes of it that have no end of the head
        self._status_line_checked = False
        self._skipped = 0  # bytes of interim responses
        self._strict = True  # whether these needed no leniency
        self._head: Head | None = None
        self._body: Body
        self._pieces: list[bytes] = []
        self._size = 0  # of the pieces
        self._gunzip: Gunzip | None = None
        self._unpacked: list[bytes] = []
        # One more than allowed shows what is too large.
        self._room = limits.body + 1
        self._cut = False
        self._fault = ""
        self._doubt = ""  # the fault if the body cannot be used
        self._extra = False  # bytes arrived after the end of the response

    @property
    def phase(self) -> str:
        """What the parser waits for: "status line", "headers" or "body"; "done" at the end."""
        return self._phase

    @property
    def done(self) -> bool:
        """Whether the response is complete, or ended with its connection."""
        return self._phase is DONE

    @property
    def head_done(self) -> bool:
        """Whether ``status`` and ``headers`` have been parsed."""
        return self._head is not None

    @property
    def status(self) -> int:
        """The status code of the response."""
        return 0 if self._head is None else self._head.status

    @property
    def headers(self) -> Headers:
        """The headers of the response."""
        return () if self._head is None else self._head.headers

    @property
    def keep_alive(self) -> bool:
        """Whether the connection can be reused; False before the response is done."""
        reusable = self._head is not None and self._head.keep_alive and self._body.strict
        return reusable and self.done and not self._cut and not self._extra

    @property
    def complete(self) -> bool:
        """Whether the body reached its announced end; valid once the response is done."""
        return not self._cut

    def feed(self, data: bytes) -> None:
        """Parse received bytes.

        Raises:
            ProtocolError: it is not HTTP/1, or over a limit.
        """
        if self._head is None:
            rest = self._feed_head(data)
            if rest is None:
                return
            data = rest
        if self.done:
            self._extra = self._extra or bool(data)
        else:
            self._feed_body(data)

    def end(self, *, clean: bool = True) -> None:
        """Record that the connection ended; not ``clean`` if TLS shows that it was truncated.

        Raises:
            ConnectionLost: before the end of the headers.
        """
        if self._phase is STATUS_LINE:
            raise ConnectionLost("the plugin closed the connection without a response")
        if self._head is None:
            raise ConnectionLost("the plugin closed the connection within the headers of its response")
        if not self.done:
            self._finish(cut=self._head.framed or not clean)

    def take_body(self) -> bytes:
        """Return a piece of the body that was received and not taken yet; nothing if there is none.

        Raises:
            ProtocolError: its framing is wrong, or it is compressed and cannot be decompressed.
        """
        data = self._take()
        piece = data
        if self._gunzip is not None:
            piece = self._gunzip.unpack(data, _UNPACKED_SIZE)
            self._fault = self._fault or self._gunzip.fault
        if not piece:
            self._check_packed_end()
            if self._fault:
                raise ProtocolError(self._fault)
        return piece

    @property
    def size(self) -> int:
        """How many bytes of the body have been received and not taken; compressed ones, if it is compressed."""
        return self._size

    @property
    def partial(self) -> Response:
        """The response so far; of the body, what has been received. Leaves the body here."""
        pieces = self._pieces if self._gunzip is None else self._unpacked
        return Response(self.status, self.headers, b"".join(pieces), False, False)

    @property
    def response(self) -> Response:
        """The response, once it is done. Takes the body."""
        body = self._take() if self._gunzip is None else b"".join(self._unpacked)
        self._check_packed_end()
        complete = not (self._cut or self._doubt)
        return Response(self.status, self.headers, body, complete, self.keep_alive, self._fault or self._doubt)

    # The head.

    def _feed_head(self, data: bytes) -> bytes | None:
        """Return what follows the head, once all of it has arrived."""
        received = self._received + data if self._received else data
        while received:
            self._phase = HEADERS
            if not may_begin_head(received):
                raise ProtocolError(f"the response is not HTTP: {excerpt(received)!r}{_hint(received)}")
            found = END_OF_HEAD.search(received, max(0, self._scanned - 3))
            size = self._skipped + (len(received) if found is None else found.start())
            if size > self._limits.headers:
                raise self._over_header_limit()
            if found is None:
                self._keep_head(received)
                return None
            head, received = received[: found.start()], received[found.end() :]
            if self._read_head(parse_head(head), strict=found[0] == b"\r\n\r\n"):
                return received
            self._skipped = size
        return None

    def _keep_head(self, received: bytes) -> None:
        """Keep the beginning of a head. Its first line is checked without waiting for the rest."""
        if not self._status_line_checked and (end := received.find(b"\n", self._scanned)) >= 0:
            parse_head(received[:end].removesuffix(b"\r"))
            self._status_line_checked = True
        self._received, self._scanned = received, len(received)

    def _read_head(self, head: Head, *, strict: bool) -> bool:
        """Take the head of a final response, and return whether it is one."""
        self._received, self._scanned = b"", 0
        if head.status == 101:
            raise ProtocolError("the plugin switched to another protocol without being asked to")
        if head.status < 200:
            self._phase = STATUS_LINE
            self._status_line_checked = False
            self._strict = self._strict and strict and head.strict
            return False
        self._head = head if strict and self._strict else head._replace(strict=False, keep_alive=False)
        self._phase = BODY
        if head.chunked:
            self._body = ChunkedBody()
        elif head.length is None:
            self._body = UnsizedBody()
        else:
            self._body = SizedBody(head.length)
            if head.length > self._limits.body and not self._streaming:
                raise self._over_body_limit()
        coding = find_header(head.headers, "content-encoding") or ""
        if coding.lower() == "gzip":
            self._gunzip = Gunzip()
        elif coding.lower() not in ("", "identity"):  # ignored, as by Go: the body is read as it is
            self._doubt = f"the response's Content-Encoding is {quoted(coding)}; only gzip is supported"
        return True

    # The body.

    def _feed_body(self, data: bytes) -> None:
        body = self._body
        pieces, rest = body.feed(data)
        if pieces:
            self._pieces += pieces
            self._size += sum(map(len, pieces))
            if not self._streaming:
                self._keep()
        if body.overhead > self._limits.headers:
            raise self._over_header_limit()
        if body.fault and not self._fault:
            self._fault = body.fault
        if self._fault:
            self._finish(cut=True)
        elif rest is not None:
            self._extra = bool(rest)
            self._finish(cut=False)

    def _finish(self, *, cut: bool) -> None:
        self._cut = cut
        self._phase = DONE

    def _keep(self) -> None:
        """Keep the received part of the body, decompressed.

        At once and not in the end, as a body of many small gzip members takes long to decompress: between two pieces
        the deadline is checked.
        """
        if self._size > self._limits.body:
            raise self._over_body_limit()
        if self._gunzip is not None:
            self._unpack(self._gunzip)
            if not self._room:
                raise self._over_body_limit()

    def _unpack(self, gunzip: Gunzip) -> None:
        size, data = self._size, self._take()
        self._size = size  # compressed, it has a limit too
        while piece := gunzip.unpack(data, min(self._room, _UNPACKED_SIZE)):
            self._unpacked.append(piece)
            self._room -= len(piece)
            data = b""
        self._fault = gunzip.fault

    def _check_packed_end(self) -> None:
        if self.done and self.complete and self._gunzip is not None and not (self._gunzip.at_end or self._fault):
            self._cut = True
            self._fault = "the body of the response ends within its gzip data"

    def _take(self) -> bytes:
        """Return the part of the body received since the last call."""
        pieces = self._pieces
        data = pieces[0] if len(pieces) == 1 else b"".join(pieces)
        pieces.clear()
        self._size = 0
        return data

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


def read_whole(data: bytes, limits: Limits) -> Response | None:
    """Return the response if ``data`` is a whole one of the most common form, else None.

    A `ResponseParser` reads any response, this one included, but takes an eighth of a call longer.
    """
    head, end, body = data.partition(_END_OF_HEAD)
    if not end or len(head) > min(CACHED_SIZE, limits.headers) or len(body) > limits.body:
        return None
    plain = _plain_head(head)
    if plain is None:
        return None
    if plain.chunked:
        chunks = whole_chunks(body)
        return None if chunks is None else Response(plain.status, plain.headers, chunks, True, plain.keep_alive)
    return Response(plain.status, plain.headers, body, True, plain.keep_alive) if plain.length == len(body) else None


@lru_cache(maxsize=256)
def _plain_head(head: bytes) -> Head | None:
    """Return the head of a response that needs no leniency, whose body has an end and is not compressed."""
    if not may_begin_head(head):
        return None
    try:
        parsed = parse_head(head)
    except ProtocolError:
        return None
    coded = find_header(parsed.headers, "content-encoding") is not None
    return parsed if parsed.strict and parsed.status >= 200 and parsed.framed and not coded else None


def _hint(data: bytes) -> str:
    # 21 and 22 begin the alert and handshake records of TLS.
    return "; the plugin seems to speak TLS: its address should begin with https://" if data[:1] in b"\x15\x16" else ""
