"""Clients without connections: one answers what a test scripted, one has its plugin in this process."""

from __future__ import annotations

import io
import json
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager, contextmanager
from dataclasses import dataclass
from typing import Any, BinaryIO

import msgspec

from extframe.errors import RemoteError
from extframe.interface import routes
from extframe.protocol import encode_json, error_words


@dataclass(frozen=True)
class Call:
    method: str
    body: bytes
    timeout: float | None
    idempotent: bool = False

    @property
    def arguments(self) -> Any:
        return json.loads(self.body) if self.body else None


class ScriptedClient:
    """Answers every call with the same body, or with each of several in turn; a status other than 200 is an error."""

    plugin = "scripted"
    address = "unix:///scripted.sock"

    def __init__(self, *bodies: object, status: int = 200) -> None:
        self.bodies = [body if isinstance(body, bytes) else json.dumps(body).encode() for body in bodies or ({},)]
        self.status = status
        self.calls: list[Call] = []
        self.open_streams = 0

    def call(self, method, arguments=None, *, reply, timeout=None, idempotent=False):
        assert reply is msgspec.Raw
        self.calls.append(Call(method, encode_json(arguments), timeout, idempotent))
        return msgspec.Raw(self._answer(method))

    @contextmanager
    def stream(
        self, method: str, arguments: object = None, *, timeout: float | None = None, follow: bool = False
    ) -> Iterator[BinaryIO]:
        self.calls.append(Call(method, encode_json(arguments), timeout))
        self.open_streams += 1
        try:
            yield io.BytesIO(self._answer(method))
        finally:
            self.open_streams -= 1

    def _answer(self, method: str) -> bytes:
        body = self.bodies.pop(0) if len(self.bodies) > 1 else self.bodies[0]
        if self.status != 200:
            words = error_words(body)
            raise RemoteError(words, status=self.status, plugin=self.plugin, address=self.address, method=method)
        return body

    @property
    def last(self) -> Call:
        return self.calls[-1]


class AsyncScriptedClient:
    """A ScriptedClient whose calls are awaited, and whose streams arrive in chunks of a few bytes."""

    def __init__(self, *bodies: object, status: int = 200, chunk: int = 3) -> None:
        self.script = ScriptedClient(*bodies, status=status)
        self.plugin, self.address = self.script.plugin, self.script.address
        self.chunk = chunk

    async def call(self, method, arguments=None, *, reply, timeout=None, idempotent=False):
        return self.script.call(method, arguments, reply=reply, timeout=timeout, idempotent=idempotent)

    @asynccontextmanager
    async def stream(
        self, method: str, arguments: object = None, *, timeout: float | None = None, follow: bool = False
    ) -> AsyncIterator[Any]:
        with self.script.stream(method, arguments, timeout=timeout, follow=follow) as stream:
            yield AsyncBytes(stream, self.chunk)


class AsyncBytes:
    def __init__(self, stream: BinaryIO, chunk: int) -> None:
        self.stream, self.chunk = stream, chunk

    async def read(self, size: int = -1, /) -> bytes:
        return self.stream.read(self.chunk)


class DriverClient:
    """A client whose plugin is a driver in this process: the JSON goes both ways, and nothing else does."""

    def __init__(self, *drivers: object) -> None:
        self.routes = routes(*drivers)

    def call(self, method, arguments=None, *, reply, timeout=None, idempotent=False):
        declared, function = self.routes[method]
        return reply(declared.encode_reply(function(**declared.decode_request(encode_json(arguments)))))

    @contextmanager
    def stream(
        self, method: str, arguments: object = None, *, timeout: float | None = None, follow: bool = False
    ) -> Iterator[BinaryIO]:
        declared, function = self.routes[method]
        records = function(**declared.decode_request(encode_json(arguments)))
        yield io.BytesIO(b"".join(map(declared.stream.pack, records)))


class Chunks:
    """A stream whose reads return these chunks."""

    def __init__(self, *chunks: bytes) -> None:
        self.chunks = list(chunks)
        self.reads = 0

    async def read(self, size: int = -1, /) -> bytes:
        self.reads += 1
        return self.chunks.pop(0) if self.chunks else b""


async def collected(records: AsyncIterator[Any]) -> list[Any]:
    return [record async for record in records]


def split(data: bytes, cuts: list[int]) -> list[bytes]:
    ends = [*sorted(cut % (len(data) + 1) for cut in cuts), len(data)]
    return [piece for start, end in zip([0, *ends], ends, strict=False) if (piece := data[start:end])]
