"""version_of(): the version of its interface that a driver speaks. Sends nothing."""

from __future__ import annotations

from .declarations import declaration, declarations
from .proxies import Proxy
from .versions import spoken_version


def version_of(driver: object, interface: type | None = None) -> int:
    """Return the version of its interface that a driver speaks.

    For a driver that calls a plugin, it is the highest version that both sides accept. A plugin that was not activated
    by a manager, but is called at an address, is taken to speak the version of the interface, as does a driver that is
    not remote. The version may change when a plugin is replaced.

    Args:
        driver: what ``remote``, ``PluginManager.driver`` or a plugin's class made.
        interface: which interface, for a driver of several.

    Raises:
        DoesNotImplement: the plugin was replaced by one that has no version in common.
        TypeError: it is not a driver, or a driver of several interfaces, or not one of ``interface``.
    """
    if interface is None:
        declared = declaration(driver)  # type: ignore[arg-type] # an object of a class that is one
    else:
        declared = declaration(interface)
        if not any(declared.implements == each.implements for each in declarations(driver)):
            raise TypeError(f"{driver!r} is not a driver of {interface.__name__}")
    return spoken_version(declared, driver._client) if isinstance(driver, Proxy) else declared.version
