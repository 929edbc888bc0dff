"""Log entries as Docker streams them to plugins and back: length, then protobuf. No files, no calls."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from datetime import datetime, timedelta, timezone
from typing import Any, BinaryIO

from ..errors import ProtocolError

RECORD_LIMIT = 16 * 1024 * 1024
"""The maximum size of a record in bytes; Docker's own records have lines of up to 16 KiB."""


@dataclass(frozen=True)
class PartialLogMetadata:
    """Which part of a long line an entry is.

    Args:
        last: whether it is the last part.
        id: the same for all parts of one line.
        ordinal: the part's number, from 1.
    """

    last: bool = False
    id: str = ""
    ordinal: int = 0


@dataclass(frozen=True)
class LogEntry:
    """A line that a container wrote.

    Args:
        source: ``stdout`` or ``stderr``.
        time_nano: the time in nanoseconds since 1970.
        line: the line. Entries sent to plugins have no newline at the end; entries returned by ``ReadLogs``
            need one, or the host shows lines run together.
        partial: whether it is a part of a line longer than 16 KiB; true for the last part too.
        partial_log_metadata: which part.
        attrs: further attributes; Docker sends none yet.
    """

    source: str = ""
    time_nano: int = 0
    line: bytes = b""
    partial: bool = False
    partial_log_metadata: PartialLogMetadata | None = None
    attrs: dict[str, str] = field(default_factory=dict)

    @property
    def time(self) -> datetime:
        """``time_nano`` as a time in UTC, to the microsecond."""
        return datetime(1970, 1, 1, tzinfo=timezone.utc) + timedelta(microseconds=self.time_nano // 1000)


def pack_entry(entry: LogEntry) -> bytes:
    """Return the bytes of a log entry in a stream."""
    record = _scalar(1, entry.source.encode()) + _scalar(2, entry.time_nano) + _scalar(3, entry.line)
    record += _scalar(4, entry.partial)
    metadata = entry.partial_log_metadata
    if metadata is not None:
        record += _field(5, _scalar(1, metadata.last) + _scalar(2, metadata.id.encode()) + _scalar(3, metadata.ordinal))
    for key, value in entry.attrs.items():
        record += _field(6, _scalar(1, key.encode()) + _scalar(2, value.encode()))
    return len(record).to_bytes(4, "big") + record


def unpack_entries(stream: BinaryIO) -> Iterator[LogEntry]:
    """Yield the log entries of a stream as they arrive, until it ends between two entries.

    Raises:
        ProtocolError: the stream ends inside an entry, or a record is too large or invalid.
    """
    while True:
        length = _read(stream, 4)
        if not length:
            return
        size = int.from_bytes(length, "big")
        if size > RECORD_LIMIT:
            raise ProtocolError(f"a log entry of {size} bytes; the limit is {RECORD_LIMIT} (RECORD_LIMIT)")
        record = _read(stream, size)
        if len(length) < 4 or len(record) < size:
            raise ProtocolError(f"the stream ends inside a log entry, after {len(length + record)} of {4 + size} bytes")
        yield _entry(record)


def _read(stream: BinaryIO, size: int) -> bytes:
    """Return ``size`` bytes, fewer at the end of the stream. One read of a pipe may return less than requested."""
    received = bytearray()
    while len(received) < size:
        chunk = stream.read(size - len(received))
        if not chunk:
            break
        received += chunk
    return bytes(received)


# --- the part of protobuf that log entries need --------------------------------------------------------

_VARINT, _BYTES = 0, 2
_FIXED = {1: 8, 5: 4}  # sizes in bytes of the fixed-width types, which no known field has


def _field(number: int, value: int | bytes) -> bytes:
    if isinstance(value, bytes):
        return _packed_varint(number << 3 | _BYTES) + _packed_varint(len(value)) + value
    return _packed_varint(number << 3 | _VARINT) + _packed_varint(value)


def _scalar(number: int, value: int | bytes) -> bytes:
    return _field(number, value) if value else b""


def _packed_varint(value: int) -> bytes:
    packed = bytearray()
    value &= (1 << 64) - 1  # negative numbers are encoded in two's complement
    while value > 0x7F:
        packed.append(value & 0x7F | 0x80)
        value >>= 7
    packed.append(value)
    return bytes(packed)


def _varint(record: bytes, at: int) -> tuple[int, int]:
    value = 0
    for shift in range(0, 64, 7):
        if at >= len(record):
            break
        byte = record[at]
        at += 1
        value |= (byte & 0x7F) << shift
        if byte < 0x80:
            return value & (1 << 64) - 1, at
    raise ProtocolError("a log entry has an unterminated varint")


def _fields(record: bytes) -> Iterator[tuple[int, int | bytes]]:
    at = 0
    while at < len(record):
        tag, at = _varint(record, at)
        number, kind = tag >> 3, tag & 7
        if kind == _VARINT:
            value, at = _varint(record, at)
            yield number, value
            continue
        size, at = _varint(record, at) if kind == _BYTES else (_FIXED.get(kind, len(record)), at)
        if at + size > len(record):
            raise ProtocolError(f"field {number} of a log entry is longer than the entry")
        yield number, record[at : at + size]
        at += size


def _values(record: bytes, table: _Table) -> Iterator[tuple[str, Any]]:
    for number, value in _fields(record):
        name, kind, read = table.get(number, _UNKNOWN)
        if name and not isinstance(value, kind):
            raise ProtocolError(f"field {number} of a log entry ({name}) has the wrong type")
        if name:
            yield name, read(value)


def _entry(record: bytes) -> LogEntry:
    values = list(_values(record, _ENTRY))
    attrs = dict(value for name, value in values if name == "attrs")
    return LogEntry(**{**dict(values), "attrs": attrs})


def _metadata(record: bytes) -> PartialLogMetadata:
    return PartialLogMetadata(**dict(_values(record, _METADATA)))


def _attribute(record: bytes) -> tuple[str, str]:
    values = dict(_values(record, _ATTRIBUTE))
    return values.get("key", ""), values.get("value", "")


def _text(value: bytes) -> str:
    return value.decode(errors="replace")


def _signed(value: int) -> int:
    return value - (1 << 64) if value >> 63 else value


_Table = Mapping[int, tuple[str, type, Callable[[Any], Any]]]
"""Field number -> attribute, type on the wire, function that converts the value."""

_UNKNOWN = ("", object, bytes)
_METADATA: _Table = {1: ("last", int, bool), 2: ("id", bytes, _text), 3: ("ordinal", int, _signed)}
_ATTRIBUTE: _Table = {1: ("key", bytes, _text), 2: ("value", bytes, _text)}
_ENTRY: _Table = {
    1: ("source", bytes, _text),
    2: ("time_nano", int, _signed),
    3: ("line", bytes, bytes),
    4: ("partial", int, bool),
    5: ("partial_log_metadata", bytes, _metadata),
    6: ("attrs", bytes, _attribute),
}
