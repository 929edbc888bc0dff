"""Mistakes that a type checker must find: each line that ends in ``# mistake``, and no other."""

# ruff: noqa: B018

from __future__ import annotations

from extframe import Authz, Client, Volume, VolumeDriver


def use(client: Client) -> None:
    volumes = VolumeDriver.remote(client)
    volumes.mount("photos")  # mistake
    volumes.mount("photos", 5)  # mistake
    volumes.moutn("photos", "c1")  # mistake
    size: int = volumes.path("photos")  # mistake
    volumes.list()[0].nmae  # mistake
    Volume(nmae="photos")  # mistake
    Volume(name="photos").name = "other"  # mistake
    VolumeDriver.remote(5)  # mistake
    Authz.remote(client).authz_req().alow  # mistake
    print(size)


class Directories(VolumeDriver):
    def mount(self, name: str) -> str:  # mistake
        return name

    def path(self, name: str) -> int:  # mistake
        return 5
