"""Search a registry: every error is an ExtframeError, and deadlines hold even if the registry is slow."""

from __future__ import annotations

from collections.abc import Callable, Hashable, Mapping
from dataclasses import replace
from typing import TypeVar

from ..concurrency.deadlines import left
from ..concurrency.threads import Worker
from ..errors import CallTimeout, ExtframeError
from ..protocol import Manifest, PluginSpec
from ..registry.local import LocalRegistry, Registry
from ..text import text_of

T = TypeVar("T")


class RegistryAccess:
    """A registry as a manager uses it.

    ``LocalRegistry`` is called in the caller's thread, as it only reads directories. Any other registry may ask a
    server: where there is a deadline it is called in a thread of its own, which is left behind when the deadline
    passes.

    Args:
        registry: where plugins are found.
        manifests: the manifests of plugins that are not asked for theirs, by name.
    """

    def __init__(self, registry: Registry, manifests: Mapping[str, Manifest] = {}) -> None:
        self.registry = registry
        self._manifests = manifests
        self.name = type(registry).__qualname__

    def is_local(self, method: str) -> bool:
        """Return whether a method is that of `LocalRegistry`, which does not wait."""
        return getattr(type(self.registry), method, None) is getattr(LocalRegistry, method)

    def scan(self, deadline: float | None = None) -> list[str]:
        """Return the names of all plugins, as ``Registry.scan`` does.

        Args:
            deadline: a ``time.monotonic()`` value; None for no limit.

        Raises:
            ExtframeError: the registry failed; the cause is chained.
            CallTimeout: it did not answer before the deadline.
        """
        return self._call("scan", self.registry.scan, "list plugins", None, deadline)

    def find(self, name: str, deadline: float | None = None) -> PluginSpec:
        """Return the address of a plugin, as ``Registry.find`` does.

        Raises:
            PluginNotFound, SpecError: as ``Registry.find`` does.
            ExtframeError, CallTimeout: as `scan` does.
        """
        spec = self._call("find", lambda: self.registry.find(name), f"find plugin {name!r}", name, deadline)
        manifest = self._manifests.get(name)
        return spec if manifest is None else replace(spec, manifest=manifest)

    def stamp(self, spec: PluginSpec, deadline: float | None = None) -> Hashable:
        """Return the identity of a plugin's source; None if the registry cannot say, in which case `find` raises."""
        if self.is_local("stamp"):
            return self.registry.stamp(spec)
        try:
            return self._call("stamp", lambda: self.registry.stamp(spec), "check", spec.name, deadline)
        except ExtframeError:
            return None

    def _call(self, method: str, call: Callable[[], T], act: str, plugin: str | None, deadline: float | None) -> T:
        try:
            if deadline is None or self.is_local(method):
                return call()
            return Worker(call, f"extframe {self.name}.{method}").result(deadline)
        except ExtframeError:
            raise
        except TimeoutError as error:
            if deadline is None or left(deadline):  # the registry's own
                raise self._error(act, plugin, error) from error
            raise self.late(method, act, plugin) from None
        except Exception as error:
            raise self._error(act, plugin, error) from error

    def late(self, method: str, act: str, plugin: str | None) -> CallTimeout:
        """Return the error for a method that did not return in time."""
        return CallTimeout(
            f"registry {self.name} did not {act} in time; its {method}() is still running",
            plugin=plugin,
            phase="registry",
        )

    def _error(self, act: str, plugin: str | None, error: Exception) -> ExtframeError:
        return ExtframeError(
            f"registry {self.name} could not {act}: {type(error).__name__}: {text_of(error)}", plugin=plugin
        )
