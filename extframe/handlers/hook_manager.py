"""HookManager: a pluggy.PluginManager for many threads, which loads entry points and reports what fails.

Knows handlers and hooks; knows no plugins.
"""

from __future__ import annotations

import inspect
import os
import threading
from collections.abc import Callable, Iterator, Sequence
from functools import cached_property
from typing import TYPE_CHECKING, Any

import pluggy

from ..errors import ExtframeError
from .entry_points import Distribution, DistributionFacade, Offer, offers, origin
from .hooks import PROJECT, ExtensionPoints, FunctionHandler, Lifecycle, is_extension_point, make_hookspec, spec_fault

if TYPE_CHECKING:
    import logging

    from pluggy import HookimplOpts, HookspecOpts

    from .failures import Failures
    from .hook_calls import Monitor

_EVERY_OBJECTS = frozenset([*dir(object), *(name for name in globals() if name.startswith("__"))])
"""The names that every object has, and every module: none of them is a hook's."""


class HookManager(pluggy.PluginManager):
    """Registers handlers, by hand or from entry points. Serialises what pluggy leaves to its caller.

    A package that is broken, or that clashes with another, is a failure of its own and in nobody's way.
    """

    def __init__(self) -> None:
        super().__init__(PROJECT)
        self._lock = threading.RLock()  # guards pluggy's state and the lists below
        self._distributions: list[tuple[object, Distribution]] = []
        self._monitors: list[Monitor] = []
        self.add_hookspecs(ExtensionPoints)
        self.add_hookspecs(Lifecycle)
        for name in os.environ.get("EXTFRAME_DISABLE", "").split(","):
            if name.strip():
                self.set_blocked(name.strip())

    @cached_property
    def _failures(self) -> Failures:
        from .failures import Failures

        made: Failures = vars(self).setdefault("_failures", Failures())  # threads that come at once share one
        return made

    # Registration, as pluggy has it, for many threads.

    def register(self, plugin: object, name: str | None = None) -> str | None:
        """Register a handler and return its name, or None when the name is blocked.

        A handler that pluggy refuses leaves nothing behind.

        Raises:
            ValueError: the name, or the handler, is registered already.
            pluggy.PluginValidationError: a hookimpl does not fit its hookspec, or is an old-style hookwrapper
                around an extension point.
        """
        with self._lock:
            registered = self._register(plugin, name)
        if registered is not None:
            self._handler_added(plugin)
        return registered

    def _register(self, handler: object, name: str | None) -> str | None:
        if self.is_registered(handler):
            return super().register(handler, name)  # which says what is wrong
        try:
            registered = super().register(handler, name)
            self._check_wrappers(handler)
        except BaseException:
            if self.is_registered(handler):
                super().unregister(handler)
            raise
        return registered

    def _handler_added(self, handler: object) -> None:
        """Do what a new handler calls for. No lock is held."""

    def unregister(self, plugin: object | None = None, name: str | None = None) -> Any | None:
        """Unregister a handler, by itself or by its name, and return it. Nothing refers to it afterwards."""
        with self._lock:
            known = self.get_name(plugin) if name is None and plugin is not None else name
            gone = super().unregister(plugin, name)
            self._distributions = [pair for pair in self._distributions if pair[0] is not gone]
        if gone is not None:
            self._handler_removed(gone)
            self._failures.clear_all(of="handler", key=known)
        return gone

    def _handler_removed(self, handler: object) -> None:
        """Let go of a handler."""

    def handle(self, implements: str, function: Callable[[str, Any], object]) -> str:
        """Register a function as the handler of an extension point, known or not.

        Args:
            implements: the extension point, as it stands in manifests.
            function: is called with the plugin's name and its client; returns a driver or None.

        Returns:
            The handler's name, for ``unregister(name=...)``.
        """
        from ..protocol import hook_name

        hook = hook_name(implements)
        handler = FunctionHandler(hook, function)
        with self._lock:
            if not self._has_spec(hook):
                self.add_hookspecs(make_hookspec(hook, f"A plugin implements ``{implements}``."))
            wanted = f"{implements}:{getattr(function, '__qualname__', type(function).__qualname__)}"
            names = [wanted, *(f"{wanted}-{count}" for count in range(2, len(self.list_name_plugin()) + 3))]
            free = next(name for name in names if not self.has_plugin(name) and not self.is_blocked(name))
            self._register(handler, free)
        self._handler_added(handler)
        return free

    def add_hookspecs(self, module_or_class: Any) -> None:
        """Add the hook specifications of a module or class, all or none.

        Raises:
            ValueError: it has none, or one of them is known already.
        """
        with self._lock:
            for name in self._spec_names(module_or_class):
                if self._has_spec(name):
                    spec = getattr(self.hook, name).spec
                    raise ValueError(f"Hook {name!r} is already registered within namespace {spec.namespace}")
            super().add_hookspecs(module_or_class)

    def set_blocked(self, name: str) -> None:
        """Block a handler's name, and unregister the handler if it is there."""
        with self._lock:
            super().set_blocked(name)

    def unblock(self, name: str) -> bool:
        """Unblock a name; return whether it was blocked."""
        with self._lock:
            return super().unblock(name)

    def get_plugins(self) -> set[Any]:
        """Return the registered handlers."""
        with self._lock:
            return super().get_plugins()

    def is_registered(self, plugin: object) -> bool:
        """Return whether a handler is registered."""
        with self._lock:
            return super().is_registered(plugin)

    def get_name(self, plugin: object) -> str | None:
        """Return the name that a handler is registered under, or None."""
        with self._lock:
            return super().get_name(plugin)

    def get_hookcallers(self, plugin: object) -> list[pluggy.HookCaller] | None:
        """Return the hooks that a handler implements, or None when it is not registered."""
        with self._lock:
            return super().get_hookcallers(plugin)

    def check_pending(self) -> None:
        """Raise PluginValidationError if a hookimpl that is not optional has no hookspec."""
        with self._lock:
            super().check_pending()

    def parse_hookimpl_opts(self, plugin: object, name: str) -> HookimplOpts | None:
        """Return how a handler's attribute is marked as a hookimpl, or None. pluggy asks this of all that it has."""
        return None if name in _EVERY_OBJECTS else super().parse_hookimpl_opts(plugin, name)

    def parse_hookspec_opts(self, module_or_class: Any, name: str) -> HookspecOpts | None:
        """Return how an attribute is marked as a hookspec, or None. pluggy asks this of all that there is."""
        return None if name in _EVERY_OBJECTS else super().parse_hookspec_opts(module_or_class, name)

    def add_hookcall_monitoring(self, before: Callable[..., None], after: Callable[..., None]) -> Callable[[], None]:
        """Call ``before`` and ``after`` around every hook call, dispatch included. Returns the way back."""
        monitor = (before, after)
        undo = super().add_hookcall_monitoring(before, after)
        self._monitors = [*self._monitors, monitor]

        def undo_both() -> None:
            undo()
            self._monitors = [each for each in self._monitors if each is not monitor]

        return undo_both

    def list_plugin_distinfo(self) -> list[tuple[Any, Any]]:
        """Return the handlers that came from entry points, each with its distribution."""
        loaded = [(handler, DistributionFacade(distribution)) for handler, distribution in self._readable()]
        return [*super().list_plugin_distinfo(), *loaded]

    def list_plugin_distributions(self) -> list[tuple[Any, Any]]:
        """Return the handlers that came from entry points, each with its distribution, as pluggy 1.7 has it."""
        inherited = getattr(super(), "list_plugin_distributions", list)
        return [*inherited(), *self._readable()]

    def _readable(self) -> list[tuple[object, Distribution]]:
        """Return the distributions of handlers, without those whose metadata are gone."""
        return [(handler, each) for handler, each in self._distributions if origin(each)[0] is not None]

    def _origin(self, handler: object) -> tuple[str | None, str | None]:
        """Return the name and version of the distribution that brought a handler."""
        return origin(next((each for known, each in self._distributions if known is handler), None))

    def _has_spec(self, hook: str) -> bool:
        caller = getattr(self.hook, hook, None)
        return caller is not None and caller.has_spec()

    def _check_wrappers(self, handler: object) -> None:
        for caller in self.get_hookcallers(handler) or ():
            for impl in caller.get_hookimpls():
                if impl.plugin is handler and impl.hookwrapper and is_extension_point(caller.spec):
                    raise pluggy.PluginValidationError(
                        handler,
                        f"handler {impl.plugin_name!r}: hook {caller.name!r} is an extension point, and an old-style "
                        "hookwrapper cannot stand around one; use hookimpl(wrapper=True)",
                    )

    # Entry points.

    def _load(self, groups: Sequence[str]) -> None:
        """Load entry points in two passes: all hook specifications, then the handlers."""
        loaded = [(offer, handler) for offer in offers(groups) for handler in self._import(offer)]
        specified = [pair for pair in loaded if self._attempt(self._add_specs, *pair)]
        for offer, handler in specified:
            self._attempt(self._add_handler, offer, handler)

    def _import(self, offer: Offer) -> Iterator[Any]:
        if self.is_blocked(offer.name):
            _logger().info("entry point %r is blocked, and not imported", offer.name)
            return
        try:
            yield offer.load()
        except KeyboardInterrupt:
            raise
        except BaseException as error:  # noqa: BLE001 - a package that does not import is its own affair
            self._report(offer, error)

    def _attempt(self, step: Callable[[Offer, Any], None], offer: Offer, handler: Any) -> bool:
        try:
            step(offer, handler)
        except Exception as error:  # noqa: BLE001 - whatever a package's objects do on being looked at
            self._report(offer, error)
            return False
        return True

    def _report(self, offer: Offer, error: BaseException) -> None:
        failure = offer.failure(error)
        self._failures.note(("entry point", *origin(offer.distribution), offer.name), failure)
        _logger().warning("%s", failure, exc_info=error)

    def _add_specs(self, offer: Offer, offered: Any) -> None:
        if self._spec_names(offered):
            self._check_points(offered)
            self.add_hookspecs(offered)
        for hook, doc in _hooks_of_interfaces(offered):
            if not self._has_spec(hook):
                self.add_hookspecs(make_hookspec(hook, doc))

    def _check_points(self, namespace: Any) -> None:
        trial = pluggy.PluginManager(PROJECT)
        trial.add_hookspecs(namespace)
        for hook in self._spec_names(namespace):
            spec = getattr(trial.hook, hook).spec
            fault = spec_fault(spec) if is_extension_point(spec) else None
            if fault is not None:
                raise ExtframeError(f"hook {hook!r} cannot be an extension point: {fault}")

    def _add_handler(self, offer: Offer, handler: Any) -> None:
        names = self._impl_names(handler)
        if not names:
            self._check_specs(offer, handler)
            return
        unbound = [name for name in names if _lacks_self(handler, name)]
        if unbound:
            raise ExtframeError(
                f"{offer.value} is a class, and its {unbound[0]} would get no self: "
                "let the entry point name an instance"
            )
        if self.has_plugin(offer.name):
            raise ValueError(f"another handler is named {offer.name!r}: {self.get_plugin(offer.name)!r}")
        if self.register(handler, offer.name) is not None:
            self._distributions.append((handler, offer.distribution))

    def _check_specs(self, offer: Offer, offered: Any) -> None:
        if not self._spec_names(offered) and not _hooks_of_interfaces(offered):
            raise ExtframeError(
                f"{offer.value} has no hookimpl, no hookspec and no Interface: it is not a handler. An entry point "
                "names a module or an object whose functions are marked with extframe.hookimpl"
            )

    def _spec_names(self, namespace: Any) -> list[str]:
        return [name for name in dir(namespace) if self.parse_hookspec_opts(namespace, name) is not None]

    def _impl_names(self, handler: Any) -> list[str]:
        return [name for name in dir(handler) if self.parse_hookimpl_opts(handler, name) is not None]


