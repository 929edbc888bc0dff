"""What the plugins in Python answer: VolumeDriver.Get, and nothing else."""

import json
import sys

from extframe import Volume, VolumeDriver, implements, serving


class SyncPhotos(VolumeDriver):
    """A driver whose methods block, and run in threads."""

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
    """Serve at the path on the command line until the input ends, having said so."""
    with serving(driver, address=f"unix://{sys.argv[1]}"):
        print(json.dumps({"ready": True}), flush=True)
        sys.stdin.read()
