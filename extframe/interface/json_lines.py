"""Streams of JSON lines, the encoding of streams that have no codec of their own. Knows no client and no server."""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import Any, BinaryIO

import msgspec

from ..errors import ProtocolError, RemoteError
from ..protocol import check_decoded_size, decode_json, error_in
from ..text import UNCHECKED
from .lossless import fault_finder
from .markers import StreamCodec
from .messages import encode, read, reader

LINE_LIMIT = 16 << 20
"""The maximum size of a line in bytes, as that of a reply."""

_MAY_BE_ERROR = re.compile(rb'\s*\{\s*"err', re.IGNORECASE)


def json_lines(kind: Any) -> StreamCodec:
    """Return the codec of a stream of JSON values of type ``kind``, one a line.

    A line ``{"Err": "..."}`` reports an error and ends the stream.
    """
    lines = _JSONLines(kind)
    return StreamCodec(
        unpack=lines.unpack, pack=lines.pack, pack_error=_pack_error, content_type="application/x-ndjson"
    )


class _JSONLines:
    def __init__(self, kind: Any) -> None:
        self._decoder = msgspec.json.Decoder(kind)
        self._read = reader(kind)
        self._find_fault = fault_finder(kind)

    def pack(self, record: Any) -> bytes:
        """Return the line of a record.

        Raises:
            TypeError: the record does not have the declared type, or would be read as an error.
        """
        try:
            fault = None if self._find_fault is None else self._find_fault(record)
            if fault is not None:
                raise TypeError(f"the record{fault}")
            line = encode(record)
            self._decoder.decode(line)
        except (TypeError, ValueError, RecursionError) as wrong:
            raise TypeError(f"the stream has an invalid record: {wrong}") from wrong
        if _error_in(line):
            raise TypeError("the stream has an invalid record: an object with Err alone reports an error; add a key")
        return line

    def unpack(self, stream: BinaryIO) -> Iterator[Any]:
        """Yield the records of a stream as they arrive.

        Raises:
            RemoteError: the stream reports an error.
            ProtocolError: a line is invalid or too long, or decoding it would need too much memory.
        """
        while line := stream.readline(LINE_LIMIT + 1):
            if len(line) > LINE_LIMIT:
                raise ProtocolError(f"a line of the stream has more than {LINE_LIMIT} bytes")
            if not line.isspace():
                yield self._record(line)

    def _record(self, line: bytes) -> Any:
        if len(line) > UNCHECKED:
            check_decoded_size(line)
        message = _error_in(line)
        if message:
            raise RemoteError(message, status=200)
        try:
            return self._decoder.decode(line)
        except (ValueError, RecursionError):
            return read(decode_json(line), self._read)


def _error_in(line: bytes) -> str:
    """Return the error that a line reports, "" for a record."""
    if _MAY_BE_ERROR.match(line) is None:
        return ""
    found = decode_json(line)
    is_error = isinstance(found, dict) and {key.lower() for key in found} <= {"err", "error"}
    return error_in(found) if is_error else ""


def _pack_error(message: str) -> bytes:
    # An OSError with a file name that is not UTF-8 has surrogates in its text, which JSON cannot represent.
    return encode({"Err": message.encode(errors="replace").decode()})
