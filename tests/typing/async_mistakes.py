"""Mistakes with async drivers that a type checker must find: each line that ends in ``# mistake``, and no other."""

from __future__ import annotations

from async_user_code import StubClient

from extframe import AsyncVolumeDriver, Volume, VolumeDriver


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


class Directories(AsyncVolumeDriver):
    def path(self, name: str) -> str:  # mistake
        return name

    async def mount(self, name: str) -> str:  # mistake
        return name

    async def unmount(self, name: str, id: str) -> int:  # mistake
        return 5
