"""BaseManager: the settings of plugin managers, of threads and of event loops. Uses no plugin."""

from __future__ import annotations

import os
import weakref
from collections.abc import Iterable, Mapping, Sequence
from functools import cached_property
from typing import TYPE_CHECKING, Any, NoReturn

from ..client.observers import Observers
from ..concurrency.deadlines import check_timeout
from ..handlers.access_rules import AccessRules
from ..handlers.hook_manager import HookManager
from .arguments import (
    chained,
    check_cache,
    check_project,
    check_registry,
    entry_point_groups,
    manifests_of,
    preference_of,
    settings_of,
)

if TYPE_CHECKING:
    from ..client.choice import Choice
    from ..client.circuit_breaker import Breaker
    from ..client.http1 import Limits
    from ..client.observers import Observer
    from ..handlers.failures import Failure
    from ..handlers.hook_claims import Monitor
    from ..handlers.hook_context import HookContext
    from ..registry.local import Registry
    from .manifest_cache import ManifestCache
    from .settings import ManagerSettings
else:
    from ..concurrency.late_types import late

    Choice = late("extframe.client.choice", "Choice")
    Breaker = late("extframe.client.circuit_breaker", "Breaker")
    Limits = late("extframe.client.http1", "Limits")
    Observer = late("extframe.client.observers", "Observer")
    Failure = late("extframe.handlers.failures", "Failure")
    Registry = late("extframe.registry.local", "Registry")


class BaseManager(HookManager):
    """A HookManager with the settings of a plugin manager. For the arguments see ``extframe.PluginManager``."""

    def __init__(
        self,
        registry: Registry | Sequence[Registry] | None,
        *,
        groups: str | Sequence[str] | None,
        timeout: float,
        breaker: Breaker | None,
        implements: Mapping[str, Sequence[str]],
        settings: Mapping[str, Mapping[str, Any]],
        keep_alive: bool,
        limits: Limits | None,
        observers: Iterable[Observer],
        allow: Sequence[str] | None,
        block: Sequence[str],
        project: str | None,
        prefer: Mapping[str, Sequence[str]],
        choose: Choice | None,
        cache: str | os.PathLike[str] | None,
    ) -> None:
        check_registry(registry)
        groups = entry_point_groups(groups, check_project(project))
        super().__init__(AccessRules(allow, block), groups=groups, project=project)
        self._registry = chained(registry)
        self._timeout = check_timeout(timeout)
        self._breaker = breaker
        self._keep_alive = keep_alive
        self._limits = limits
        self._cache_argument = check_cache(cache)
        self._observers = Observers.of(observers) or ()
        self._choose = choose
        self._manifests = manifests_of(implements)
        self._given_settings = settings_of(settings)
        self._preference = preference_of(prefer, self._origin)
        if project is None:
            self.load_handlers(*self._groups)
            if self._preference is not None:
                self._preference.report_unknown_hooks(vars(self.hook))

    def __reduce__(self) -> NoReturn:
        kind = type(self).__name__
        raise TypeError(
            f"{kind} cannot be copied or pickled, as its connections and handlers belong to this process: threads may "
            f"share it, and another process creates its own {kind} with the same arguments"
        )

    def failures(self) -> list[Failure]:
        """Return what failed and has not succeeded since, the oldest first: entry points, handlers, plugins."""
        return self._failures.list()

    def _registry_or_default(self) -> Registry:
        if self._registry is not None:
            return self._registry
        from ..registry.local import LocalRegistry

        return LocalRegistry()

    def _close_registry(self) -> None:
        """Close the registry that the manager was given, if it can be closed, and write the cache of manifests."""
        if (cache := vars(self).get("_cache")) is not None:
            cache.save()
        if self._registry is not None and hasattr(self._registry, "close"):
            from .registry_access import RegistryAccess

            RegistryAccess(self._registry).close()

    def _client_options(self) -> dict[str, Any]:
        return {
            "timeout": self._timeout,
            "breaker": self._breaker,
            "keep_alive": self._keep_alive,
            "limits": self._limits,
            "observers": self._observers,
            "choose": self._choose,
        }

    @cached_property
    def _settings(self) -> ManagerSettings:
        from .settings import ManagerSettings

        made = ManagerSettings(self._given_settings, self._loader.interface_of)
        shared: ManagerSettings = vars(self).setdefault("_settings", made)  # by threads that arrive at the same time
        return shared

    @cached_property
    def _cache(self) -> ManifestCache | None:
        if self._cache_argument is None:
            return None
        from .manifest_cache import ManifestCache, cache_path

        made = ManifestCache(cache_path(self._cache_argument))
        shared: ManifestCache = vars(self).setdefault("_cache", made)
        if shared is made:
            weakref.finalize(self, made.save)  # also at the end of a program that does not close its manager
        return shared

    def _hook_context(self) -> HookContext:
        """Return what everything that calls handlers needs."""
        from ..handlers.hook_context import HookContext

        order = None if self._preference is None else self._preference.ordered
        return HookContext(self.hook, self._failures, self._current_monitors, self._origin, self._deferred, order)

    def _current_monitors(self) -> Sequence[Monitor]:
        return self._monitors

    def _is_used(self) -> bool:
        """Return whether a plugin was used, so that there may be any."""
        return "_activator" in vars(self)
