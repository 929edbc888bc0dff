"""Streams of JSON lines: declared by their type alone, validated on both sides, ended by the plugin's own words."""

from __future__ import annotations

import asyncio
import io
import math
from collections.abc import AsyncIterator, Iterator
from typing import Any

import pytest
from faultserver import send_and_close
from hypothesis import given
from hypothesis import strategies as st
from scripted_client import Chunks, collected, split
from served_client import ends_within

import extframe
from extframe import AsyncInterface, Client, Interface, Message, ProtocolError, RemoteError, rpc
from extframe.interface import json_lines as module
from extframe.interface.json_lines import json_lines
from extframe.interface.streams import unpack_async
from extframe.server import serving


class Token(Message, frozen=True):
    text: str = ""
    score: float = 0.0
    extra: dict[str, Any] = {}  # noqa: RUF012 - a declaration


class Model(Interface, implements="Model"):
    @rpc("Generate")
    def generate(self, prompt: str) -> Iterator[Token]:
        """Yield the tokens of an answer."""
        raise NotImplementedError

    @rpc("Count")
    def count(self, end: int) -> Iterator[Any]:
        raise NotImplementedError


class AsyncModel(AsyncInterface, mirrors=Model):
    def generate(self, prompt: str) -> AsyncIterator[Token]:
        raise NotImplementedError

    def count(self, end: int) -> AsyncIterator[Any]:
        raise NotImplementedError


TOKENS = json_lines(Token)


def unpacked(body: bytes, kind: Any = Token) -> list[Any]:
    return list(json_lines(kind).unpack(io.BytesIO(body)))


# --- the encoding -------------------------------------------------------------------------------------


def test_each_record_is_a_line():
    assert TOKENS.pack(Token(text="a\nb", score=1)) == b'{"Text":"a\\nb","Score":1,"Extra":{}}\n'
    assert TOKENS.content_type == "application/x-ndjson"


RECORDS = st.lists(st.recursive(st.none() | st.integers() | st.text(), st.lists, max_leaves=5), max_size=5)


@given(RECORDS, st.lists(st.integers(0, 10_000), max_size=10))
def test_records_are_the_same_however_the_stream_is_cut(records, cuts):
    codec = json_lines(Any)
    data = b"".join(map(codec.pack, records))
    assert asyncio.run(collected(unpack_async(codec, Chunks(*split(data, cuts))))) == records
    assert unpacked(data, Any) == records


@pytest.mark.parametrize(
    "body",
    [
        b'{"text":"a","SCORE":2,"Extra":null,"New":[]}\n',
        b'{"Text":"a","Score":2}',
        b'\r\n{"Text":"a","Score":2}\r\n\n',
        b'{"Err":"","Text":"a","Score":2}\n',
    ],
)
def test_lines_are_read_as_leniently_as_replies(body):
    assert unpacked(body) == [Token(text="a", score=2)]


@pytest.mark.parametrize(
    ("line", "message"),
    [
        (b'{"Text":5}\n', r"Expected `str`, got `int` - at `\$.Text`"),
        (b'{"Text":"a"\n', "not JSON"),
        (b"null\n", "Expected `object`, got `null`"),
        (b"[" * 100_000 + b"\n", "`array`|nested"),
    ],
)
def test_an_invalid_line_is_a_protocol_error(line, message):
    with pytest.raises(ProtocolError, match=message):
        unpacked(line)


@pytest.mark.parametrize("kind", [Token, Any, dict[str, str]])
@pytest.mark.parametrize(
    "line", [b'{"Err":"no room"}\n', b' { "err": "no room", "Error": ""}\n', b'{"error":"no room"}']
)
def test_a_line_with_err_alone_is_the_error_that_ends_the_stream(line, kind):
    with pytest.raises(RemoteError) as caught:
        unpacked(line, kind)
    assert (caught.value.message, caught.value.status) == ("no room", 200)


def test_a_line_that_would_need_too_much_memory_is_refused_before_it_is_decoded():
    with pytest.raises(ProtocolError, match="over 192 MiB of memory, the limit"):
        unpacked(b"[" + b"[]," * (5 << 20) + b"[]]\n", list[list[int]])


