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


def _handler(hook: str) -> FunctionHandler:
    """Return the handler that creates a subsystem's typed driver; the subsystem is imported when the hook is called."""

    def driver(name: str, client: Client) -> object:
        from ..interface.remote import remote

        return remote(interface(hook), client)

    return FunctionHandler(hook, driver, trylast=True)


volume_driver = _handler("volume_driver")
network_driver = _handler("network_driver")
ipam_driver = _handler("ipam_driver")
authz = _handler("authz")
log_driver = _handler("log_driver")
metrics_collector = _handler("metrics_collector")
secretprovider = _handler("secretprovider")

NAMES = tuple(_INTERFACES)
"""The names of the handlers; setup.cfg has an entry point for each."""
