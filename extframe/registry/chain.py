"""Several registries as one: the first that has a plugin counts. Searches nothing itself."""

from __future__ import annotations

import select
from collections.abc import Hashable, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import replace
from typing import Any

from ..concurrency.locks import signal_safe_lock
from ..errors import ActivationError, ExtframeError, PluginNotFound, SpecError
from ..logs import get_logger
from ..protocol import PluginSpec, is_name
from .base import Registry, errors_of, never_waits

logger = get_logger(__name__)


class RegistryChain:
    """Registries in the order of their precedence: ``RegistryChain(Supervisor.for_app("myhost"), LocalRegistry())``.

    ``scan`` returns the plugins of all of them. The first registry that has a name counts, even if what it has cannot
    be used. A registry that cannot be searched hides nothing: its plugins of the last scan stay in the list, and the
    others are searched. ``PluginManager([first, second])`` is the same.

    Args:
        registries: one or more, the most important first.

    Raises:
        TypeError: there is none.
    """

    def __init__(self, *registries: Registry) -> None:
        if not registries:
            raise TypeError("RegistryChain needs at least one registry")
        self.registries = registries
        self._owners: dict[str, int] = {}  # name -> the registry that has it
        self._found: list[dict[str, int]] = []  # the same, for each scan under way: by `find` since it began
        self._lock = signal_safe_lock()
        self._last: dict[int, list[str]] = {}  # what the last scan of each registry returned

    def __repr__(self) -> str:
        return f"{type(self).__name__}({', '.join(map(repr, self.registries))})"

    @property
    def directories(self) -> tuple[str, ...]:
        """The directories of all registries that have some; none if another registry has to be polled."""
        if not self._is_observable():
            return ()
        found = (directory for each in self.registries for directory in getattr(each, "directories", ()))
        return tuple(dict.fromkeys(found))

    @never_waits
    def scan(self) -> list[str]:
        """Return the names of the plugins of all registries, sorted, without duplicates.

        Raises:
            ExtframeError: a registry cannot be searched, and has never been.
        """
        owners: dict[str, int] = {}
        with self._note_found() as found:
            for index, registry in enumerate(self.registries):
                for name in self._scan(index, registry):
                    owners.setdefault(name, index)
            with self._lock:
                self._owners = {**owners, **found}  # a registry that was scanned first may have a plugin by now
        return sorted(owners)

    @contextmanager
    def _note_found(self) -> Iterator[dict[str, int]]:
        """Yield what `find` finds while the block runs."""
        found: dict[str, int] = {}
        with self._lock:
            self._found.append(found)
        try:
            yield found
        finally:
            with self._lock:
                self._found = [each for each in self._found if each is not found]

    def _scan(self, index: int, registry: Registry) -> list[str]:
        try:
            with errors_of(registry, "list plugins"):
                names = registry.scan()
        except ExtframeError as error:
            if index not in self._last:
                raise
            logger.warning("%s; its plugins of the last scan are used", error)
            return self._last[index]
        self._last[index] = names
        return names

    @never_waits
    def find(self, name: str) -> PluginSpec:
        """Return where a plugin listens, from the first registry that has it.

        Raises:
            PluginNotFound: none has it; the message lists every place that was searched.
            SpecError, ActivationError: as that registry does.
            ExtframeError: a registry cannot be searched, and no other has the plugin.
        """
        errors: list[ExtframeError] = []
        for index, registry in enumerate(self.registries):
            try:
                with errors_of(registry, f"find plugin {name!r}", name):
                    spec = registry.find(name)
            except ExtframeError as error:  # noqa: PERF203 - few registries, and each has its turn
                if _has_plugin(name, error):
                    self._note_owner(name, index)
                    raise
                errors.append(error)
            else:
                self._note_owner(name, index)
                return replace(spec, stamp=(index, spec.stamp))
        raise _not_found(name, errors)

    def _note_owner(self, name: str, index: int) -> None:
        with self._lock:
            for each in (self._owners, *self._found):
                each[name] = index

    @never_waits
    def stamp(self, spec: PluginSpec) -> Hashable:
        """Return the identity of what ``spec`` was made from; None if that is gone, or an earlier registry has it."""
        index, inner = _split(spec)
        for registry in self.registries[:index]:
            sources = getattr(registry, "sources", None)
            if sources is not None and is_name(spec.name) and sources(spec.name):
                return None
        stamp = self.registries[index].stamp(inner)
        return None if stamp is None else (index, stamp)

    def changes(self) -> Changes | None:
        """Return an object whose ``fileno()`` is readable after a change in a registry; None if that cannot be seen."""
        if not self._is_observable() or not hasattr(select, "epoll"):
            return None
        with ExitStack() as stack:  # what the others have begun ends if one has no thread or descriptor left
            members = []
            for registry in self.registries:
                if hasattr(registry, "changes"):
                    members.append(registry.changes())
                    stack.callback(_optional, members[-1], "close")
            changes = Changes(members)
            stack.pop_all()
        return changes

    def _is_observable(self) -> bool:
        """Return whether no registry has to be polled."""
        return all(hasattr(each, "changes") or getattr(each, "directories", ()) for each in self.registries)

    def why(self, spec: PluginSpec, error: Exception) -> str | None:
        """Return what the registry that has the plugin says about a failure."""
        index, inner = _split(spec)
        found: str | None = _optional(self.registries[index], "why", inner, error)
        return found

    def starts_on_use(self, name: str) -> bool:
        """Return whether the plugin does not run, and its use would start it."""
        index = self._owners.get(name)
        return index is not None and bool(_optional(self.registries[index], "starts_on_use", name))

    def close(self) -> None:
        """Close every registry.

        Raises:
            ExtframeError: one could not be closed; the others are.
        """
        failed: list[ExtframeError] = []
        for registry in self.registries:
            try:
                with errors_of(registry, "close"):
                    _optional(registry, "close")
            except ExtframeError as error:  # noqa: PERF203 - few registries, and each is closed
                failed.append(error)
        if failed:
            raise failed[0]


