"""Typed async drivers of all subsystems, against a served plugin: what arrives and returns is what was given."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping, Sequence
from types import UnionType
from typing import Annotated, Any, Union, get_args, get_origin

import msgspec
import pytest
from event_loops import NEW_LOOP, run_in
from every_method import INTERFACES, METHODS, OWNERS

import extframe
from extframe import AsyncClient, Client, LogEntry, RemoteError
from extframe.interface.methods import Method
from extframe.interface.remote import mirror_of

CALLS = [method for method in METHODS.values() if method.stream is None]
ENTRIES = [LogEntry(source="stdout", time_nano=number, line=b"line %d" % number) for number in range(200)]


RESULTS = {
    extframe.NetworkCapability: extframe.NetworkCapability(scope="global", connectivity_scope="local"),
    extframe.VolumeCapability: extframe.VolumeCapability(scope="local"),
    extframe.IpamPool: extframe.IpamPool(pool_id="p1", pool="198.18.0.0/24"),
    extframe.IpamAddress: extframe.IpamAddress(address="198.18.0.2/24"),
    extframe.Volume: extframe.Volume(name="photos", mountpoint="/mnt/photos"),
    list[extframe.Volume]: [extframe.Volume(name="photos")],
}


def sample(kind: Any) -> Any:
    """Return a value of a type that JSON carries."""
    if isinstance(kind, type) and issubclass(kind, msgspec.Struct):
        return kind()
    origin, inner = get_origin(kind), get_args(kind)
    if origin is Annotated:
        return sample(inner[0])
    if origin in (list, tuple, Sequence):
        return [sample(inner[0])] if origin is list else (sample(inner[0]),)
    if origin in (dict, Mapping):
        return {"key": sample(inner[1])}
    if origin in (Union, UnionType):
        return sample(next(each for each in inner if each is not type(None)))
    return {str: "/mnt/photos", int: 7, bool: True, bytes: b"\0\xff", type(None): None}.get(kind, "anything")


class Memory:
    """What plugins were called with, and what they return."""

    def __init__(self) -> None:
        self.received: dict[str, Any] = {}
        self.result: Any = None


def plugin(interface: type, memory: Memory) -> object:
    """Return an async plugin of an interface that records its arguments and returns what it is told to."""
    mirror = mirror_of(interface)

    def answering(method: Method) -> Any:
        async def answer(self: object, **received: Any) -> Any:
            memory.received = received
            if isinstance(memory.result, Exception):
                raise memory.result
            return memory.result

        async def stream(self: object, **received: Any) -> Any:
            memory.received = received
            for entry in ENTRIES:
                yield entry

        return answer if method.stream is None else stream

    owned = {method.name: answering(method) for method in METHODS.values() if OWNERS[method.wire] is interface}
    return type("Plugin", (mirror,), owned)()


@pytest.fixture(scope="module")
def served():
    memory = Memory()
    with extframe.serving(*(plugin(interface, memory) for interface in INTERFACES)) as address:
        yield address.address, memory


@pytest.mark.parametrize("kind", NEW_LOOP)
def test_every_method_of_every_async_driver_sends_its_arguments_and_returns_the_result(served, kind):
    address, memory = served

    async def main() -> None:
        async with AsyncClient(address) as client:
            for method in CALLS:
                driver = extframe.remote(OWNERS[method.wire], client)
                parameters = method.signature.parameters.values()
                given = {each.name: sample(each.annotation) for each in parameters}
                memory.result = RESULTS.get(method.result) or sample(method.result)
                assert await getattr(driver, method.name)(**given) == memory.result, method.wire
                assert memory.received == given, method.wire

    run_in(kind, main)


def test_errors_of_an_async_driver_are_those_of_the_sync_one(served):
    address, memory = served
    memory.result = RemoteError("there is no volume 'x'", status=500)

    async def main() -> RemoteError:
        async with AsyncClient(address, plugin="photos") as client:
            with pytest.raises(RemoteError) as caught:
                await extframe.AsyncVolumeDriver.remote(client).mount("x", id="c1")
            return caught.value

    error = run_in("uvloop", main)
    with Client(address, plugin="photos") as client, pytest.raises(RemoteError) as caught:
        extframe.VolumeDriver.remote(client).mount("x", id="c1")
    assert str(error) == str(caught.value)


@pytest.mark.parametrize("kind", NEW_LOOP)
def test_a_stream_of_records_is_an_async_iterator_that_can_be_closed(served, kind):
    address, _ = served

    async def main() -> None:
        async with AsyncClient(address) as client:
            logs = extframe.AsyncLogDriver.remote(client)
            assert [entry async for entry in logs.read_logs(extframe.LogInfo())] == ENTRIES
            async with extframe.closing(logs.read_logs(extframe.LogInfo())) as entries:
                async for entry in entries:
                    assert entry == ENTRIES[0]
                    break
            await asyncio.sleep(0)

    run_in(kind, main)


def test_remote_refuses_the_client_of_the_other_kind(served):
    address, _ = served
    client = AsyncClient(address)
    with pytest.raises(TypeError, match=r"VolumeDriver\.remote.* AsyncVolumeDriver|AsyncVolumeDriver\.remote"):
        extframe.VolumeDriver.remote(client)
    with pytest.raises(TypeError, match=r"use VolumeDriver\.remote\(client\)"):
        extframe.AsyncVolumeDriver.remote(client.sync)
    assert isinstance(extframe.remote(extframe.VolumeDriver, client), extframe.AsyncVolumeDriver)
    assert isinstance(extframe.remote(extframe.AsyncVolumeDriver, client.sync), extframe.VolumeDriver)
