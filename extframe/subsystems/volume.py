"""VolumeDriver: named volumes and their mount points. Knows the engine's rules for them; no transport."""

# ruff: noqa: B006, RUF012 - defaults are declarations and are never mutated

from __future__ import annotations

import posixpath
import re
from collections.abc import Callable
from datetime import datetime
from typing import Annotated, Any

import msgspec

from ..errors import ProtocolError, RemoteError
from ..interface.declarations import Interface
from ..interface.messages import Message, parse_time
from ..interface.methods import Key, rpc
from ..logs import get_logger

_RFC_3339 = re.compile(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d(\.\d+)?(Z|[+-]\d\d:\d\d)")

logger = get_logger(__name__)


# For the OpenAPI document: `_absolute` checks it.
_AbsolutePath = Annotated[str, msgspec.Meta(extra_json_schema={"pattern": "^/"})]
_REQUIRED = msgspec.Meta(extra_json_schema={"required": True})


class Volume(Message, frozen=True, omit_defaults=True):
    """A volume as the plugin describes it.

    Args:
        name: the volume's name; may differ from the name that was requested.
        mountpoint: the path of the mount point; "" if the volume is not mounted or the plugin does not say.
        status: further details, by key.
        created_at: the creation time in RFC 3339, as `format_time` writes it, or "". A plugin may give a ``datetime``
            with a time zone. On a host, whatever the plugin wrote.
    """

    name: Annotated[str, _REQUIRED] = ""
    mountpoint: str = ""
    status: dict[str, Any] = {}
    created_at: str = ""

    def _check_sent(self) -> None:
        # Docker cannot list any volume if it cannot parse the time of one (time.Time in moby volume/drivers/proxy.go).
        time: object = self.created_at
        if isinstance(time, datetime) and time.tzinfo is not None:
            return
        if time != "" and not (isinstance(time, str) and _RFC_3339.fullmatch(time) and parse_time(time)):
            raise ValueError(
                f"created_at is {time!r}, which Docker cannot parse; expected RFC 3339 as format_time() returns it"
            )

    @property
    def created(self) -> datetime | None:
        """``created_at`` as a time: RFC 3339 or Go's own format; None for anything else."""
        return parse_time(self.created_at)


class VolumeCapability(Message, frozen=True):
    """The capabilities of a volume plugin.

    Args:
        scope: ``local`` if each host has its own volumes, ``global`` if all hosts see the same volumes.
    """

    scope: str = "local"


def _existing(volume: Volume | None) -> Volume:
    if volume is None:
        raise RemoteError("no such volume (the reply has neither a volume nor an error)", status=200)
    return volume


def _absolute(path: str | None) -> str:
    # Docker and Podman mount the container's own bundle if this is empty or relative (moby volume/mounts).
    if not path or not posixpath.isabs(path):
        raise ValueError(f"Expected the absolute path of a mount point, got {path!r}")
    return path


def _mountpoint_on_host(path: str, host_path: Callable[[str], str]) -> str:
    return host_path(path)


def _volume_on_host(volume: Volume, host_path: Callable[[str], str]) -> Volume:
    return msgspec.structs.replace(volume, mountpoint=host_path(volume.mountpoint))


def _volumes_on_host(volumes: list[Volume], host_path: Callable[[str], str]) -> list[Volume]:
    return [_volume_on_host(volume, host_path) for volume in volumes]


def _known_scope(capability: VolumeCapability | None) -> VolumeCapability:
    scope = capability.scope.lower() if capability else ""
    if scope not in ("", "local", "global"):
        logger.warning("a volume plugin has scope %r, which is neither local nor global; using local", scope)
    return VolumeCapability(scope="global" if scope == "global" else "local")


def _local(error: ProtocolError | RemoteError) -> VolumeCapability:
    logger.debug("assuming local scope: %s", error)
    return VolumeCapability()


class VolumeDriver(Interface, implements="VolumeDriver", lenient=True):
    """Named volumes that the plugin creates, mounts, lists and removes."""

    __mirror__ = "extframe.subsystems.async_volume:AsyncVolumeDriver"

    @rpc("Create", timeout=120.0)
    def create(self, name: str, opts: Annotated[dict[str, str], Key(null=True)] = {}) -> None:
        """Create a volume.

        Args:
            name: the volume's name; engines accept any text, including ``../x``.
            opts: the user's options, by key.
        """
        raise NotImplementedError

    @rpc("Remove")
    def remove(self, name: str) -> None:
        """Remove a volume and its contents."""
        raise NotImplementedError

    @rpc("Mount", returns="Mountpoint", timeout=120.0, check=_absolute, paths=_mountpoint_on_host)
    def mount(self, name: str, id: Annotated[str, Key("ID")]) -> _AbsolutePath:
        """Mount a volume for one caller and return the absolute path of its mount point.

        Args:
            name: the volume.
            id: the caller. ``docker cp`` mounts with the ID of a running container, so the same ID may be mounted
                twice, and is then unmounted twice.
        """
        raise NotImplementedError

    @rpc("Unmount")
    def unmount(self, name: str, id: Annotated[str, Key("ID")]) -> None:
        """Unmount a volume for the caller that mounted it with the same ID."""
        raise NotImplementedError

    @rpc("Path", returns="Mountpoint", idempotent=True, paths=_mountpoint_on_host)
    def path(self, name: str) -> str:
        """Return the path of a volume's mount point, "" if it is not mounted."""
        raise NotImplementedError

    @rpc("Get", returns="Volume", idempotent=True, check=_existing, paths=_volume_on_host)
    def get(self, name: str) -> Volume:
        """Return a volume. The plugin chooses the error for a volume that does not exist."""
        raise NotImplementedError

    @rpc("Capabilities", returns="Capabilities", idempotent=True, optional=True, empty_object=True,
         check=_known_scope, fallback=_local)  # fmt: skip
    def capabilities(self) -> VolumeCapability:
        """Return the plugin's capabilities. A plugin that does not answer this call has local scope."""
        raise NotImplementedError

    # Last, because after it list[...] in this class would mean the method.
    @rpc("List", returns="Volumes", idempotent=True, empty_object=True, paths=_volumes_on_host)
    def list(self) -> list[Volume]:
        """Return all volumes of the plugin."""
        raise NotImplementedError
