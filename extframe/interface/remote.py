"""remote(): the driver that fits a client, sync or async. Imports what is async only for an async client."""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any, TypeVar, overload

from .declarations import Interface, declaration
from .proxies import SupportsAsyncCall, SupportsCall, is_async

if TYPE_CHECKING:
    from .async_interface import AsyncInterface

Sync = TypeVar("Sync", bound=Interface)
Async = TypeVar("Async", bound="AsyncInterface")


@overload
def remote(interface: type[Sync], client: SupportsCall, *, timeout: float | None = None) -> Sync: ...
@overload
def remote(interface: type[Async], client: SupportsAsyncCall, *, timeout: float | None = None) -> Async: ...
@overload
def remote(
    interface: type[Interface] | type[AsyncInterface],
    client: SupportsCall | SupportsAsyncCall,
    *,
    timeout: float | None = None,
) -> Any: ...
def remote(interface: type[Any], client: Any, *, timeout: float | None = None) -> Any:
    """Return a driver that calls the plugin of ``client``: a sync one for a Client, an async one for an AsyncClient.

    For handlers that serve both kinds of host::

        @extframe.hookimpl
        def volume_driver(name, client):
            return extframe.remote(extframe.VolumeDriver, client)

    Args:
        interface: an interface or its async mirror.
        client: an ``extframe.Client`` or an ``extframe.AsyncClient``.
        timeout: the deadline of every call in seconds; overrides those that the interface declares.

    Raises:
        TypeError: there is no such driver, as for a class with methods of its own and the other kind of client.
    """
    if is_async(client) and issubclass(interface, Interface):
        interface = mirror_of(interface)
    elif not is_async(client) and not issubclass(interface, Interface):
        interface = _mirrored(interface)
    return interface.remote(client, timeout=timeout)


def mirror_of(interface: type[Interface]) -> type[AsyncInterface]:
    """Return the async mirror of an interface; if none was declared, one that type checkers know nothing of.

    Raises:
        TypeError: the class is a driver with methods of its own, which are not async.
    """
    declared = declaration(interface)
    if declared.interface is not interface:
        raise TypeError(
            f"{interface.__name__} has methods of its own, which are not async: with an AsyncClient use a subclass of "
            f"the async mirror of {declared.interface.__name__}"
        )
    mirror = vars(interface).get("__mirror__")
    if isinstance(mirror, str):
        module, _, name = mirror.partition(":")
        mirror = getattr(import_module(module), name)
    if mirror is None:
        from .async_interface import untyped_mirror

        mirror = untyped_mirror(interface)
    found: type[AsyncInterface] = mirror
    return found


def _mirrored(interface: type[AsyncInterface]) -> type[Interface]:
    declared = declaration(interface)
    if not issubclass(declared.interface, Interface):
        raise TypeError(f"{interface.__name__} is declared for async code only: it needs an AsyncClient")
    if vars(interface).get("__declares__") != declared:
        raise TypeError(
            f"{interface.__name__} has methods of its own, which are async: with a Client use a subclass of "
            f"{declared.interface.__name__}"
        )
    return declared.interface
