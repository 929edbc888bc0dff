"""What users write with async drivers and async plugins, for type checkers. It is checked and never run."""

# ruff: noqa: B006, B008 - as users write it

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import AbstractAsyncContextManager
from typing import Any, TypeVar

import extframe
from extframe import (
    AsyncAuthz,
    AsyncInterface,
    AsyncIpamDriver,
    AsyncLogDriver,
    AsyncMetricsCollector,
    AsyncNetworkDriver,
    AsyncSecretProvider,
    AsyncVolumeDriver,
    AuthzResponse,
    Client,
    EndpointInterface,
    Interface,
    IpamPool,
    LogEntry,
    LogInfo,
    Message,
    ReadConfig,
    Secret,
    StreamCodec,
    Volume,
    VolumeDriver,
    rpc,
)

T = TypeVar("T")


class StubClient:
    """A client of the user's own for tests."""

    async def call(
        self,
        method: str,
        arguments: object = None,
        *,
        reply: type[T],
        timeout: float | None = None,
        idempotent: bool = False,
    ) -> T:
        return reply()


# --- a host -------------------------------------------------------------------------------------------


async def use_volumes(client: StubClient) -> None:
    volumes: AsyncVolumeDriver = AsyncVolumeDriver.remote(client, timeout=5.0)
    await volumes.create("photos")
    await volumes.create(name="photos", opts={"size": "1G"})
    path: str = await volumes.mount("photos", id="c1")
    names: list[str] = [volume.name for volume in await volumes.list()]
    volume: Volume = await volumes.get("photos")
    print(path, names, volume.created, (await volumes.capabilities()).scope)


async def use_the_others(client: StubClient) -> bytes:
    verdict: AuthzResponse = await AsyncAuthz.remote(client).authz_req(request_method="GET")
    pool: IpamPool = await AsyncIpamDriver.remote(client).request_pool("local", v6=False)
    await AsyncMetricsCollector.remote(client).start_metrics()
    endpoint = await AsyncNetworkDriver.remote(client).create_endpoint("n", "e", EndpointInterface())
    secret: Secret = await AsyncSecretProvider.remote(client).get_secret("password", task_name="web.1")
    print(verdict.allow, pool.pool, endpoint.mac_address)
    return secret.value


async def follow_logs(client: StubClient) -> None:
    logs = AsyncLogDriver.remote(client)
    async for entry in logs.read_logs(LogInfo(), ReadConfig(tail=10)):
        line: bytes = entry.line
        print(line)
    closing: AbstractAsyncContextManager[AsyncIterator[LogEntry]] = extframe.closing(logs.read_logs(LogInfo()))
    async with closing as entries:
        print((await entries.__anext__()).time)


async def use_what_fits(client: StubClient, sync: Client) -> None:
    path: str = extframe.remote(VolumeDriver, sync).mount("photos", "c1")
    volumes: AsyncVolumeDriver = extframe.remote(AsyncVolumeDriver, client)
    anything: Any = extframe.remote(VolumeDriver, client)
    print(path, await volumes.path("photos"), anything)


# --- plugins ------------------------------------------------------------------------------------------


class Volumes(AsyncVolumeDriver):
    async def create(self, name: str, opts: dict[str, str] = {}) -> None:
        print(name, opts)

    async def mount(self, name: str, id: str) -> str:
        return f"/volumes/{name}"

    async def list(self) -> list[Volume]:
        return [Volume(name="photos")]


class Logs(AsyncLogDriver):
    async def read_logs(self, info: LogInfo, config: ReadConfig = ReadConfig()) -> AsyncIterator[LogEntry]:
        yield LogEntry(line=b"line\n")


# --- interfaces of one's own --------------------------------------------------------------------------


class Copy(Message, frozen=True):
    size: int = 0


class Backup(Interface, implements="Backup"):
    @rpc("Save", returns="Copy")
    def save(self, volume: str, path: str) -> Copy:
        raise NotImplementedError


class AsyncBackup(AsyncInterface, mirrors=Backup):
    async def save(self, volume: str, path: str) -> Copy:
        raise NotImplementedError


class Translator(AsyncInterface, implements="Translator"):
    @rpc("Translate", returns="Text")
    async def translate(self, text: str) -> str:
        raise NotImplementedError

    @rpc("Follow", stream=StreamCodec(unpack=iter, pack=bytes))
    def follow(self) -> AsyncIterator[bytes]:
        raise NotImplementedError


async def use_own(client: StubClient) -> int:
    text: str = await Translator.remote(client).translate("Hallo")
    copy: Copy = await AsyncBackup.remote(client).save("photos", text)
    return copy.size


async def host() -> None:
    async with extframe.AsyncPluginManager(extframe.LocalRegistry("plugins"), groups=()) as pm:
        volumes: AsyncVolumeDriver = await pm.driver("rclone", AsyncVolumeDriver, wait=1.0)
        path: str = await volumes.mount("photos", id="c1")
        by_name: Any = await pm.driver("rclone", "VolumeDriver")
        each: dict[str, AsyncVolumeDriver] = await pm.drivers(AsyncVolumeDriver, names=["rclone"], wait=5)
        found = await pm.call_all(AsyncVolumeDriver, lambda volumes: volumes.get("photos"), timeout=5)
        volume: Volume | None = found.results.get("rclone")
        listed: list[Volume] = (await pm.call_all(AsyncVolumeDriver, AsyncVolumeDriver.list)).results["rclone"]
        print(volume, listed, found.errors.keys())
        plugin: extframe.AsyncPlugin = await pm.get("rclone", AsyncVolumeDriver)
        plugins: list[extframe.AsyncPlugin] = await pm.get_all(VolumeDriver)
        client: extframe.AsyncClient = plugin.client
        again: AsyncVolumeDriver = plugin.driver(AsyncVolumeDriver)
        names: list[str] = await pm.scan()
        pm.handle("Backup", async_handler)
        async with pm.watch() as events:
            async for event in events:
                kind: str = event.kind
                print(kind, event.plugin.manifest.implements if event.plugin else event.reason)
        print(path, by_name, each, plugins, client, again, names)


async def async_handler(name: str, client: extframe.AsyncClient) -> None:
    await client.call("Backup.List")
