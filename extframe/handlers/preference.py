"""Which handler's driver is used, where several handlers return one for an extension point. Calls no handler."""

from __future__ import annotations

import warnings
from collections.abc import Callable, Iterable, Mapping, Sequence

import pluggy
from pluggy import HookImpl

from ..concurrency.once import Once
from ..logs import get_logger
from .access_rules import matches_name, similar
from .hook_claims import Returned
from .host_line import host_stacklevel

logger = get_logger(__name__)

Origin = Callable[[object], tuple[str | None, str | None]]


class Preference:
    """Orders the drivers of an extension point by the host's user's choice of handlers, and else as pluggy does.

    Args:
        prefer: by hook the names of handlers or distributions, or patterns, the most preferred first.
        origin: returns the name and version of the distribution of a handler.
    """

    def __init__(self, prefer: Mapping[str, Sequence[str]], origin: Origin) -> None:
        self._prefer = prefer
        self._origin = origin
        self._checked = Once()  # hooks whose entries were compared with their handlers

    def ordered(self, hook: pluggy.HookCaller, returned: Returned) -> Returned:
        """Return the drivers of preferred handlers first. The others, and equals, keep their order.

        Args:
            hook: of the extension point.
            returned: what its handlers returned, each with its handler.
        """
        entries = self._prefer.get(hook.name)
        if not entries:
            return returned
        if self._checked.first(hook.name):
            self._report_unmatched(hook, entries)
        return sorted(returned, key=lambda pair: self._rank(entries, pair[0]))

    def _rank(self, entries: Sequence[str], impl: HookImpl) -> int:
        matching = (rank for rank, entry in enumerate(entries) if self._matches(entry, impl))
        return next(matching, len(entries))

    def _matches(self, entry: str, impl: HookImpl) -> bool:
        return matches_name(entry, impl.plugin_name, self._origin(impl.plugin)[0])

    def _report_unmatched(self, hook: pluggy.HookCaller, entries: Sequence[str]) -> None:
        impls = hook.get_hookimpls()
        origins = (self._origin(impl.plugin)[0] for impl in impls)
        names = [*(impl.plugin_name for impl in impls), *filter(None, origins)]
        for entry in entries:
            if not any(self._matches(entry, impl) for impl in impls):
                logger.warning("prefer=: %r matches no handler of %s%s", entry, hook.name, _meant(entry, names))

    def report_unknown_hooks(self, specified: Iterable[str]) -> None:
        """Warn of extension points whose names are similar to that of a hook, and which no hook has."""
        known = set(specified)
        for hook in self._prefer.keys() - known:
            meant = _meant(hook, known)
            if meant:
                text = f"prefer=: no hook is named {hook!r}{meant}"
                logger.warning("%s", text)
                warnings.warn(text, UserWarning, stacklevel=host_stacklevel())


def _meant(name: str, names: Iterable[str]) -> str:
    close = similar(name, list(names))
    return f"; did you mean {close!r}?" if close else ""
