"""Async streams: the synchronous codecs decode bytes as they arrive, in chunks of any size."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from typing import Any, BinaryIO

import pytest
from hypothesis import given
from hypothesis import strategies as st
from scripted_client import Chunks, collected, split

from extframe.errors import ProtocolError
from extframe.interface.markers import StreamCodec
from extframe.interface.streams import unpack_async
from extframe.subsystems.log import ENTRIES
from extframe.subsystems.log_entries import LogEntry


def decode(codec: StreamCodec, *chunks: bytes) -> list[Any]:
    return asyncio.run(collected(unpack_async(codec, Chunks(*chunks))))


@given(st.lists(st.binary(max_size=50), max_size=5), st.lists(st.integers(0, 10_000), max_size=10))
def test_records_are_the_same_however_the_stream_is_cut(lines, cuts):
    entries = [LogEntry(line=line, time_nano=number) for number, line in enumerate(lines)]
    data = b"".join(map(ENTRIES.pack, entries))
    assert decode(ENTRIES, *split(data, cuts)) == entries


def test_a_record_is_yielded_as_soon_as_its_last_byte_has_arrived():
    first, second = ENTRIES.pack(LogEntry(line=b"a")), ENTRIES.pack(LogEntry(line=b"b"))
    stream = Chunks(first[:3], first[3:], second)

    async def read_one() -> LogEntry:
        return await anext(unpack_async(ENTRIES, stream))

    assert asyncio.run(read_one()).line == b"a"
    assert stream.reads == 2


def test_a_large_record_is_not_decoded_again_for_each_chunk():
    starts = []

    def unpack(stream: BinaryIO) -> Iterator[bytes]:
        starts.append(1)
        yield stream.read(100_000)

    codec = StreamCodec(unpack=unpack, pack=bytes)
    assert decode(codec, *[b"x" * 100] * 1000) == [b"x" * 100_000]
    assert len(starts) == 2


@pytest.mark.parametrize(
    "unpack",
    [lambda stream: iter([stream.read()]), lambda stream: iter([stream.read(None)]), lambda stream: [stream.read1()]],
)
def test_a_codec_may_read_to_the_end(unpack):
    assert decode(StreamCodec(unpack=unpack, pack=bytes), b"ab", b"c") == [b"abc"]


def test_a_stream_that_ends_inside_a_record_is_an_error():
    data = ENTRIES.pack(LogEntry(line=b"abc"))
    for end in (2, len(data) - 1):
        with pytest.raises(ProtocolError, match="the stream ends inside a log entry"):
            decode(ENTRIES, data[:end])
    assert decode(ENTRIES) == []
