"""Async interfaces: mirrors are checked when the class is created, drivers await their calls, streams are iterators."""

from __future__ import annotations

import asyncio
import inspect
import subprocess
import sys
from collections.abc import AsyncIterator, Callable, Iterator
from typing import Annotated, Any, BinaryIO

import pytest
from scripted_client import AsyncScriptedClient, ScriptedClient

import extframe
from extframe import AsyncInterface
from extframe.errors import ProtocolError, RemoteError
from extframe.interface import Interface, declaration, declarations, routes
from extframe.interface.drivers import check_driver
from extframe.interface.markers import Key, StreamCodec, rpc


def unpack_lines(stream: BinaryIO) -> Iterator[str]:
    for line in stream:
        if not line.endswith(b"\n"):
            raise ProtocolError("the stream ends inside a line")
        yield line[:-1].decode()


LINES = StreamCodec(unpack=unpack_lines, pack=lambda line: line.encode() + b"\n")


class Backup(Interface, implements="backup", prefix="BackupPlugin"):
    """Backups that the plugin keeps."""

    @rpc("Start", returns="JobID", timeout=5.0)
    def start(self, path: str, level: Annotated[int, Key("LEVEL")] = 0) -> str:
        """Start a backup and return its job."""
        raise NotImplementedError

    @rpc("State", returns="State", idempotent=True, optional=True, fallback=lambda error: f"unknown: {error.message}")
    def state(self, job: str) -> str:
        raise NotImplementedError

    @rpc("Log", stream=LINES)
    def log(self, job: str) -> Iterator[str]:
        raise NotImplementedError


class AsyncBackup(AsyncInterface, mirrors=Backup):
    async def start(self, path: str, level: int = 0) -> str:
        raise NotImplementedError

    async def state(self, job: str) -> str:
        raise NotImplementedError

    def log(self, job: str) -> AsyncIterator[str]:
        raise NotImplementedError


class Restore(Interface, implements="Restore"):
    @rpc("Run")
    def run(self, job: str) -> None:
        raise NotImplementedError


class AsyncOnly(AsyncInterface, implements="AsyncOnly"):
    @rpc("Run", returns="Result", timeout=3.0)
    async def run(self, job: str) -> str:
        raise NotImplementedError

    @rpc("Log", stream=LINES)
    def log(self, job: str) -> AsyncIterator[str]:
        raise NotImplementedError


async def collected(records: AsyncIterator[Any]) -> list[Any]:
    return [record async for record in records]


# --- mirrors ------------------------------------------------------------------------------------------


def test_a_mirror_has_the_declaration_and_the_documentation_of_its_interface():
    assert declaration(AsyncBackup) is declaration(Backup)
    assert inspect.getdoc(AsyncBackup.start) == "Start a backup and return its job."


async def start(self, path: str, level: int = 0) -> str: ...
async def state(self, job: str) -> str: ...
def log(self, job: str) -> AsyncIterator[str]: ...
async def start_without_level(self, path: str) -> str: ...
async def start_with_another_default(self, path: str, level: int = 1) -> str: ...
async def start_without_default(self, path: str, level: int) -> str: ...
async def start_with_another_kind(self, path: str, *, level: int = 0) -> str: ...
async def start_with_another_type(self, path: str, level: str = 0) -> str: ...  # type: ignore[assignment]
async def start_with_another_result(self, path: str, level: int = 0) -> int: ...
async def start_without_types(self, path, level=0): ...
async def start_undefined(self, path: Nowhere, level: int = 0) -> str: ...  # noqa: F821
async def start_with_other_names(self, folder: str, level: int = 0) -> str: ...
def start_sync(self, path: str, level: int = 0) -> str: ...
async def log_coroutine(self, job: str) -> AsyncIterator[str]: ...
async def log_generator(self, job: str) -> AsyncIterator[str]:
    yield ""


def log_of_bytes(self, job: str) -> AsyncIterator[bytes]: ...
def log_sync(self, job: str) -> Iterator[str]: ...


