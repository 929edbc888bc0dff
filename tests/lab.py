"""An extension point made for tests of the server, and drivers of it, sync and async."""

from __future__ import annotations

import asyncio
import struct
import threading
import time
from collections.abc import AsyncIterator, Callable, Iterator
from typing import Any, BinaryIO

from extframe.interface import Interface, implements
from extframe.interface.methods import StreamCodec, rpc


class Lengths:
    """Records as text with its length before it."""

    def pack(self, record: str) -> bytes:
        return struct.pack(">I", len(record)) + record.encode()

    def unpack(self, stream: BinaryIO) -> Iterator[str]:
        while head := stream.read(4):
            yield stream.read(struct.unpack(">I", head)[0]).decode()


class Lab(Interface, implements="Lab", lenient=True):
    @rpc("Work", returns="Result")
    def work(self, name: str = "", seconds: float = 0.0) -> str:
        raise NotImplementedError

    @rpc("Rest")
    def rest(self) -> None:
        raise NotImplementedError

    @rpc("Count", returns="Number")
    def count(self, name: str = "") -> int:
        raise NotImplementedError

    @rpc("Records", stream=StreamCodec(unpack=Lengths().unpack, pack=Lengths().pack), optional=True)
    def records(self, name: str = "") -> Iterator[str]:
        raise NotImplementedError


class SyncLab(Lab):
    """``work`` runs ``function`` in a thread; without one it sleeps and returns the name."""

    def __init__(self, function: Callable[..., Any] | None = None) -> None:
        self.function = function
        self.log: list[tuple[str, str]] = []

    def work(self, name: str = "", seconds: float = 0.0) -> str:
        self.log.append(("begin", name))
        if self.function is not None:
            return self.function()  # type: ignore[no-any-return]
        time.sleep(seconds)
        self.log.append(("end", name))
        return name

    def rest(self) -> None:
        pass

    def records(self, name: str = "") -> Iterator[str]:
        yield from name.split()


@implements(Lab)
class AsyncLab:
    """The same on the event loop."""

    def __init__(self, function: Callable[..., Any] | None = None) -> None:
        self.function = function
        self.log: list[tuple[str, str]] = []

    async def work(self, name: str = "", seconds: float = 0.0) -> str:
        self.log.append(("begin", name))
        if self.function is not None:
            result = self.function()
            return await result if asyncio.iscoroutine(result) else result  # type: ignore[no-any-return]
        await asyncio.sleep(seconds)
        self.log.append(("end", name))
        return name

    async def rest(self) -> None:
        pass

    async def count(self, name: str = "") -> int:
        raise NotImplementedError

    async def records(self, name: str = "") -> AsyncIterator[str]:
        for word in name.split():
            yield word


BOTH = (SyncLab, AsyncLab)


def in_threads(*functions: Callable[[], Any], timeout: float = 60.0) -> list[Any]:
    """Run all at the same time and return what they returned."""
    results: list[Any] = [None] * len(functions)

    def run(index: int) -> None:
        results[index] = functions[index]()

    threads = [threading.Thread(target=run, args=(index,)) for index in range(len(functions))]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(timeout)
    return results
