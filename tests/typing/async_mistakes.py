"""Mistakes with async drivers that a type checker must find: each line that ends in ``# mistake``, and no other."""

from __future__ import annotations

from async_user_code import StubClient

from extframe import AsyncPluginManager, AsyncVolumeDriver, Volume, VolumeDriver


async def use(client: StubClient) -> None:
    volumes = AsyncVolumeDriver.remote(client)
    await volumes.mount("photos")  # mistake
    await volumes.mount("photos", 5)  # mistake
    await volumes.mount("photos", identifier="c1")  # mistake
    await volumes.moutn("photos", "c1")  # mistake
    size: int = await volumes.path("photos")  # mistake
    path: str = volumes.path("photos")  # mistake
    volumes.list()[0]  # mistake
    volumes.create("photos")  # mistake
    Volume("photos")  # mistake
    VolumeDriver.remote(client)  # mistake
    print(size, path)


async def host(pm: AsyncPluginManager) -> None:
    await pm.driver("rclone", VolumeDriver)  # mistake
    pm.driver("rclone", AsyncVolumeDriver).mount("photos", id="c1")  # mistake
    await pm.drivers(VolumeDriver)  # mistake
    await pm.get("rclone", wait="1")  # mistake


class Directories(AsyncVolumeDriver):
    def path(self, name: str) -> str:  # mistake
        return name

    async def mount(self, name: str) -> str:  # mistake
        return name

    async def unmount(self, name: str, id: str) -> int:  # mistake
        return 5