@pytest.mark.parametrize(
    ("methods", "mismatch"),
    [
        ({"start": None}, "start is missing"),
        ({"start": start_without_level}, "start takes (path), not (path, level)"),
        ({"start": start_with_other_names}, "start takes (folder, level), not (path, level)"),
        ({"start": start_with_another_default}, "start: the default of level is 1, not 0"),
        ({"start": start_without_default}, "start: the default of level is missing, not 0"),
        ({"start": start_with_another_kind}, "start: level is keyword-only, not positional or keyword"),
        ({"start": start_with_another_type}, "start: level is str, not int"),
        ({"start": start_with_another_result}, "the result of start is int, not str"),
        ({"start": start_undefined}, "start: name 'Nowhere' is not defined"),
        ({"start": start_sync}, "start must be declared with async def"),
        ({"start": property(start)}, "start is not a function"),
        ({"log": log_coroutine}, "log must be declared with def, with the result AsyncIterator[...]"),
        ({"log": log_generator}, "log must be declared with def, with the result AsyncIterator[...]"),
        (
            {"log": log_of_bytes},
            "the result of log is collections.abc.AsyncIterator[bytes], not collections.abc.AsyncIterator[str]",
        ),
        (
            {"log": log_sync},
            "the result of log is collections.abc.Iterator[str], not collections.abc.AsyncIterator[str]",
        ),
        ({"begin": start}, "begin is not a method of Backup"),
    ],
)
def test_a_mirror_is_checked_when_it_is_created(methods, mismatch):
    namespace = {"start": start, "state": state, "log": log, **methods}
    kept = {name: function for name, function in namespace.items() if function is not None}
    with pytest.raises(TypeError) as caught:
        type("Wrong", (AsyncInterface,), kept, mirrors=Backup)
    assert str(caught.value).startswith("Wrong does not mirror Backup: ")
    assert mismatch in str(caught.value)


def test_all_mismatches_are_listed():
    with pytest.raises(TypeError, match="start: path is <class 'inspect._empty'>|; state is missing; log is missing"):
        type("Wrong", (AsyncInterface,), {"start": start_without_types}, mirrors=Backup)


@pytest.mark.parametrize("mirrored", [object, AsyncBackup, type("Disk", (Backup,), {})])
def test_only_a_class_that_declares_an_interface_has_mirrors(mirrored):
    with pytest.raises(TypeError, match="is not a class that declares an Interface"):
        type("Wrong", (AsyncInterface,), {}, mirrors=mirrored)


def test_a_mirror_has_no_names_of_its_own():
    with pytest.raises(
        TypeError,
        match="omit implements=, prefix=, version=, accepts=, lenient= and settings=; a mirror has those of Backup",
    ):
        type("Wrong", (AsyncInterface,), {}, mirrors=Backup, implements="Other")


def test_a_mirror_can_extend_another():
    class More(Backup, implements="More"):
        @rpc("Verify")
        def verify(self) -> None:
            raise NotImplementedError

    class AsyncMore(AsyncBackup, mirrors=More):
        async def verify(self) -> None:
            raise NotImplementedError

    client = AsyncScriptedClient({})
    asyncio.run(AsyncMore.remote(client).start("/home"))
    assert client.script.last.method == "More.Start"


# --- the host's side ----------------------------------------------------------------------------------


def test_a_call_is_awaited_and_returns_the_result():
    client = AsyncScriptedClient({"JobID": "7"})
    driver = AsyncBackup.remote(client)
    assert isinstance(driver, AsyncBackup)
    assert asyncio.run(driver.start("/home", level=2)) == "7"
    last = client.script.last
    assert (last.method, last.arguments, last.timeout) == ("BackupPlugin.Start", {"Path": "/home", "LEVEL": 2}, 5.0)
    assert inspect.iscoroutinefunction(driver.start)
    assert repr(driver) == "<AsyncBackup of plugin 'scripted'>"
    assert inspect.signature(driver.start) == inspect.signature(AsyncBackup().start)


