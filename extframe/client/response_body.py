"""Finds the end of a body and decompresses it, piece by piece as it arrives. Knows no headers and no limits."""

from __future__ import annotations

import re
from contextlib import suppress
from typing import TYPE_CHECKING, Protocol

from ..protocol import excerpt

if TYPE_CHECKING:
    from zlib import _Decompress


class Body(Protocol):
    """A body that is being received."""

    strict: bool
    """Whether nothing so far needed leniency."""

    overhead: int
    """Bytes received since the last byte of the body: of chunk sizes and trailers."""

    fault: str
    """What is wrong with the framing; "" if nothing is. No more can be received then."""

    def feed(self, data: bytes) -> tuple[list[bytes], bytes | None]:
        """Return the pieces of the body in ``data``, and what follows the body; None before the end of the body."""


class SizedBody:
    """A body with a Content-Length."""

    strict = True
    overhead = 0
    fault = ""

    def __init__(self, length: int) -> None:
        self._missing = length

    def feed(self, data: bytes) -> tuple[list[bytes], bytes | None]:
        """See `Body`."""
        missing = self._missing
        if len(data) < missing:
            self._missing = missing - len(data)
            return [data] if data else [], None
        self._missing = 0
        return [data[:missing]] if missing else [], data[missing:]


class UnsizedBody:
    """A body that ends with the connection."""

    strict = True
    overhead = 0
    fault = ""

    def feed(self, data: bytes) -> tuple[list[bytes], bytes | None]:
        """See `Body`."""
        return [data] if data else [], None


_PLAIN_SIZE = re.compile(rb"([0-9A-Fa-f]{1,16})\r\n")
_SIZE_LINE = re.compile(rb"([0-9A-Fa-f]{1,16})([ \t]*)(?:;[^\r\n]*)?(\r?)")
_LINE_LIMIT = 4096  # bytes, as in Go
_TRAILER = re.compile(rb"[!#$%&'*+\-.^_`|~0-9A-Za-z]+:[^\r]*\r")


class ChunkedBody:
    """A body in chunks. Spaces after a chunk's size and lines that end in LF alone are accepted, but not strict."""

    def __init__(self) -> None:
        self.strict = True
        self.overhead = 0
        self.fault = ""
        self._line = b""  # the beginning of a line
        self._missing = 0  # bytes of the current chunk
        self._read_line = self._read_size

    def feed(self, data: bytes) -> tuple[list[bytes], bytes | None]:
        """See `Body`."""
        pieces: list[bytes] = []
        position = 0
        if not (self._missing or self._line) and self._read_line == self._read_size:
            position = _take_chunks(data, pieces)
            self.overhead = 0 if pieces else self.overhead
        while position < len(data):
            if self._missing:
                piece = data[position : position + self._missing]
                pieces.append(piece)
                position += len(piece)
                self._missing -= len(piece)
                self.overhead = 0
                continue
            end = data.find(b"\n", position) + 1
            line = self._line + data[position : end or None]
            self.overhead += (end or len(data)) - position
            if len(line) > _LINE_LIMIT:
                self.fault = f"a line between two chunks of the response is over {_LINE_LIMIT} bytes"
                break
            if not end:
                self._line = line
                break
            self._line = b""
            position = end
            if self._read_line(line[:-1]):
                return pieces, data[position:]
            if self.fault:
                break
        return pieces, None

    # What a line can be. Each returns whether it ends the body.

    def _read_size(self, line: bytes) -> bool:
        found = _SIZE_LINE.fullmatch(line)
        if found is None:
            self.fault = f"the size of a chunk of the response is {excerpt(line)!r}; expected a hexadecimal number"
            return False
        size, blanks, carriage_return = found.groups()
        self.strict = self.strict and not blanks and bool(carriage_return)
        self._missing = int(size, 16)
        self._read_line = self._read_end_of_chunk if self._missing else self._read_trailer
        return False

    def _read_end_of_chunk(self, line: bytes) -> bool:
        if line not in (b"\r", b""):
            self.fault = f"a chunk of the response is longer than its size, by {excerpt(line)!r} at least"
        self.strict = self.strict and line == b"\r"
        self._read_line = self._read_size
        return False

    def _read_trailer(self, line: bytes) -> bool:
        self.strict = self.strict and (line == b"\r" or _TRAILER.fullmatch(line) is not None)
        return line in (b"\r", b"")


def whole_chunks(data: bytes) -> bytes | None:
    """Return the body if ``data`` is a whole one in chunks of the common form, else None."""
    pieces: list[bytes] = []
    end = _take_chunks(data, pieces)
    return b"".join(pieces) if data[end:] == b"0\r\n\r\n" else None


def _take_chunks(data: bytes, pieces: list[bytes]) -> int:
    """Append the whole chunks of the common form that ``data`` begins with, and return where they end."""
    position = 0
    match_size = _PLAIN_SIZE.match
    while (found := match_size(data, position)) is not None:
        begin = found.end()
        end = begin + int(found[1], 16)
        if end == begin or not data.startswith(b"\r\n", end):
            break
        pieces.append(data[begin:end])
        position = end + 2
    return position


class Gunzip:
    """Decompresses a body received in pieces; consecutive gzip members form one body, as in Go.

    A body that does not begin as gzip does is left as it is: plugins that name an encoding that they do not use work
    with Docker over unix sockets, where it ignores the header.
    """

    def __init__(self) -> None:
        self.fault = ""
        """Why nothing more can be decompressed; "" if it can."""
        self._member = _gzip_member()
        self._packed = b""
        self._full = False  # the last piece had the full size: zlib may hold back more
        self._plain: bool | None = None  # not known before the first byte

    @property
    def at_end(self) -> bool:
        """Whether no member is incomplete. An empty body counts as complete, though it is not gzip."""
        return self._member.eof or self._plain is not False

    def unpack(self, data: bytes, size: int) -> bytes:
        """Return at most ``size`` decompressed bytes; call again with no data for more."""
        if self._plain is None and data:
            self._plain = not data.startswith(_MAGIC)
        self._packed += data
        if self._plain:
            piece, self._packed = self._packed[:size], self._packed[size:]
            return piece
        return b"" if self.fault else self._decompress(size)

    def _decompress(self, size: int) -> bytes:
        import zlib

        unpacked = bytearray()
        before, packed = self._member.copy(), self._packed
        while (self._packed or self._full) and len(unpacked) < size:
            if self._member.eof and self._packed:
                self._member = _gzip_member()
            try:
                piece = self._member.decompress(self._packed, size - len(unpacked))
            except zlib.error as wrong:
                self.fault = f"the body of the response is not gzip, contrary to its headers: {wrong}"
                return _salvage(before, packed, size)
            self._packed = self._member.unconsumed_tail or self._member.unused_data
            unpacked += piece
            self._full = len(unpacked) == size
        return bytes(unpacked)


def _salvage(member: _Decompress, packed: bytes, size: int) -> bytes:
    """Return what precedes the fault in ``packed``, so that the result does not depend on how the body was received."""
    import zlib

    unpacked = bytearray()
    with suppress(zlib.error):
        for at in range(len(packed)):
            if len(unpacked) >= size:
                break
            member = _gzip_member() if member.eof else member
            unpacked += member.decompress(packed[at : at + 1], size - len(unpacked))
    return bytes(unpacked)


_MAGIC = b"\x1f"  # the first byte of gzip, and of no text


def _gzip_member() -> _Decompress:
    import zlib

    return zlib.decompressobj(wbits=16 + zlib.MAX_WBITS)
