"""extframe's own handlers, one line each, registered through entry points like anybody's. Opens no connection."""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING

from .hooks import FunctionHandler

if TYPE_CHECKING:
    from ..client.client import Client


def _remote(hook: str, module: str, interface: str) -> FunctionHandler:
    """Return the handler that makes a typed driver of one subsystem; its module is imported when the hook is called."""

    def driver(name: str, client: Client) -> object:
        return getattr(import_module(f"..subsystems.{module}", __package__), interface).remote(client)

    return FunctionHandler(hook, driver, trylast=True)


volume_driver = _remote("volume_driver", "volume", "VolumeDriver")
network_driver = _remote("network_driver", "network", "NetworkDriver")
ipam_driver = _remote("ipam_driver", "ipam", "IpamDriver")
authz = _remote("authz", "authz", "Authz")
log_driver = _remote("log_driver", "log", "LogDriver")
metrics_collector = _remote("metrics_collector", "metrics", "MetricsCollector")
secretprovider = _remote("secretprovider", "secret", "SecretProvider")
