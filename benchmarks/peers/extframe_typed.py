"""extframe: a typed driver, whose reply is a Volume."""

from collections.abc import Callable

from extframe import Client, TLSConfig, VolumeDriver


def connect(address: str, ca: str) -> Callable[[], object]:
    """Call as a host does with a driver from its PluginManager."""
    driver = VolumeDriver.remote(Client(address, tls=TLSConfig(ca_file=ca) if ca else None))
    return lambda: driver.get("photos")
