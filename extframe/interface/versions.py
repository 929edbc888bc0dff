"""Versions of interfaces: which one a driver speaks, and what older plugins lack. Knows declarations, sends nothing."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any, Protocol

import msgspec

from ..errors import DoesNotImplement
from .methods import Method


class Versioned(Protocol):
    """The part of a ``Declaration`` that versions need."""

    @property
    def implements(self) -> str:
        """The extension point."""

    @property
    def version(self) -> int:
        """The version of the interface."""

    @property
    def accepts(self) -> tuple[int, ...]:
        """The versions that it can speak."""


def check_versions(version: object, accepts: object) -> tuple[int, tuple[int, ...]]:
    """Return the version of an interface and those that it accepts, by default only its own.

    Raises:
        TypeError: they are not numbers from 1, or the version is not the highest that is accepted.
    """
    accepted = (version,) if accepts is None else accepts
    if not isinstance(accepted, Iterable) or isinstance(accepted, str):
        raise TypeError(f"accepts={accepts!r} is invalid: expected versions, such as (1, 2)")
    numbers = tuple(dict.fromkeys(accepted))
    if any(type(number) is not int or number < 1 for number in (version, *numbers)):
        raise TypeError(f"version={version!r}, accepts={accepts!r}: versions are whole numbers from 1")
    if not numbers or max(numbers) != version:
        raise TypeError(f"version={version!r} is not the highest of accepts={accepts!r}")
    return version, tuple(sorted(numbers))  # type: ignore[return-value] # checked above


def spoken_version(declared: Versioned, client: object) -> int:
    """Return the version that a host and the plugin of a client speak; that of the interface before a handshake.

    Raises:
        DoesNotImplement: they have none in common.
    """
    manifest = getattr(client, "manifest", None)
    if manifest is None:
        return declared.version
    offered = manifest.versions_of(declared.implements)
    common = highest_common(declared.accepts, offered)
    if common is None:
        raise no_common_version(declared, offered, getattr(client, "plugin", None), getattr(client, "address", None))
    return common


def highest_common(accepts: Iterable[int], offered: Iterable[int]) -> int | None:
    """Return the highest version that both sides accept; None if there is none."""
    return max(set(accepts).intersection(offered), default=None)


def no_common_version(
    declared: Versioned, offered: Iterable[int], plugin: str | None, address: str | None
) -> DoesNotImplement:
    """Return the error for a plugin whose versions of an extension point the host does not accept."""
    return DoesNotImplement(
        f"plugin {plugin!r} implements {declared.implements} in {_listed(offered)}, and this host accepts "
        f"{_listed(declared.accepts)}: upgrade the older of them",
        plugin=plugin,
        address=address,
    )


def _listed(versions: Iterable[int]) -> str:
    numbers = [str(number) for number in versions]
    return f"version {numbers[0]}" if len(numbers) == 1 else f"versions {', '.join(numbers)}"


class OlderMethod(Method):
    """A method as a peer of an older version knows it: with fewer parameters.

    Args:
        method: the method.
        point: its extension point.
        version: the version of the peer.

    Raises:
        DoesNotImplement: the peer does not have it.
    """

    def __init__(self, method: Method, point: str, version: int) -> None:
        vars(self).update(vars(method))
        self._needs = f"version {{}} of {point}, and this plugin speaks version {version}"
        if method.rpc.since > version:
            raise DoesNotImplement(f"{method.name} needs {self._needs.format(method.rpc.since)}", method=method.wire)
        fields = {each.name: each for each in msgspec.structs.fields(method.request)}
        self._newer = [(name, since) for name, since in method.newer.items() if since > version]
        self._kept = [name for name in fields if name not in dict(self._newer)]
        self._defaults = {name: method.signature.parameters[name].default for name, _ in self._newer}
        self._older_request = msgspec.defstruct(
            method.request.__name__,
            [
                (name, fields[name].type, msgspec.field(name=fields[name].encode_name, default=fields[name].default))
                for name in self._kept
            ],
            omit_defaults=method.rpc.omit_defaults,
            kw_only=True,
        )
        follows = method.rpc.follows
        if isinstance(follows, str) and follows.partition(".")[0] in self._defaults:
            self.follows = lambda request: False

    def encode_arguments(self, *args: Any, **kwargs: Any) -> msgspec.Struct | None:
        """Return the request without the parameters that the peer does not know.

        Raises:
            DoesNotImplement: one of them is not at its default.
            TypeError, ValueError: as for every method.
        """
        request = super().encode_arguments(*args, **kwargs)
        for name, since in self._newer:
            if getattr(request, name) != self._defaults[name]:
                raise DoesNotImplement(
                    f"{self.name}() with {name}= needs {self._needs.format(since)}; omit {name}=", method=self.wire
                )
        if not self._kept and not self.rpc.empty_object:
            return None
        return self._older_request(**{name: getattr(request, name) for name in self._kept})
