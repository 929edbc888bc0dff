"""Search a registry from an event loop: a registry that may block is called in a thread."""

from __future__ import annotations

from collections.abc import Callable, Hashable, Mapping
from typing import Any, TypeVar

from ..concurrency.async_threads import call_in_thread
from ..concurrency.tasks import result_by
from ..errors import ExtframeError
from ..protocol import PluginSpec
from .registry_access import RegistryAccess

T = TypeVar("T")


class AsyncRegistryAccess:
    """A registry as an async manager uses it.

    ``LocalRegistry`` looks up single plugins on the loop, as that takes some microseconds. Everything else runs in a
    daemon thread, which is left behind when the deadline passes.

    Args:
        access: the registry.
    """

    def __init__(self, access: RegistryAccess) -> None:
        self.registry = access.registry
        self._access = access

    @property
    def is_local(self) -> bool:
        """Whether looking up a plugin never waits."""
        return self._access.is_local("find")

    async def scan(self, deadline: float) -> list[str]:
        """Return the names of all plugins; see `RegistryAccess.scan`."""
        return await self._in_thread("scan", self._access.scan, "list plugins", None, deadline)

    async def scan_all(self, deadline: float) -> list[str]:
        """Return the names of all plugins, also of those that may not be used; see `RegistryAccess.scan_all`."""
        return await self._in_thread("scan", self._access.scan_all, "list plugins", None, deadline)

    def refusal(self, name: str) -> str | None:
        """Return why a plugin may not be used; see `RegistryAccess.refusal`."""
        return self._access.refusal(name)

    async def find(self, name: str, deadline: float) -> PluginSpec:
        """Return the address of a plugin; see `RegistryAccess.find`."""
        if self._access.is_local("find"):
            return self._access.find(name)
        return await self._in_thread("find", lambda: self._access.find(name), f"find plugin {name!r}", name, deadline)

    async def stamp(self, spec: PluginSpec, deadline: float) -> Hashable:
        """Return the identity of a plugin's source; see `RegistryAccess.stamp`."""
        if self._access.is_local("stamp"):
            return self._access.stamp(spec)
        try:
            return await self._in_thread("stamp", lambda: self._access.stamp(spec), "check", spec.name, deadline)
        except TimeoutError:
            return None

    def changes(self) -> Any:
        """Return an object whose ``fileno()`` is readable after a change; see `RegistryAccess.changes`."""
        return self._access.changes()

    def starts_on_use(self, name: str) -> bool:
        """Return whether the use of a plugin would start it; see `RegistryAccess.starts_on_use`."""
        return self._access.starts_on_use(name)

    async def look(self, specs: Mapping[str, PluginSpec], deadline: float) -> tuple[list[str], dict[str, Hashable]]:
        """Return the names of all plugins, as `scan` does, and the stamps of those whose specs are given.

        Raises:
            ExtframeError, CallTimeout: as `scan` does.
        """

        def look() -> tuple[list[str], dict[str, Hashable]]:
            names = list(dict.fromkeys(self._access.scan()))
            return names, {name: self._access.stamp(specs[name]) for name in names if name in specs}

        return await self._in_thread("scan", look, "list plugins", None, deadline)

    async def _in_thread(self, method: str, call: Callable[[], T], act: str, plugin: str | None, deadline: float) -> T:
        future = call_in_thread(call, f"extframe {self._access.name}.{method}")
        try:
            return await result_by(future, deadline)
        except ExtframeError:  # which a TimeoutError of the registry's own has become, too
            raise
        except TimeoutError:
            raise self._access.late(method, act, plugin) from None