def test_deadlines_errors_and_fallbacks_are_those_of_the_interface():
    assert asyncio.run(AsyncBackup.remote(AsyncScriptedClient({"Err": "x"})).state("7")) == "unknown: x"
    with pytest.raises(RemoteError) as caught:
        asyncio.run(AsyncBackup.remote(AsyncScriptedClient({"Err": "no room"})).start("/home"))
    assert (caught.value.plugin, caught.value.method) == ("scripted", "BackupPlugin.Start")
    client = AsyncScriptedClient({})
    asyncio.run(AsyncBackup.remote(client, timeout=0.5).start("/home"))
    assert client.script.last.timeout == 0.5
    with pytest.raises(TypeError, match=r"Backup\.start\(\): path: expected str, got int"):
        asyncio.run(AsyncBackup.remote(client).start(5))  # type: ignore[arg-type]


def test_a_subclass_keeps_what_it_overrides_and_super_reaches_the_plugin():
    class Audited(AsyncBackup):
        async def start(self, path: str, level: int = 0) -> str:
            return "audited " + await super().start(path, level)

    driver = Audited.remote(AsyncScriptedClient({"JobID": "7"}))
    assert asyncio.run(driver.start("/etc")) == "audited 7"
    assert isinstance(type(driver).remote(AsyncScriptedClient({})), Audited)


@pytest.mark.parametrize("chunk", [1, 3, 1000])
def test_a_stream_is_an_async_iterator_of_records(chunk):
    client = AsyncScriptedClient(b"one\n\ntwo\n", chunk=chunk)
    records = AsyncBackup.remote(client).log("7")
    assert client.script.calls == []  # the stream opens when it is read
    assert asyncio.run(collected(records)) == ["one", "", "two"]
    assert (client.script.last.arguments, client.script.open_streams) == ({"Job": "7"}, 0)


def test_closing_ends_a_stream_early():
    client = AsyncScriptedClient(b"one\ntwo\n")

    async def read_one() -> str:
        async with extframe.closing(AsyncBackup.remote(client).log("7")) as records:
            async for record in records:
                assert client.script.open_streams == 1
                return record
        return ""

    assert asyncio.run(read_one()) == "one"
    assert client.script.open_streams == 0


def test_closing_accepts_an_iterator_without_aclose():
    class Numbers:
        def __aiter__(self) -> Numbers:
            return self

        async def __anext__(self) -> int:
            return 1

    async def first() -> int:
        async with extframe.closing(Numbers()) as numbers:
            return await anext(numbers)

    assert asyncio.run(first()) == 1


def test_an_error_in_a_stream_names_the_call():
    with pytest.raises(ProtocolError, match=r"BackupPlugin\.Log on plugin 'scripted'.*inside a line"):
        asyncio.run(collected(AsyncBackup.remote(AsyncScriptedClient(b"one\ntw")).log("7")))
    with pytest.raises(RemoteError, match="no such job"):
        asyncio.run(collected(AsyncBackup.remote(AsyncScriptedClient({"Err": "no such job"}, status=500)).log("7")))


# --- the driver that fits the client ------------------------------------------------------------------


def test_remote_returns_the_driver_that_fits_the_client():
    for interface in (Backup, AsyncBackup):
        assert type(extframe.remote(interface, ScriptedClient())) is type(Backup.remote(ScriptedClient()))
        assert isinstance(extframe.remote(interface, AsyncScriptedClient()), AsyncBackup)
    driver = extframe.remote(Backup, AsyncScriptedClient({"JobID": "7"}), timeout=2.0)
    assert asyncio.run(driver.start("/home")) == "7"
    assert driver._client.script.last.timeout == 2.0


def test_a_sync_host_imports_nothing_of_the_async_half():
    program = """
import sys, extframe
with extframe.PluginManager() as pm:
    pm.hook.volume_driver(name="a", client=extframe.Client("unix:///nowhere.sock"))
print(*sorted(name for name in sys.modules if "async" in name and name.startswith("extframe")))
"""
    done = subprocess.run([sys.executable, "-I", "-c", program], capture_output=True, text=True, check=True)
    assert done.stdout.split() == []