class Changes:
    """Several objects with ``fileno()`` as one. Linux only."""

    def __init__(self, members: list[Any]) -> None:
        self._members = members
        self._poll = select.epoll()
        for member in members:
            self._poll.register(member.fileno(), select.EPOLLIN)

    def fileno(self) -> int:
        """Return the descriptor that is readable when one of theirs is."""
        return self._poll.fileno()

    def drain(self) -> None:
        """Drain every member."""
        for member in self._members:
            _optional(member, "drain")

    def close(self) -> None:
        """Close every member."""
        self._poll.close()
        for member in self._members:
            _optional(member, "close")


def _split(spec: PluginSpec) -> tuple[int, PluginSpec]:
    stamp: Any = spec.stamp  # `find` made it
    return stamp[0], replace(spec, stamp=stamp[1])


def _has_plugin(name: str, error: ExtframeError) -> bool:
    """Return whether an error says that a registry has the plugin, although it cannot be used."""
    if isinstance(error, SpecError):
        # A registry of files rejects a name that no file can have. Another registry may have a plugin of that name.
        return bool(error.source) or is_name(name)
    return isinstance(error, ActivationError)


def _not_found(name: str, errors: list[ExtframeError]) -> ExtframeError:
    """Return the error for a plugin that no registry has."""
    failed = [error for error in errors if not isinstance(error, PluginNotFound | SpecError)]
    if failed:
        error = ExtframeError("; ".join(str(each) for each in failed), plugin=name)
        error.__cause__ = failed[0]
        return error
    missing = [
        each.message.removeprefix(f"no plugin {name!r}: ") for each in errors if isinstance(each, PluginNotFound)
    ]
    return PluginNotFound(f"no plugin {name!r}: {'; '.join(missing)}", plugin=name) if missing else errors[0]


def _optional(target: object, method: str, *arguments: object) -> Any:
    """Call a method that an object may have."""
    found = getattr(target, method, None)
    return None if found is None else found(*arguments)
