"""Parses the head of a response by the rules of Go's net/http, which Docker's engine uses. Knows no body and no limits.

Go reads more than RFC 9112 allows: lines that end in LF alone, folded lines, equal Content-Lengths, a Content-Length
in addition to chunks. All of it is read here, but it leaves the connection not to be reused: where the length of a body
is in doubt, the bytes after it could be taken for the response to another request.
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from functools import lru_cache
from typing import NamedTuple

from ..errors import ProtocolError
from ..protocol import excerpt

Headers = tuple[tuple[bytes, bytes], ...]
"""Pairs of a name in lower case and a value, in the order received."""

END_OF_HEAD = re.compile(rb"\r?\n\r?\n")
CACHED_SIZE = 1024  # bytes: longer heads are parsed each time


class Head(NamedTuple):
    """The status, the headers, and how the body is framed: in chunks, by its length, or by the end of the connection.

    ``length`` is None where the headers announce none. ``keep_alive`` says whether the connection can be reused after
    the body; ``strict`` whether the head is as RFC 9112 has it.
    """

    status: int
    headers: Headers
    length: int | None
    chunked: bool
    keep_alive: bool
    strict: bool

    @property
    def framed(self) -> bool:
        """Whether the body has an end of its own."""
        return self.chunked or self.length is not None


def may_begin_head(data: bytes) -> bool:
    """Return whether a response can begin with these bytes, one at least."""
    return data[:5] == b"HTTP/"[: len(data)]


def parse_head(head: bytes) -> Head:
    """Parse a status line and headers, without the empty line after them.

    Raises:
        ProtocolError: it is not the head of an HTTP/1 response, or contradicts itself.
    """
    return _parse_cached(head) if len(head) <= CACHED_SIZE else _parse(head)


def _parse(head: bytes) -> Head:
    lines = head.replace(b"\r\n", b"\n").split(b"\n")
    version, status = _parse_status_line(lines[0])
    headers, regular = _parse_headers(lines[1:])
    codings, lengths = _values(headers, b"transfer-encoding"), _values(headers, b"content-length")
    strict = regular and version in _USUAL_VERSIONS and not _IRREGULAR.search(head) and len(codings + lengths) < 2
    chunked = bool(codings) and version >= (1, 1)
    if chunked:
        _check_coding(codings)
    elif codings:
        strict = False  # HTTP/1.0 has no Transfer-Encoding
    length = None if chunked else _parse_length(lengths)
    if status < 200 or status in (204, 304):
        length, chunked = 0, False
    keep_alive = strict and (chunked or length is not None) and not _closes(version, headers)
    return Head(status, headers, length, chunked, keep_alive, strict)


# The heads of a busy plugin's responses are the same bytes until the second in their Date is over.
_parse_cached = lru_cache(maxsize=256)(_parse)


# --- lines --------------------------------------------------------------------------------------------

_STATUS_LINE = re.compile(rb"HTTP/(\d)\.(\d) +(\d{3})(?: .*)?", re.DOTALL)
_USUAL_VERSIONS = ((1, 1), (1, 0))
# An LF without CR, a CR without LF, or a control character.
_IRREGULAR = re.compile(rb"(?<!\r)\n|\r(?!\n)|[\x00-\x08\x0b\x0c\x0e-\x1f\x7f]")
_TOKEN = re.compile(rb"[!#$%&'*+\-.^_`|~0-9A-Za-z]+")
_BLANKS = b" \t"


def _parse_status_line(line: bytes) -> tuple[tuple[int, int], int]:
    found = _STATUS_LINE.fullmatch(line)
    if found is None:
        raise ProtocolError(f"the response is not HTTP: its first line is {excerpt(line)!r}")
    major, minor, status = map(int, found.groups())
    if status < 100:
        raise ProtocolError(f"the response has status {status}; expected 100 to 999")
    return (major, minor), status


def _parse_headers(lines: Iterable[bytes]) -> tuple[Headers, bool]:
    """Return the headers, and whether none of them needed leniency."""
    headers: list[tuple[bytes, bytes]] = []
    regular = True
    for line in lines:
        if line.startswith((b" ", b"\t")):
            regular = False
            if not headers:
                raise ProtocolError(f"the response is not HTTP: its headers begin with a space: {excerpt(line)!r}")
            name, value = headers.pop()
            headers.append((name, b"%b %b" % (value, line.strip(_BLANKS)) if value else line.strip(_BLANKS)))
            continue
        name, colon, value = line.partition(b":")
        if not colon:
            raise ProtocolError(f"the response is not HTTP: a header has no colon: {excerpt(line)!r}")
        # A name with a space before the colon is another name, so that it does not frame the body.
        regular = regular and _TOKEN.fullmatch(name) is not None
        headers.append((name.lower(), value.strip(_BLANKS)))
    return tuple(headers), regular


# --- framing ------------------------------------------------------------------------------------------


def _values(headers: Headers, name: bytes) -> list[bytes]:
    return [value for key, value in headers if key == name]


def _check_coding(codings: list[bytes]) -> None:
    if [coding.lower() for coding in codings] != [b"chunked"]:
        raise ProtocolError(f"the response's Transfer-Encoding is {_shown(codings)}, not chunked")


def _parse_length(lengths: list[bytes]) -> int | None:
    different = set(lengths)
    if len(different) > 1:
        raise ProtocolError(f"the response has different Content-Lengths: {_shown(lengths)}")
    value = different.pop() if different else b""
    if not value:
        return None
    if not value.isdigit() or len(value) > _LENGTH_DIGITS:
        raise ProtocolError(f"the response's Content-Length is {_shown([value])}; expected a number of bytes")
    return int(value)


_LENGTH_DIGITS = 19  # of 2**63


def _closes(version: tuple[int, int], headers: Headers) -> bool:
    tokens = [token.strip(_BLANKS).lower() for value in _values(headers, b"connection") for token in value.split(b",")]
    return b"close" in tokens or (version < (1, 1) and b"keep-alive" not in tokens)


def _shown(values: list[bytes]) -> str:
    return ", ".join(repr(excerpt(value)) for value in values)
