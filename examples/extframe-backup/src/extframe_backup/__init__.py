"""Back up volumes, whichever plugin has them, with plugins of a new kind: ``Backup``. Knows no host.

A handler package for extframe. Its entry point is this module, which brings:

- ``Backup``, the interface of an extension point that extframe does not know, and its hook ``backup``;
- a handler for it, which gives hosts a driver for every plugin that implements ``Backup``;
- a handler for volume plugins, whose driver can back volumes up.
"""

from __future__ import annotations

from typing import Annotated

import msgspec

import extframe

HOUR = 3600.0
MOUNT_ID = "extframe-backup"


class Copy(extframe.Message, frozen=True):
    """A copy that was made of a volume.

    Args:
        id: names the copy, for ``restore``.
        volume: the volume's name.
        size: in bytes.
    """

    id: str = msgspec.field(default="", name="ID")
    volume: str = ""
    size: int = 0


class Backup(extframe.Interface, implements="Backup"):
    """Keeps copies of directories."""

    @extframe.rpc("Save", returns="Copy", timeout=HOUR)
    def save(self, volume: str, path: str) -> Copy:
        """Copy what is below ``path`` and return the copy, under the volume's name."""
        raise NotImplementedError

    @extframe.rpc("Restore", timeout=HOUR)
    def restore(self, id: Annotated[str, extframe.Key("ID")], path: str) -> None:
        """Put what a copy holds below ``path``."""
        raise NotImplementedError

    @extframe.rpc("List", returns="Copies", idempotent=True)
    def list(self) -> list[Copy]:
        """Return all copies, the oldest first."""
        raise NotImplementedError


class BackedUpVolumes(extframe.VolumeDriver):
    """A volume plugin as extframe's own driver has it, with two methods more."""

    def back_up(self, name: str, to: Backup) -> Copy:
        """Mount a volume, have ``to`` copy what is in it, and unmount it."""
        path = self.mount(name, id=MOUNT_ID)
        try:
            return to.save(name, path)
        finally:
            self.unmount(name, id=MOUNT_ID)

    def restore(self, name: str, copy: Copy, source: Backup) -> None:
        """Mount a volume, have ``source`` put a copy into it, and unmount it."""
        path = self.mount(name, id=MOUNT_ID)
        try:
            source.restore(copy.id, path)
        finally:
            self.unmount(name, id=MOUNT_ID)


@extframe.hookspec
def backup(name: str, client: extframe.Client) -> object:
    """A plugin implements ``Backup``: it keeps copies of directories."""


@extframe.hookimpl(specname="backup")
def backup_driver(name: str, client: extframe.Client) -> Backup:
    """Give hosts a typed driver, also those that ask for ``"Backup"`` by name."""
    return Backup.remote(client)


@extframe.hookimpl
def volume_driver(name: str, client: extframe.Client) -> BackedUpVolumes:
    """Give hosts volumes that can be backed up. Runs before extframe's own handler, which comes last."""
    return BackedUpVolumes.remote(client)
