"""Back up the volumes of any volume plugin with plugins of a new kind, ``Backup``. Knows no host.

A handler package for extframe. Its entry point is this module, which contains:

- ``Backup``, the interface of a new extension point, and its hook ``backup``;
- a handler for it, which returns a driver for every plugin that implements ``Backup``;
- a handler for volume plugins, which returns a driver that can back up volumes.
"""

from __future__ import annotations

from typing import Annotated

import msgspec

import extframe

HOUR = 3600.0
MOUNT_ID = "extframe-backup"


class Copy(extframe.Message, frozen=True):
    """A copy of a volume.

    Args:
        id: identifies the copy in ``restore``.
        volume: the volume's name.
        size: the size in bytes.
    """

    id: str = msgspec.field(default="", name="ID")
    volume: str = ""
    size: int = 0


class Backup(extframe.Interface, implements="Backup"):
    """Stores copies of directories."""

    @extframe.rpc("Save", returns="Copy", timeout=HOUR)
    def save(self, volume: str, path: str) -> Copy:
        """Copy the contents of ``path`` and return the copy, stored under the volume's name."""
        raise NotImplementedError

    @extframe.rpc("Restore", timeout=HOUR)
    def restore(self, id: Annotated[str, extframe.Key("ID")], path: str) -> None:
        """Write the contents of a copy to ``path``."""
        raise NotImplementedError

    @extframe.rpc("List", returns="Copies", idempotent=True)
    def list(self) -> list[Copy]:
        """Return all copies, oldest first."""
        raise NotImplementedError


class BackedUpVolumes(extframe.VolumeDriver):
    """extframe's driver for volume plugins with two more methods."""

    def back_up(self, name: str, to: Backup) -> Copy:
        """Mount a volume, copy its contents to ``to``, and unmount it."""
        path = self.mount(name, id=MOUNT_ID)
        try:
            return to.save(name, path)
        finally:
            self.unmount(name, id=MOUNT_ID)

    def restore(self, name: str, copy: Copy, source: Backup) -> None:
        """Mount a volume, write a copy from ``source`` into it, and unmount it."""
        path = self.mount(name, id=MOUNT_ID)
        try:
            source.restore(copy.id, path)
        finally:
            self.unmount(name, id=MOUNT_ID)


@extframe.hookspec
def backup(name: str, client: extframe.Client) -> object:
    """A plugin implements ``Backup``: it stores copies of directories."""


@extframe.hookimpl(specname="backup")
def backup_driver(name: str, client: extframe.Client) -> Backup:
    """Return a typed driver, also for hosts that request ``"Backup"`` by name."""
    return Backup.remote(client)


@extframe.hookimpl
def volume_driver(name: str, client: extframe.Client) -> BackedUpVolumes:
    """Return a driver that can back up volumes. Called before extframe's built-in handler, which comes last."""
    return BackedUpVolumes.remote(client)
