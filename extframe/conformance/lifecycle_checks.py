"""Run the lifecycle checks of an extension point: create something, use it, and always remove it again."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from typing import Protocol

from .check import Check
from .ipam_lifecycle import IpamLifecycle
from .log_lifecycle import LogLifecycle
from .network_lifecycle import NetworkLifecycle
from .options import LifecycleOptions
from .raw_client import RawClient
from .rules import Result
from .volume_lifecycle import VolumeLifecycle


class Lifecycle(Protocol):
    """The lifecycle checks of one extension point."""

    def checks(self) -> Iterator[Check]:
        """Yield the checks in their order. Later ones may depend on the outcome of earlier ones."""
        raise NotImplementedError

    def clean_up(self) -> None:
        """Remove what is left."""
        raise NotImplementedError


_LIFECYCLES: Mapping[str, Callable[[RawClient, LifecycleOptions], Lifecycle]] = {
    "VolumeDriver": VolumeLifecycle,
    "IpamDriver": IpamLifecycle,
    "NetworkDriver": NetworkLifecycle,
    "LogDriver": LogLifecycle,
}


def lifecycle_checks(client: RawClient, point: str, options: LifecycleOptions) -> Iterator[Result]:
    """Run the lifecycle checks of an extension point, if it has any, and leave nothing behind."""
    if point not in _LIFECYCLES:
        return
    lifecycle = _LIFECYCLES[point](client, options)
    try:
        for check in lifecycle.checks():
            yield check.run(client)
    finally:
        lifecycle.clean_up()