def test_a_line_is_bounded_in_sync_and_async_code(monkeypatch):
    monkeypatch.setattr(module, "LINE_LIMIT", 100)
    with pytest.raises(ProtocolError, match="more than 100 bytes"):
        unpacked(b'"' + b"x" * 200 + b'"\n', str)
    with pytest.raises(ProtocolError, match="more than 100 bytes"):
        asyncio.run(collected(unpack_async(json_lines(str), Chunks(*[b"x"] * 300))))
    assert unpacked(b'"' + b"x" * 97 + b'"\n', str) == ["x" * 97]


class Failure(Message, frozen=True):
    err: str = ""


@pytest.mark.parametrize(
    ("kind", "record", "message"),
    [
        (Token, "a", "the stream has an invalid record: Expected `object`, got `str`"),
        (Token, None, "invalid record: Expected `object`, got `null`"),
        (Token, Token(score=math.nan), "invalid record: the record.score: nan cannot be sent as JSON"),
        (Token, Token(extra={"a": b"x"}), r"the record.extra\['a'\]: bytes cannot be sent"),
        (Any, {"Err": "x"}, "an object with Err alone reports an error; add a key"),
        (Failure, Failure(err="x"), "an object with Err alone"),
    ],
)
def test_a_record_that_would_not_arrive_as_it_is_is_a_type_error(kind, record, message):
    with pytest.raises(TypeError, match=message):
        json_lines(kind).pack(record)


# --- served -------------------------------------------------------------------------------------------


class Echo(Model):
    def generate(self, prompt: str) -> Iterator[Token]:
        yield from (Token(text=word) for word in prompt.split())
        if prompt.endswith("!"):
            raise LookupError("the model ran out of \ud800 words")

    def count(self, end: int) -> Iterator[Any]:
        for number in range(end):
            yield {"number": number} if number != 3 else {"number": math.inf}


class AsyncEcho(AsyncModel):
    async def generate(self, prompt: str) -> AsyncIterator[Token]:
        for word in prompt.split():
            yield Token(text=word)
        if prompt.endswith("!"):
            raise LookupError("the model ran out of \ud800 words")

    async def count(self, end: int) -> AsyncIterator[Any]:
        for record in Echo().count(end):
            yield record


@pytest.fixture(params=[Echo, AsyncEcho])
def model(request: pytest.FixtureRequest) -> Iterator[Model]:
    with serving(request.param()) as plugin, Client(plugin.address, plugin="echo") as client:
        yield Model.remote(client)


def test_a_stream_needs_no_codec(model):
    assert list(model.generate("one two")) == [Token(text="one"), Token(text="two")]
    assert list(model.count(0)) == []


def test_a_source_that_raises_midway_ends_the_stream_with_its_words(model):
    tokens = model.generate("one two!")
    assert [next(tokens).text, next(tokens).text] == ["one", "two!"]
    with pytest.raises(RemoteError, match=r"the model ran out of \? words") as caught:
        next(tokens)
    assert (caught.value.plugin, caught.value.method) == ("echo", "Model.Generate")
    assert list(model.generate("three")) == [Token(text="three")]


def test_an_async_driver_reads_the_records_and_the_words():
    async def use(address: str) -> None:
        async with extframe.AsyncClient(address, plugin="echo") as client:
            tokens = AsyncModel.remote(client).generate("one two!")
            assert [(await anext(tokens)).text, (await anext(tokens)).text] == ["one", "two!"]
            with pytest.raises(RemoteError, match="the model ran out of") as caught:
                await anext(tokens)
            assert (caught.value.plugin, caught.value.method) == ("echo", "Model.Generate")

    with serving(AsyncEcho()) as plugin:
        asyncio.run(use(plugin.address))


def test_an_invalid_record_ends_the_stream_with_the_reason(model):
    numbers = model.count(5)
    assert [next(numbers)["number"] for _ in range(3)] == [0, 1, 2]
    with pytest.raises(RemoteError, match=r"the record\['number'\]: inf cannot be sent as JSON"):
        next(numbers)


def test_a_connection_that_breaks_is_not_taken_for_the_end(fault_server):
    body = b'HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\nd\r\n{"Text":"a"}\n\r\n'
    server = fault_server(send_and_close(body))
    with Client(server.address) as client, ends_within(60):
        tokens = Model.remote(client).generate("x")
        assert next(tokens).text == "a"
        with pytest.raises(extframe.ConnectionLost):
            next(tokens)
