"""VolumeDriver: named volumes, and the paths they are mounted at. Knows the engine's rules for them; no transport."""

# ruff: noqa: B006, RUF012 - a default declares what is sent; nothing changes one

from __future__ import annotations

import posixpath
from datetime import datetime
from typing import Annotated, Any

from ..errors import ProtocolError, RemoteError
from ..interface.declarations import Interface
from ..interface.messages import Message, parse_time
from ..interface.methods import Key, rpc
from ..logs import get_logger

logger = get_logger(__name__)


class Volume(Message, frozen=True, omit_defaults=True):
    """A volume, as the plugin describes it.

    Args:
        name: its name; a plugin may answer with another than was asked for.
        mountpoint: where it is mounted, "" when it is not or the plugin does not tell.
        status: whatever the plugin has to say of it, by key.
        created_at: when it was made, as the plugin wrote it.
    """

    name: str = ""
    mountpoint: str = ""
    status: dict[str, Any] = {}
    created_at: str = ""

    @property
    def created(self) -> datetime | None:
        """``created_at`` as a time: RFC 3339 or Go's own format, None for all else."""
        return parse_time(self.created_at)


class VolumeCapability(Message, frozen=True):
    """What a volume plugin can do.

    Args:
        scope: ``local`` when each host has volumes of its own, ``global`` when all hosts see the same ones.
    """

    scope: str = "local"


def _existing(volume: Volume | None) -> Volume:
    if volume is None:
        raise RemoteError("no such volume (the reply holds neither a volume nor an error)", status=200)
    return volume


def _absolute(path: str | None) -> str:
    # Docker and Podman mount the container's own bundle where this is empty or relative (moby volume/mounts).
    if not path or not posixpath.isabs(path):
        raise ValueError(f"Expected the absolute path of a mount point, got {path!r}")
    return path


def _known_scope(capability: VolumeCapability | None) -> VolumeCapability:
    scope = capability.scope.lower() if capability else ""
    if scope not in ("", "local", "global"):
        logger.warning("a volume plugin has scope %r, which is neither local nor global: taken as local", scope)
    return VolumeCapability(scope="global" if scope == "global" else "local")


def _local(error: ProtocolError | RemoteError) -> VolumeCapability:
    logger.debug("taken as a plugin of local scope: %s", error)
    return VolumeCapability()


class VolumeDriver(Interface, implements="VolumeDriver"):
    """Named volumes: made, mounted, listed and removed by the plugin."""

    @rpc("Create", timeout=120.0)
    def create(self, name: str, opts: Annotated[dict[str, str], Key(null=True)] = {}) -> None:
        """Make a volume.

        Args:
            name: the volume's name; engines let any text through, ``../x`` too.
            opts: the user's options, by key.
        """
        raise NotImplementedError

    @rpc("Remove")
    def remove(self, name: str) -> None:
        """Remove a volume and what is in it."""
        raise NotImplementedError

    @rpc("Mount", returns="Mountpoint", timeout=120.0, check=_absolute)
    def mount(self, name: str, id: Annotated[str, Key("ID")]) -> str:
        """Mount a volume for one user of it and return the absolute path of its mount point.

        Args:
            name: the volume.
            id: the user. ``docker cp`` mounts again with the ID of a running container, so the same ID may
                come twice, and then goes twice.
        """
        raise NotImplementedError

    @rpc("Unmount")
    def unmount(self, name: str, id: Annotated[str, Key("ID")]) -> None:
        """Tell that one user of a volume, who mounted it with the same ID, needs it no more."""
        raise NotImplementedError

    @rpc("Path", returns="Mountpoint", idempotent=True)
    def path(self, name: str) -> str:
        """Return where a volume is mounted, "" when it is not."""
        raise NotImplementedError

    @rpc("Get", returns="Volume", idempotent=True, check=_existing)
    def get(self, name: str) -> Volume:
        """Return a volume; one that does not exist is an error of the plugin's choice."""
        raise NotImplementedError

    @rpc("Capabilities", returns="Capabilities", idempotent=True, optional=True, empty_object=True,
         check=_known_scope, fallback=_local)  # fmt: skip
    def capabilities(self) -> VolumeCapability:
        """Return what the plugin can do; one that does not answer this has local scope."""
        raise NotImplementedError

    # Last: after it, list[...] in this class would mean the method.
    @rpc("List", returns="Volumes", idempotent=True, empty_object=True)
    def list(self) -> list[Volume]:
        """Return all volumes of the plugin."""
        raise NotImplementedError
