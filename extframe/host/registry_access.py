"""Search a registry: every error is an ExtframeError, and deadlines hold even if the registry is slow."""

from __future__ import annotations

from collections.abc import Callable, Hashable, Mapping
from contextlib import suppress
from dataclasses import replace
from typing import Any, TypeVar

from ..concurrency.deadlines import left
from ..concurrency.threads import Worker
from ..errors import CallTimeout, ExtframeError, PluginBlocked
from ..handlers.access_rules import AccessRules
from ..logs import get_logger
from ..protocol import Manifest, PluginSpec
from ..registry.base import Registry, errors_of, name_of, waits

T = TypeVar("T")

logger = get_logger(__name__)


class RegistryAccess:
    """A registry as a manager uses it.

    Methods that never wait, as those of `LocalRegistry`, are called in the caller's thread. Any other registry may ask
    a server: where there is a deadline it is called in a thread of its own, which is left behind when the deadline
    passes.

    Args:
        registry: where plugins are found.
        manifests: the manifests of plugins that are not asked for theirs, by name.
        access: which plugins may be used; all where None. The others are neither listed nor looked up.
    """

    def __init__(
        self, registry: Registry, manifests: Mapping[str, Manifest] = {}, access: AccessRules | None = None
    ) -> None:
        self.registry = registry
        self._manifests = manifests
        self._access = None if access is None or access.is_empty else access
        self.name = name_of(registry)

    def is_local(self, method: str) -> bool:
        """Return whether a method never waits."""
        return not waits(self.registry, method)

    def scan(self, deadline: float | None = None) -> list[str]:
        """Return the names of all plugins, as ``Registry.scan`` does.

        Args:
            deadline: a ``time.monotonic()`` value; None for no limit.

        Raises:
            ExtframeError: the registry failed; the cause is chained.
            CallTimeout: it did not answer before the deadline.
        """
        names = self._call("scan", self.registry.scan, "list plugins", None, deadline)
        return names if self._access is None else self._access.allowed_plugins(names)

    def scan_all(self, deadline: float | None = None) -> list[str]:
        """Return the names that `scan` returns, and those of the plugins that may not be used."""
        return list(dict.fromkeys(self._call("scan", self.registry.scan, "list plugins", None, deadline)))

    def refusal(self, name: str) -> str | None:
        """Return why a plugin may not be used, as the predicate of a sentence; None if it may."""
        return None if self._access is None else self._access.plugin_refusal(name)

    def find(self, name: str, deadline: float | None = None) -> PluginSpec:
        """Return the address of a plugin, as ``Registry.find`` does.

        Raises:
            PluginNotFound, SpecError, ActivationError: as ``Registry.find`` does.
            PluginBlocked: it may not be used.
            ExtframeError, CallTimeout: as `scan` does.
        """
        self._check_allowed(name)
        spec = self._call("find", lambda: self.registry.find(name), f"find plugin {name!r}", name, deadline)
        if spec.name != name:  # a registry may know it by other names, too
            self._check_allowed(spec.name)
        manifest = self._manifests.get(spec.name, self._manifests.get(name))
        return spec if manifest is None else replace(spec, manifest=manifest)

    def _check_allowed(self, name: str) -> None:
        if self._access is not None and (refusal := self._access.plugin_refusal(name)) is not None:
            raise PluginBlocked(f"plugin {name!r} {refusal}", plugin=name)

    def stamp(self, spec: PluginSpec, deadline: float | None = None) -> Hashable:
        """Return the identity of a plugin's source; None if the registry cannot say, in which case `find` raises."""
        if self.is_local("stamp"):
            return self.registry.stamp(spec)
        try:
            return self._call("stamp", lambda: self.registry.stamp(spec), "check", spec.name, deadline)
        except ExtframeError:
            return None

    def has_changed(self, spec: PluginSpec) -> bool:
        """Return whether the source of a plugin was replaced. Never waits: False where the registry might."""
        if not self.is_local("stamp"):
            return False
        try:
            with errors_of(self.registry, "check", spec.name):
                return self.registry.stamp(spec) not in (None, spec.stamp)
        except ExtframeError:  # the next search reports it
            return False

    # What a registry may have. An error here is logged, as nothing depends on it.

    def changes(self) -> Any:
        """Return an object whose ``fileno()`` is readable after a change; None if the registry has none."""
        return self._optional("changes")

    @property
    def explains(self) -> bool:
        """Whether the registry has ``why``."""
        return callable(getattr(self.registry, "why", None))

    def why(self, spec: PluginSpec, error: Exception) -> str | None:
        """Return the registry's reason for which a plugin could not be used, as the predicate of a sentence."""
        reason = self._optional("why", spec, error)
        return reason if isinstance(reason, str) and reason else None

    def starts_on_use(self, name: str) -> bool:
        """Return whether the plugin does not run, and its use would start it."""
        return bool(self._optional("starts_on_use", name))

    def close(self) -> None:
        """Close the registry, if it can be."""
        self._optional("close")

    def _optional(self, method: str, *arguments: object) -> Any:
        found = getattr(self.registry, method, None)
        if not callable(found):
            return None
        try:
            with errors_of(self.registry, f"call {method}()"):
                return found(*arguments)
        except ExtframeError as error:
            with suppress(Exception):  # of a log handler
                logger.warning("%s", error, exc_info=error)
            return None

    def _call(self, method: str, call: Callable[[], T], act: str, plugin: str | None, deadline: float | None) -> T:
        with errors_of(self.registry, act, plugin):
            if deadline is None or self.is_local(method):
                return call()
            try:
                return Worker(call, f"extframe {self.name}.{method}").result(deadline)
            except TimeoutError as error:
                if left(deadline) or isinstance(error, ExtframeError):  # the registry's own
                    raise
                raise self.late(method, act, plugin) from None

    def late(self, method: str, act: str, plugin: str | None) -> CallTimeout:
        """Return the error for a method that did not return in time."""
        return CallTimeout(
            f"registry {self.name} did not {act} in time; its {method}() is still running",
            plugin=plugin,
            phase="registry",
        )
