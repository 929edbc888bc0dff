"""HookManager: a thread-safe pluggy.PluginManager that loads entry points and records failures. Knows no plugins."""

from __future__ import annotations

import inspect
import sys
import threading
from collections.abc import Callable, Hashable, Mapping, Sequence
from functools import cached_property
from typing import TYPE_CHECKING, Any

import pluggy

from .access_rules import AccessRules
from .deferred import DeferredHandlers, insert_imported
from .entry_point_loader import EntryPointLoader, has_spec, similar_hook
from .entry_points import Distribution, DistributionFacade, origin
from .hooks import (
    PROJECT,
    ExtensionPoints,
    FunctionHandler,
    LifecycleHooks,
    is_extension_point,
    is_lifecycle_hook,
    make_hookspec,
)
from .host_line import host_stacklevel
from .markers import MarkedManager

if TYPE_CHECKING:
    from pluggy import HookImpl

    from .entry_points import EntryPoint
    from .failures import Failure, Failures
    from .handler_rows import Description
    from .hook_claims import Monitor
else:
    from ..concurrency.late_types import late

    EntryPoint = late("extframe.handlers.entry_points", "EntryPoint")
    Description = late("extframe.handlers.handler_rows", "Description")


class HookManager(MarkedManager):
    """A pluggy.PluginManager that is safe to use from many threads, for handlers of extframe's hooks.

    Loads handlers from entry points; a package that is broken, or that conflicts with another, is recorded as a
    failure and does not affect the others.

    Args:
        access: which handlers may take part.
        groups: the entry-point groups of ``load_handlers``.
        project: the host's pluggy project, whose hooks and plugins it manages; None for extframe's hooks.
    """

    _runs_async_handlers = False  # AsyncPluginManager does

    def __init__(
        self, access: AccessRules | None = None, *, groups: Sequence[str] = (), project: str | None = None
    ) -> None:
        super().__init__(PROJECT if project is None else project)
        self._access = access or AccessRules()
        self._refused: dict[tuple[str, str, str | None], str] = {}  # entry points that are not imported, and why
        self._groups = groups
        self._hosts_hooks = project is not None
        self._lock = threading.RLock()  # guards pluggy's state and the lists below
        self._distributions: list[tuple[object, Distribution]] = []
        self._monitors: list[Monitor] = []
        self._deferred = DeferredHandlers(self._load_deferred, self._deferred_added)
        self._loader = EntryPointLoader(
            self,
            hosts_hooks=self._hosts_hooks,
            report=self._report,
            loaded=self._note_distribution,
            refusal=self._refusal,
            deferred=self._deferred,
        )
        if not self._hosts_hooks:
            self.add_hookspecs(ExtensionPoints)
            self.add_hookspecs(LifecycleHooks)

    @cached_property
    def _failures(self) -> Failures:
        from .failures import Failures

        made: Failures = vars(self).setdefault("_failures", Failures())  # concurrent threads share one
        return made

    def _report(self, subject: Hashable, failure: Failure) -> None:
        self._failures.note(subject, failure)

    # Registering handlers.

    def register(self, plugin: object, name: str | None = None) -> str | None:
        """Register a handler and return its name, or None if the name is blocked.

        A handler that is refused leaves nothing behind.

        Raises:
            ValueError: the name or the handler is already registered.
            pluggy.PluginValidationError: a hookimpl does not match its hookspec, is an async function, or is an
                old-style hookwrapper around an extension point.
        """
        with self._lock:
            registered = self._register(plugin, name)
        if registered is not None:
            self._handler_added(plugin)
        return registered

    def _register(self, handler: object, name: str | None) -> str | None:
        if self.is_registered(handler):
            return super().register(handler, name)  # raises
        known_as = name or self.get_canonical_name(handler)
        if self._access.blocks_handler(known_as):
            super().set_blocked(known_as)
        try:
            registered = super().register(handler, name)
            self._check_impls(handler)
        except BaseException:
            if self.is_registered(handler):
                super().unregister(handler)
            raise
        return registered

    def _handler_added(self, handler: object) -> None:
        """React to a new handler; for subclasses. No lock is held."""

    def unregister(self, plugin: object | None = None, name: str | None = None) -> Any | None:
        """Unregister a handler, by itself or by its name, and return it. Nothing refers to it afterwards."""
        with self._lock:
            known = self.get_name(plugin) if name is None and plugin is not None else name
            removed = super().unregister(plugin, name)
            self._distributions = [pair for pair in self._distributions if pair[0] is not removed]
        if removed is not None:
            self._handler_removed(removed)
            self._failures.clear_all(of="handler", key=known)
        return removed

    def _handler_removed(self, handler: object) -> None:
        """React to the removal of a handler; for subclasses."""

    def handle(self, implements: str, function: Callable[[str, Any], object]) -> str:
        """Register a function as a handler of an extension point, which need not be known.

        Args:
            implements: the extension point, as plugins name it in their manifest.
            function: is called with the plugin's name and its client; returns a driver or None.

        Returns:
            The handler's name, for ``unregister(name=...)``.
        """
        from ..protocol import hook_name

        hook = hook_name(implements)
        handler = FunctionHandler(hook, function)
        with self._lock:
            if not has_spec(self, hook):
                self.add_hookspecs(make_hookspec(hook, f"A plugin implements ``{implements}``."))
            name = self._free_name(f"{implements}:{getattr(function, '__qualname__', type(function).__qualname__)}")
            handler.__name__ = name
            self._register(handler, name)
        self._handler_added(handler)
        return name

    def _free_name(self, wanted: str) -> str:
        names = [wanted, *(f"{wanted}-{count}" for count in range(2, len(self.list_name_plugin()) + 3))]
        return next(name for name in names if not self.has_plugin(name) and not self.is_blocked(name))

    def get_canonical_name(self, plugin: object) -> str:
        """Return the name of a handler that is registered without one: its ``__name__``, or its class and file."""
        name = getattr(plugin, "__name__", None)
        return name if isinstance(name, str) and name else self._free_name(_described(type(plugin)))

    def add_hookspecs(self, module_or_class: Any) -> None:
        """Add the hook specifications of a module or class, all or none.

        Raises:
            ValueError: it has none, or a hook is already specified.
        """
        with self._lock:
            for name in dir(module_or_class):
                if self.parse_hookspec_opts(module_or_class, name) is not None and has_spec(self, name):
                    spec = getattr(self.hook, name).spec
                    raise ValueError(f"Hook {name!r} is already registered within namespace {spec.namespace}")
            super().add_hookspecs(module_or_class)

    def _check_impls(self, handler: object) -> None:
        for hook in self.get_hookcallers(handler) or ():
            if is_extension_point(hook.spec) or is_lifecycle_hook(hook):
                for impl in hook.get_hookimpls():
                    fault = self._impl_fault(impl) if impl.plugin is handler else None
                    if fault is not None:
                        text = f"handler {impl.plugin_name!r}: its {hook.name} {fault}"
                        raise pluggy.PluginValidationError(handler, text)

    def _impl_fault(self, impl: HookImpl) -> str | None:
        if impl.hookwrapper:
            return "is an old-style hookwrapper; hooks that extframe calls require hookimpl(wrapper=True)"
        if not self._runs_async_handlers and _is_async(impl.function):
            return "is an async function; async handlers are not supported here: use AsyncPluginManager"
        if inspect.isasyncgenfunction(impl.function):
            return "is an async generator; a wrapper is a generator: def, and one yield"
        return None

    # Entry points.

    def load_handlers(self, *groups: str) -> int:
        """Load the handlers of entry-point groups, each isolated from the others' failures.

        Those of a group ``extframe.HOOK`` are imported when their hook is first needed, unless the group is named here.
        The constructor does this, except with ``project=``: a host that creates its manager while it is imported calls
        ``load_handlers`` when its modules are complete. What fails is a `PluginLoadWarning`, in the log and in
        ``failures()``. What is loaded already, or blocked, is skipped.

        Args:
            groups: the groups; the manager's own if none is given.

        Returns:
            The number of handlers that were registered.

        Raises:
            PluginLoadWarning: one failed, and warnings are errors in this program. The others are loaded.
        """
        return self._load(groups or self._groups)

    def load_setuptools_entrypoints(self, group: str, name: str | None = None) -> int:
        """Load the handlers of one entry-point group, as ``load_handlers`` does.

        Args:
            group: the entry-point group.
            name: load only entry points of this name.

        Returns:
            The number of handlers that were registered.
        """
        return self._load((group,), name)

    def _load(self, groups: Sequence[str], name: str | None = None) -> int:
        count = self._loader.load(groups, name)
        if groups:
            self._access.report_unmatched_handlers(stacklevel=host_stacklevel())
        return count

    def import_times(self) -> dict[str, float]:
        """Return the seconds that each import of an entry point took, by its name, with what it imported first."""
        return dict(self._loader.importer.seconds)

    def _load_deferred(self, entries: Sequence[EntryPoint]) -> list[object]:
        return self._loader.load_entries(entries, self._register_silently)

    def _register_silently(self, handler: object, name: str) -> str | None:
        """Register a handler that is called next by the dispatch for which it was imported."""
        with self._lock:
            return self._register(handler, name)

    def _deferred_added(self, hook: str, handler: object) -> None:
        """React to a handler that was imported for one hook and has others, be it in addition or instead."""
        if any(caller.name != hook for caller in self.get_hookcallers(handler) or ()):
            self._handler_added(handler)

    def _hookexec(
        self, hook_name: str, methods: Sequence[HookImpl], kwargs: Mapping[str, object], firstresult: bool
    ) -> object:
        """Import the handlers of a hook that the host calls: ``pm.hook.NAME(...)`` comes here, a dispatch does not."""
        if self._deferred.has(hook_name):
            imported = self._deferred.load(hook_name)
            caller: pluggy.HookCaller = getattr(self.hook, hook_name)
            if not caller.is_historic():  # pluggy calls historic hooks when their implementations are registered
                methods = insert_imported(methods, caller.get_hookimpls(), imported)
        return super()._hookexec(hook_name, methods, kwargs, firstresult)

    def _refusal(self, entry: EntryPoint) -> str | None:
        """Return why an entry point is not imported, as the predicate of a sentence; None if it is."""
        refusal = self._access.handler_refusal(entry)
        if refusal is None and super().is_blocked(entry.name):
            refusal = "is blocked"
        if refusal is not None:
            self._refused[entry.name, entry.value, entry.origin[0]] = refusal
        return refusal

    def refusal(self, entry: EntryPoint) -> str | None:
        """Return why an entry point was not imported, as the predicate of a sentence; None if it was not refused."""
        return self._refused.get((entry.name, entry.value, entry.origin[0]))

    def unmatched_entries(self, variable: str, plugins: Sequence[str] = ()) -> list[tuple[str, str | None]]:
        """Return the entries of ``EXTFRAME_ALLOW`` or ``EXTFRAME_BLOCK`` that match no handler and no plugin.

        Args:
            variable: one of the two.
            plugins: the names of the plugins that exist.

        Returns:
            Each entry with the most similar name, or None.
        """
        return self._access.unmatched(variable, plugins)

    def _note_distribution(self, handler: object, distribution: Distribution) -> None:
        with self._lock:
            self._distributions.append((handler, distribution))

    def list_plugin_distinfo(self) -> list[tuple[Any, Any]]:
        """Return the handlers that were loaded from entry points, each with its distribution."""
        loaded = [(handler, DistributionFacade(distribution)) for handler, distribution in self._readable()]
        return [*super().list_plugin_distinfo(), *loaded]

    def list_plugin_distributions(self) -> list[tuple[Any, Any]]:
        """Return the handlers that were loaded from entry points, each with its distribution, as in pluggy 1.7."""
        inherited = getattr(super(), "list_plugin_distributions", list)
        return [*inherited(), *self._readable()]

    def _readable(self) -> list[tuple[object, Distribution]]:
        """Return the handlers whose distributions have readable metadata, each with its distribution."""
        return [(handler, each) for handler, each in self._distributions if origin(each)[0] is not None]

    def _origin(self, handler: object) -> tuple[str | None, str | None]:
        """Return the name and version of the distribution of a handler."""
        return origin(next((each for known, each in self._distributions if known is handler), None))

    def described_handlers(self) -> list[Description]:
        """Return a row for each handler, and for each entry point that failed or was refused."""
        from .handler_rows import handler_rows

        registered = [
            (name, tuple(sorted(hook.name for hook in self.get_hookcallers(handler) or ())), self._origin(handler))
            for name, handler in self.list_name_plugin()
            if handler is not None
        ]
        deferred = [(hook, entry.name, entry.value, entry.origin) for hook, entry in self._deferred.pending()]
        return list(handler_rows(registered, self._refused, self._failures, deferred))

    # The rest of pluggy's interface, with the lock.

    def set_blocked(self, name: str) -> None:
        """Block a name, and unregister the handler of that name."""
        with self._lock:
            super().set_blocked(name)

    def unblock(self, name: str) -> bool:
        """Unblock a name; return whether it was blocked."""
        with self._lock:
            was_blocked = self._access.unblock_handler(name)
            return super().unblock(name) or was_blocked

    def is_blocked(self, name: str) -> bool:
        """Return whether a name is blocked: by `set_blocked`, by ``block=`` or by the environment."""
        with self._lock:
            return super().is_blocked(name) or self._access.blocks_handler(name)

    def get_plugins(self) -> set[Any]:
        """Return the registered handlers; with ``project=`` without those that extframe made itself."""
        with self._lock:
            plugins = super().get_plugins()
        return {each for each in plugins if not isinstance(each, FunctionHandler)} if self._hosts_hooks else plugins

    def is_registered(self, plugin: object) -> bool:
        """Return whether a handler is registered."""
        with self._lock:
            return super().is_registered(plugin)

    def get_name(self, plugin: object) -> str | None:
        """Return the name of a registered handler, or None."""
        with self._lock:
            return super().get_name(plugin)

    def get_hookcallers(self, plugin: object) -> list[pluggy.HookCaller] | None:
        """Return the hooks that a handler implements, or None if it is not registered."""
        with self._lock:
            return super().get_hookcallers(plugin)

    def check_pending(self) -> None:
        """Check that every hookimpl that is not optional has a hookspec.

        Raises:
            pluggy.PluginValidationError: one has none; the message suggests a hook of a similar name.
        """
        with self._lock:
            try:
                super().check_pending()
            except pluggy.PluginValidationError as unknown:
                pending = (name for name in sorted(vars(self.hook)) if not has_spec(self, name))
                similar = {name: similar_hook(self, name) for name in pending}
                meant = "".join(f"; did you mean {close!r}?" for name, close in similar.items() if close)
                raise pluggy.PluginValidationError(unknown.plugin, f"{unknown}{meant}") from None

    def add_hookcall_monitoring(self, before: Callable[..., None], after: Callable[..., None]) -> Callable[[], None]:
        """Call ``before`` and ``after`` around every hook call, including dispatch. Return a function that stops it."""
        monitor = (before, after)
        with self._lock:
            undo = super().add_hookcall_monitoring(before, after)
            self._monitors = [*self._monitors, monitor]

        def undo_both() -> None:
            with self._lock:
                undo()
                self._monitors = [each for each in self._monitors if each is not monitor]

        return undo_both


def _is_async(function: object) -> bool:
    return inspect.iscoroutinefunction(function) or inspect.isasyncgenfunction(function)


def _described(cls: type) -> str:
    file = getattr(sys.modules.get(cls.__module__), "__file__", None)
    return f"{cls.__module__}.{cls.__qualname__}" + (f" ({file})" if file else "")
