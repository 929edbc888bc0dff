"""Handlers whose modules are imported when their hook is first needed. Knows no entry points and no plugins."""

from __future__ import annotations

import threading
from collections.abc import Callable, Hashable, Sequence
from contextlib import suppress
from typing import TYPE_CHECKING, Generic, TypeVar

from ..concurrency.locks import signal_safe_lock
from ..errors import PluginLoadWarning

if TYPE_CHECKING:
    from pluggy import HookImpl

E = TypeVar("E")


class DeferredHandlers(Generic[E]):
    """The entry points that were not imported yet, by hook. Any thread may load those of a hook; one does.

    Args:
        load: imports entry points, registers their handlers and returns these. It isolates failures.
        loaded: is called with the hook and each handler that was registered, while no lock is held.
    """

    def __init__(
        self, load: Callable[[Sequence[E]], Sequence[object]], loaded: Callable[[str, object], object]
    ) -> None:
        self._load = load
        self._loaded = loaded
        self._pending: dict[str, list[E]] = {}
        self._known: set[Hashable] = set()
        self._imported: dict[str, Sequence[object]] = {}
        self._guard = signal_safe_lock()  # held while entry points are added and discarded
        self._locks: dict[str, threading.RLock] = {}  # per hook; held while modules are imported
        self._loading: set[str] = set()

    def add(self, hook: str, entry: E, identity: Hashable) -> bool:
        """Add an entry point; return False if one with this identity was added before."""
        with self._guard:
            if identity in self._known:
                return False
            self._known.add(identity)
            self._pending.setdefault(hook, []).append(entry)
        return True

    def discard(self, hook: str) -> None:
        """Forget the entry points of a hook, as they were loaded otherwise."""
        with self._guard:
            self._pending.pop(hook, None)

    def __bool__(self) -> bool:
        return bool(self._pending)

    def has(self, hook: str) -> bool:
        """Return whether handlers of a hook were not imported yet, or are being imported."""
        return hook in self._pending

    def pending(self) -> list[tuple[str, E]]:
        """Return the entry points that were not imported yet, each with its hook."""
        return [(hook, entry) for hook, entries in list(self._pending.items()) for entry in entries]

    def load(self, hook: str) -> Sequence[object]:
        """Import the handlers of a hook, and return those that were imported so. Another thread's import is waited for.

        A module that asks for the hook while it is imported does not wait for itself.
        """
        if hook not in self._pending:
            return self._imported.get(hook, ())
        handlers: list[object] = []
        with self._locks.setdefault(hook, threading.RLock()):
            if hook in self._pending and hook not in self._loading:
                self._loading.add(hook)
                try:
                    self._import(hook, handlers)
                finally:
                    self._loading.discard(hook)
        for handler in handlers:
            self._loaded(hook, handler)
        return self._imported.get(hook, ())

    def _import(self, hook: str, handlers: list[object]) -> None:
        """Import the entry points of a hook, and those that are added meanwhile."""
        begun: list[E] = []
        while entries := self._others(hook, begun):
            begun += entries
            with suppress(PluginLoadWarning):  # is in the log and in failures()
                found = self._load(entries)
                handlers += found
                self._imported[hook] = [*self._imported.get(hook, ()), *found]

    def _others(self, hook: str, begun: Sequence[E]) -> list[E]:
        """Return the entry points of a hook that were not begun. If there are none, its import has ended."""
        known = {id(entry) for entry in begun}
        with self._guard:
            entries = [entry for entry in self._pending.get(hook, ()) if id(entry) not in known]
            if not entries:
                self._pending.pop(hook, None)
        return entries


def insert_imported(
    impls: Sequence[HookImpl], ordered: Sequence[HookImpl], imported: Sequence[object]
) -> Sequence[HookImpl]:
    """Return the hook implementations of a call, with those of handlers that were imported for it, in pluggy's order.

    Args:
        impls: those that the call began with: fewer than all for a subset caller, more for ``call_extra``.
        ordered: those of the hook now.
        imported: the handlers.
    """
    added = {id(handler) for handler in imported}
    merged = [impl for impl in ordered if impl in impls or id(impl.plugin) in added]
    extra = [impl for impl in impls if impl not in merged]
    # As by pluggy: before those with tryfirst and the wrappers.
    position = sum(not (impl.tryfirst or impl.wrapper or impl.hookwrapper) for impl in merged)
    return [*merged[:position], *extra, *merged[position:]]
