"""The drivers of the plugins in Python, which implement only VolumeDriver.Get."""

import json
import sys

from extframe import Volume, VolumeDriver, implements, serving


class SyncPhotos(VolumeDriver):
    """A driver with blocking methods, which run in threads."""

    def get(self, name: str) -> Volume:
        """Return the volume."""
        return Volume(name=name, mountpoint=f"/mnt/{name}")


async def _unused(self: object, name: str = "", opts: object = None, id: str = "") -> None:
    raise NotImplementedError


@implements(VolumeDriver)
class AsyncPhotos:
    """A driver whose methods run in the event loop."""

    create = remove = mount = unmount = path = capabilities = list = _unused

    async def get(self, name: str) -> Volume:
        """Return the volume."""
        return Volume(name=name, mountpoint=f"/mnt/{name}")


def serve(driver: object) -> None:
    """Serve at the path on the command line until the input ends; write a line when ready."""
    with serving(driver, address=f"unix://{sys.argv[1]}"):
        print(json.dumps({"ready": True}), flush=True)
        sys.stdin.read()
