"""Load entry points into a hook manager: hook specifications first, then handlers. Each failure is isolated."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Hashable, Iterable, Iterator, Sequence
from functools import partial
from typing import TYPE_CHECKING, Any

import pluggy

from ..errors import ExtframeError
from .deferred import DeferredHandlers
from .entry_importer import EntryImporter
from .entry_points import GROUP, Distribution, EntryPoint, entry_points
from .hooks import ExtensionPoints, is_extension_point, make_hookspec, spec_fault
from .markers import MarkedManager

if TYPE_CHECKING:
    import logging

    from ..interface.declarations import Interface
    from .failures import Failure

EAGER = "plugin_activating"
"""The hook whose handlers are never deferred: it decides about every plugin, and must not be missed."""


class EntryPointLoader:
    """Loads the entry points of installed packages.

    A package that is broken or conflicts with another is one failure and does not affect the others.

    Args:
        manager: where hook specifications and handlers are registered.
        hosts_hooks: whether the host alone specifies hooks, and accepts modules without hookimpls, as on pluggy. That
            does not apply to the group ``extframe``.
        report: keeps a failure under its subject.
        loaded: is called with each handler that was registered, and with its distribution.
        deferred: receives the entry points that are imported when their hook is needed.
        refusal: returns why an entry point is not to be imported, as the predicate of a sentence, or None.
    """

    def __init__(
        self,
        manager: MarkedManager,
        *,
        hosts_hooks: bool,
        report: Callable[[Hashable, Failure], None],
        loaded: Callable[[object, Distribution], None],
        refusal: Callable[[EntryPoint], str | None],
        deferred: DeferredHandlers[EntryPoint],
    ) -> None:
        self._manager = manager
        self._hosts_hooks = hosts_hooks
        self._report = report
        self._loaded = loaded
        self._refusal = refusal
        self.importer = EntryImporter()
        self._deferred = deferred
        self._interfaces: dict[str, type[Interface]] = {}  # by hook
        self._failed: list[tuple[EntryPoint, BaseException]] = []  # of which no warning was issued yet

    def interface_of(self, point: str) -> type[Interface] | None:
        """Return the interface of an extension point that an entry point registered; None if none did."""
        from ..protocol import hook_name

        found = self._interfaces.get(hook_name(point))
        return found if found is not None and found.__extframe__[0].implements == point else None

    def load(self, groups: Sequence[str], name: str | None = None) -> int:
        """Load the entry points of some groups and return the number of handlers that were registered.

        With the group ``extframe``, those of groups ``extframe.HOOK`` are deferred until `load_entries`.

        Args:
            groups: the groups.
            name: load only entry points of this name.

        Raises:
            PluginLoadWarning: an entry point failed, and the host's filter turns warnings into errors. The others are
                loaded.
        """
        wanted = [entry for entry in entry_points(groups, hooks=True) if name is None or entry.name == name]
        deferred = [entry for entry in wanted if entry.group not in groups and hook_of(entry) != EAGER]
        handlers = self.load_entries([entry for entry in wanted if entry not in deferred], self._manager.register)
        for entry in deferred:
            self._defer(entry, hook_of(entry))
        for group in groups if name is None else ():
            self._deferred.discard(group.removeprefix(f"{GROUP}."))
        return len(handlers)

    def load_entries(self, entries: Iterable[EntryPoint], register: Callable[[object, str], object]) -> list[object]:
        """Load entry points with a function that registers a handler, and return the handlers that were registered."""
        imported = [(entry, found) for entry in entries for found in self._import(entry)]
        specified = [pair for pair in imported if self._attempt(self._add_specs, *pair)]
        registered = [pair for pair in specified if self._attempt(partial(self._add_handler, register), *pair)]
        for entry, handler in registered:
            self._attempt(self._suggest_hooks, entry, handler)
        self._warn()
        return [handler for _, handler in registered if self._manager.is_registered(handler)]

    def _defer(self, entry: EntryPoint, hook: str) -> None:
        if self._is_refused(entry) or not self._deferred.add(hook, entry, (entry.group, entry.name, entry.value)):
            return
        if not has_spec(self._manager, hook):
            similar = similar_hook(self._manager, hook)
            if similar is not None:
                self._note_hook(entry, hook, similar)

    def _import(self, entry: EntryPoint) -> Iterator[Any]:
        if self._is_refused(entry):
            return
        try:
            yield self.importer.load(entry)
        except KeyboardInterrupt:
            raise
        except BaseException as error:  # noqa: BLE001 - importing a package may raise anything
            self._note(entry, error)

    def _is_refused(self, entry: EntryPoint) -> bool:
        refusal = self._refusal(entry)
        if refusal is not None:
            _logger().info("entry point %r %s; it is not imported", entry.name, refusal)
        return refusal is not None

    def _attempt(self, step: Callable[[EntryPoint, Any], bool], entry: EntryPoint, found: Any) -> bool:
        """Run one step; return what it returns, False if it raises."""
        try:
            return step(entry, found)
        except Exception as error:  # noqa: BLE001 - inspecting a package's objects may raise anything
            self._note(entry, error)
            return False

    def _note(self, entry: EntryPoint, error: BaseException) -> None:
        failure = entry.failure(error)
        self._report(("entry point", *entry.origin, entry.name, entry.value), failure)
        self._failed.append((entry, error))
        _logger().warning("%s", failure, exc_info=error)

    def _warn(self) -> None:
        if self._failed:
            from .load_warnings import warn_of_failure

            failed, self._failed = self._failed, []
            for entry, error in failed:
                warn_of_failure(entry, error)

    # Hook specifications.

    def _add_specs(self, entry: EntryPoint, found: Any) -> bool:
        if self._is_hosts(entry):
            return True
        names = self._spec_names(found)
        if not self._are_from(names, found):
            self._check_points(found)
            self._specify(found, lambda: self._are_from(names, found))
        for hook, interface in interfaces_of(found):
            self._claim(hook, interface)
            if not has_spec(self._manager, hook):
                self._specify(make_hookspec(hook, interface.__doc__), partial(has_spec, self._manager, hook))
        return True

    def _specify(self, namespace: Any, is_specified: Callable[[], bool]) -> None:
        """Add hook specifications. Another thread, which loads what brings the same ones, may have been first."""
        try:
            self._manager.add_hookspecs(namespace)
        except ValueError:
            if not is_specified():
                raise

    def _are_from(self, hooks: Iterable[str], namespace: Any) -> bool:
        return all(self._is_from(hook, namespace) for hook in hooks)

    def _is_hosts(self, entry: EntryPoint) -> bool:
        """Return whether an entry point extends the host as on pluggy: it brings hookimpls, and no hookspecs."""
        return self._hosts_hooks and entry.group != GROUP

    def _is_from(self, hook: str, namespace: Any) -> bool:
        """Return whether a hook is specified by this namespace, as when its entry point is loaded again."""
        return has_spec(self._manager, hook) and getattr(self._manager.hook, hook).spec.namespace is namespace

    def _check_points(self, namespace: Any) -> None:
        trial = MarkedManager(self._manager.project_name)
        trial.add_hookspecs(namespace)
        for hook in self._spec_names(namespace):
            spec = getattr(trial.hook, hook).spec
            fault = spec_fault(spec) if is_extension_point(spec) else None
            if fault is not None:
                raise ExtframeError(f"hook {hook!r} cannot be an extension point: {fault}")

    def _claim(self, hook: str, interface: type[Interface]) -> None:
        """Check that a hook has one interface: the same in all packages, or an extension of it."""
        known = self._interfaces.get(hook) or self._docker_interface(hook)
        if known is not None and not issubclass(interface, known):
            point = interface.__extframe__[0].implements
            raise ExtframeError(
                f"{_path(interface)} declares the extension point {point!r}, which {_path(known)} already declares: "
                "import that interface, or choose another name with implements="
            )
        self._interfaces.setdefault(hook, interface)

    def _docker_interface(self, hook: str) -> type[Interface] | None:
        """Return the interface of one of Docker's extension points, None for a host's own hook of that name."""
        if not hasattr(ExtensionPoints, hook) or not self._is_from(hook, ExtensionPoints):
            return None
        from .builtin import interface

        return interface(hook)

    # Handlers.

    def _add_handler(self, register: Callable[[object, str], object], entry: EntryPoint, handler: Any) -> bool:
        names = self._impl_names(handler)
        if not names:
            self._check_kind(entry, handler)
            if not self._is_hosts(entry):
                return False
        unbound = [name for name in names if _lacks_self(handler, name)]
        if unbound:
            raise ExtframeError(
                f"{entry.value} is a class, and its {unbound[0]} would get no self: name an instance in the entry point"
            )
        known = self._manager.get_plugin(entry.name)
        if known is handler:
            return False
        if known is not None:
            raise ValueError(f"another handler is named {entry.name!r}: {known!r}")
        registered = self._register(register, entry, handler)
        if registered and entry.distribution is not None:
            self._loaded(handler, entry.distribution)
        return registered

    def _register(self, register: Callable[[object, str], object], entry: EntryPoint, handler: Any) -> bool:
        try:
            return register(handler, entry.name) is not None
        except ValueError:
            if self._manager.get_plugin(entry.name) is not handler:  # else another thread was first
                raise
            return False

    def _check_kind(self, entry: EntryPoint, found: Any) -> None:
        module = entry.value.partition(":")[0].strip()
        if self._manager.is_marked(found):
            raise ExtframeError(
                f"{entry.value} is a function marked with hookimpl, not a handler: name its module in the entry point, "
                f"{entry.name} = {module}"
            )
        if not self._is_hosts(entry) and not self._spec_names(found) and not list(interfaces_of(found)):
            raise ExtframeError(
                f"{entry.value} has no hookimpl, no hookspec and no Interface: it is not a handler. An entry point "
                "names a module or an object whose functions are marked with extframe.hookimpl"
            )

    def _suggest_hooks(self, entry: EntryPoint, handler: Any) -> bool:
        for hook in self._manager.get_hookcallers(handler) or ():
            if not hook.has_spec() and not all(impl.optionalhook for impl in hook.get_hookimpls()):
                similar = similar_hook(self._manager, hook.name)
                if similar is not None:
                    self._note_hook(entry, hook.name, similar)
        return True

    def _note_hook(self, entry: EntryPoint, hook: str, similar: str) -> None:
        from .failures import Failure

        error = ExtframeError(f"no package specifies the hook {hook!r}; did you mean {similar!r}?")
        failure = Failure(f"hook {hook!r} of handler {entry.name!r}", error, *entry.origin)
        self._report(("hook", *entry.origin, entry.name, hook), failure)
        _logger().warning("%s", failure)

    def _spec_names(self, namespace: Any) -> list[str]:
        return [name for name in dir(namespace) if self._manager.parse_hookspec_opts(namespace, name) is not None]

    def _impl_names(self, handler: Any) -> list[str]:
        return [name for name in dir(handler) if self._manager.parse_hookimpl_opts(handler, name) is not None]


def has_spec(manager: pluggy.PluginManager, hook: str) -> bool:
    """Return whether a hook is specified."""
    caller = getattr(manager.hook, hook, None)
    return caller is not None and caller.has_spec()


def hook_of(entry: EntryPoint) -> str:
    """Return the hook that the group of an entry point names: ``volume_driver`` for ``extframe.volume_driver``."""
    suffix = entry.group.partition(".")[2]
    if suffix == suffix.lower():
        return suffix
    from ..protocol import hook_name

    return hook_name(suffix)  # the name of the extension point


def similar_hook(manager: pluggy.PluginManager, hook: str) -> str | None:
    """Return the specified hook whose name is most similar to ``hook``, None if none is similar."""
    from difflib import get_close_matches

    specified = [name for name in vars(manager.hook) if has_spec(manager, name)]
    return next(iter(get_close_matches(hook, specified, n=1, cutoff=0.8)), None)


def _lacks_self(handler: Any, name: str) -> bool:
    """Return whether a hookimpl is a method that takes self, although the handler is a class."""
    function = inspect.getattr_static(handler, name, None)
    return (
        isinstance(handler, type)
        and inspect.isfunction(function)
        and next(iter(inspect.signature(function).parameters), "") == "self"
    )


def interfaces_of(found: Any) -> Iterator[tuple[str, type[Interface]]]:
    """Yield the interfaces that an entry point is or that its module contains, each with its hook."""
    candidates = [found] if isinstance(found, type) else list(getattr(found, "__dict__", {}).values())
    classes = [each for each in candidates if isinstance(each, type) and _may_be_interface(each)]
    if not classes:
        return  # most handlers bring none, so that msgspec is not imported for them
    from ..protocol import hook_name

    for each in classes:
        if len(each.__extframe__) == 1:  # type: ignore[attr-defined]
            [declared] = each.__extframe__  # type: ignore[attr-defined]
            yield hook_name(declared.implements), declared.interface


def _may_be_interface(cls: type) -> bool:
    return any("__extframe__" in vars(each) for each in cls.__mro__)


def _path(cls: type) -> str:
    return f"{cls.__module__}.{cls.__qualname__}"


def _logger() -> logging.Logger:
    """Return this module's logger; logging is imported when there is something to log."""
    from ..logs import get_logger

    return get_logger(__name__)