def test_an_interface_without_a_mirror_has_an_async_driver_all_the_same():
    client = AsyncScriptedClient({})
    driver = extframe.remote(Restore, client)
    asyncio.run(driver.run("7"))
    assert client.script.last.method == "Restore.Run"
    assert repr(driver) == "<AsyncRestore of plugin 'scripted'>"
    assert isinstance(driver, AsyncInterface)
    assert type(extframe.remote(Restore, client)) is type(driver)


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (
            lambda: Backup.remote(AsyncScriptedClient()),
            r"use AsyncBackup\.remote\(client\) or extframe\.remote\(Backup",
        ),
        (lambda: Restore.remote(AsyncScriptedClient()), r"is an async client: use extframe\.remote\(Restore, client\)"),
        (lambda: AsyncBackup.remote(ScriptedClient()), r"takes an AsyncClient, and .* use Backup\.remote\(client\)"),
        (lambda: AsyncOnly.remote(ScriptedClient()), "takes an AsyncClient, and .* is not one$"),
        (lambda: extframe.remote(AsyncOnly, ScriptedClient()), "AsyncOnly is declared for async code only"),
        (lambda: extframe.remote(type("Own", (Backup,), {}), AsyncScriptedClient()), "Own has methods of its own"),
        (
            lambda: extframe.remote(type("Own", (AsyncBackup,), {}), ScriptedClient()),
            "with a Client use a subclass",
        ),
    ],
)
def test_the_wrong_kind_of_client_is_a_type_error_that_says_what_to_use(call, message):
    with pytest.raises(TypeError, match=message):
        call()


# --- interfaces for async code only -------------------------------------------------------------------


def test_an_interface_can_be_declared_for_async_code_only():
    found = declaration(AsyncOnly)
    assert (found.interface, [each.wire for each in found.methods]) == (AsyncOnly, ["AsyncOnly.Run", "AsyncOnly.Log"])
    client = AsyncScriptedClient({"Result": "done"})
    assert asyncio.run(AsyncOnly.remote(client).run("7")) == "done"
    assert client.script.last.timeout == 3.0
    assert asyncio.run(collected(AsyncOnly.remote(AsyncScriptedClient(b"one\n")).log("7"))) == ["one"]
    assert isinstance(extframe.remote(AsyncOnly, client), AsyncOnly)


async def plain_coroutine(self) -> None: ...
def plain(self) -> None: ...
async def generator(self) -> AsyncIterator[str]:
    yield ""


def sync_stream(self) -> Iterator[str]: ...
def async_stream(self) -> AsyncIterator[str]: ...


@pytest.mark.parametrize(
    ("base", "function", "options", "message"),
    [
        (AsyncInterface, plain, {}, "declare it with async def"),
        (AsyncInterface, generator, {"stream": LINES}, "declare a stream with def, and with the result AsyncIterator"),
        (AsyncInterface, sync_stream, {"stream": LINES}, r"expected AsyncIterator\[...\]"),
        (Interface, async_stream, {"stream": LINES}, r"expected Iterator\[...\]"),
        (Interface, plain_coroutine, {}, "declare it with def, or in an AsyncInterface"),
    ],
)
def test_the_kinds_of_methods_are_checked_when_they_are_declared(base, function, options, message):
    name = function.__name__
    with pytest.raises(TypeError, match=f"{name}: .*{message}"):
        type("Wrong", (base,), {name: rpc("X", **options)(function)}, implements="Wrong")


# --- the plugin's side --------------------------------------------------------------------------------


class Disk(AsyncBackup):
    async def start(self, path: str, level: int = 0) -> str:
        return f"{path}@{level}"

    async def log(self, job: str) -> AsyncIterator[str]:
        yield job


class Runner(AsyncOnly):
    async def run(self, job: str) -> str:
        return job


@pytest.mark.parametrize(
    ("driver", "wires"),
    [(Disk, ["BackupPlugin.Start", "BackupPlugin.Log"]), (Runner, ["AsyncOnly.Run"]), (AsyncBackup, [])],
)
def test_a_subclass_of_a_mirror_answers_what_it_overrides(driver: Callable[[], Any], wires: list[str]):
    check_driver(driver())
    assert list(routes(driver())) == wires


def test_two_interfaces_with_a_method_of_the_same_name_cannot_share_an_async_driver():
    with pytest.raises(TypeError, match="Backup and AsyncOnly both have a method 'log'"):
        type("Both", (Disk, Runner), {})
    assert declarations(Disk()) == (declaration(Backup),)