def _lacks_self(handler: Any, name: str) -> bool:
    """Return whether a hookimpl is a method of a class, where there is no instance."""
    function = inspect.getattr_static(handler, name, None)
    return (
        isinstance(handler, type)
        and inspect.isfunction(function)
        and next(iter(inspect.signature(function).parameters), "") == "self"
    )


def _hooks_of_interfaces(offered: Any) -> list[tuple[str, str | None]]:
    """Return the hooks, each with its words, of the interfaces that an entry point is or its module has."""
    candidates = [offered] if isinstance(offered, type) else list(getattr(offered, "__dict__", {}).values())
    classes = [each for each in candidates if isinstance(each, type) and _may_be_interface(each)]
    if not classes:
        return []  # most handlers bring none, and msgspec is not imported for them
    from ..interface.declarations import Interface, declaration
    from ..protocol import hook_name

    interfaces = [each for each in classes if issubclass(each, Interface) and len(each.__extframe__) == 1]
    return [(hook_name(each.implements), each.interface.__doc__) for each in map(declaration, interfaces)]


def _may_be_interface(cls: type) -> bool:
    return any("__extframe__" in vars(each) for each in cls.__mro__)


def _logger() -> logging.Logger:
    """Return this module's logger, with which logging is imported when there is something to say."""
    from ..logs import get_logger

    return get_logger(__name__)
