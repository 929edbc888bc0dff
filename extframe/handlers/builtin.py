"""The built-in handlers, one per subsystem, registered through entry points like any other. Opens no connection."""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING

from .hooks import FunctionHandler

if TYPE_CHECKING:
    from ..client.client import Client
    from ..interface.declarations import Interface


_INTERFACES = {
    "volume_driver": ("volume", "VolumeDriver"),
    "network_driver": ("network", "NetworkDriver"),
    "ipam_driver": ("ipam", "IpamDriver"),
    "authz": ("authz", "Authz"),
    "log_driver": ("log", "LogDriver"),
    "metrics_collector": ("metrics", "MetricsCollector"),
    "secretprovider": ("secret", "SecretProvider"),
}
"""Hook -> the subsystem's module and interface."""


def interface(hook: str) -> type[Interface]:
    """Return the interface of a subsystem, importing the subsystem."""
    module, name = _INTERFACES[hook]
    found: type[Interface] = getattr(import_module(f"..subsystems.{module}", __package__), name)
    return found


class BuiltinHandler(FunctionHandler):
    """Creates a subsystem's typed driver. The subsystem is imported when the hook is first called."""

    def __init__(self, hook: str) -> None:
        def driver(name: str, client: Client) -> object:
            from ..interface.remote import remote

            made: object = remote(interface(hook), client)
            self._is_imported = True
            return made

        super().__init__(hook, driver, trylast=True, name=f"extframe.{hook}")
        self._is_imported = False

    @property
    def is_quick(self) -> bool:
        """Whether the subsystem is imported."""
        return self._is_imported


volume_driver = BuiltinHandler("volume_driver")
network_driver = BuiltinHandler("network_driver")
ipam_driver = BuiltinHandler("ipam_driver")
authz = BuiltinHandler("authz")
log_driver = BuiltinHandler("log_driver")
metrics_collector = BuiltinHandler("metrics_collector")
secretprovider = BuiltinHandler("secretprovider")

NAMES = tuple(_INTERFACES)
"""The names of the handlers; setup.cfg has an entry point for each."""
