"""Which handlers and plugins may take part, by lists of names and patterns. Imports and contacts nothing."""

from __future__ import annotations

import os
import re
import warnings
from collections.abc import Collection, Iterable, Mapping, Sequence
from fnmatch import fnmatchcase
from typing import TYPE_CHECKING, Any

from ..concurrency.once import Once

if TYPE_CHECKING:
    from .entry_points import EntryPoint

ALLOW, BLOCK, OLD_BLOCK = "EXTFRAME_ALLOW", "EXTFRAME_BLOCK", "EXTFRAME_DISABLE"
"""The environment variables. ``EXTFRAME_DISABLE`` is the name that ``EXTFRAME_BLOCK`` had before."""

HANDLER, PLUGIN = "handler", "plugin"
_BUILTIN = "extframe.handlers.builtin:"
"""What the values of extframe's own entry points begin with. An allow list need not contain them."""


class _Entry:
    """One entry of a list: ``acme-*``, ``plugin:photos``, ``handler:acme``."""

    def __init__(self, text: str) -> None:
        kind, colon, rest = text.partition(":")
        is_limited = bool(colon) and kind in (HANDLER, PLUGIN) and bool(rest)
        self.text = text
        self.kinds = (kind,) if is_limited else (HANDLER, PLUGIN)
        self.pattern = rest if is_limited else text
        self.has_matched = False

    def matches(self, kind: str, name: str, distribution: str | None) -> bool:
        """Return whether the name, or the distribution's in any spelling, matches the pattern."""
        if kind not in self.kinds:
            return False
        found = matches_name(self.pattern, name, distribution)
        if found:
            self.has_matched = True
        return found


class _List:
    """The entries of one argument or environment variable."""

    def __init__(self, source: str, entries: Sequence[str]) -> None:
        self.source = source
        self.entries = [_Entry(entry) for entry in entries]

    def matching(self, kind: str, name: str, distribution: str | None) -> str | None:
        """Return the first entry that matches, or None."""
        found = [entry.text for entry in self.entries if entry.matches(kind, name, distribution)]
        return found[0] if found else None

    def restricts(self, kind: str) -> bool:
        """Return whether, as an allow list, it says anything about handlers or plugins; an empty one does."""
        return not self.entries or any(kind in entry.kinds for entry in self.entries)

    def similar_to(self, kind: str, name: str) -> str:
        """Return what to add to the message that a name is not in this list: the entry that may have been meant."""
        patterns = {entry.pattern: entry.text for entry in self.entries if kind in entry.kinds}
        close = similar(name, patterns)
        return f", which has {patterns[close]!r}" if close else ""


class AccessRules:
    """Which handlers are imported, and which plugins are looked up.

    A name in a block list is refused. Where there is an allow list, what it does not contain is refused, too. The
    environment can refuse more than the host does, and never less.

    Args:
        allow: names and patterns; None to allow everything.
        block: names and patterns.
        environ: the environment variables.

    Raises:
        TypeError: a list is something else.
    """

    def __init__(
        self, allow: Sequence[str] | None = None, block: Sequence[str] = (), environ: Mapping[str, str] = os.environ
    ) -> None:
        self._allow = [] if allow is None else [_List("allow=", _names("allow", allow))]
        self._block = [_List("block=", _names("block", block))]
        for lists, variable in ((self._allow, ALLOW), (self._block, BLOCK), (self._block, OLD_BLOCK)):
            entries = [name.strip() for name in environ.get(variable, "").split(",") if name.strip()]
            if entries:
                lists.append(_List(variable, entries))
        self._block = [each for each in self._block if each.entries]
        self._unblocked: set[str] = set()
        self._reported = Once()
        self._seen: dict[str, None] = {}  # the names of handlers and distributions, for near misses

    @property
    def is_empty(self) -> bool:
        """Whether everything may take part."""
        return not (self._allow or self._block)

    # Handlers.

    def handler_refusal(self, entry: EntryPoint) -> str | None:
        """Return why an entry point is not imported, as the predicate of a sentence; None if it is."""
        if self.is_empty:
            return None
        distribution = entry.origin[0]
        self._seen.update(dict.fromkeys([entry.name, *([distribution] if distribution else [])]))
        blocked, not_allowed = self._refusals(HANDLER, entry.name, distribution)
        if blocked is not None:
            return None if entry.name in self._unblocked else blocked
        return None if entry.value.startswith(_BUILTIN) else not_allowed

    def blocks_handler(self, name: str) -> bool:
        """Return whether a name that a handler is registered under is in a block list."""
        return bool(self._block) and name not in self._unblocked and self._blocked(HANDLER, name) is not None

    def unblock_handler(self, name: str) -> bool:
        """Let handlers of this name be registered; return whether it was blocked."""
        was_blocked = self.blocks_handler(name)
        self._unblocked.add(name)
        return was_blocked

    # Plugins.

    def plugin_refusal(self, name: str) -> str | None:
        """Return why a plugin is not used, as the predicate of a sentence; None if it is."""
        if self.is_empty:
            return None
        refusals = self._refusals(PLUGIN, name)
        if refusals == (None, None):
            self._report_unmatched(PLUGIN, "no handler; the name of a plugin is similar", [name], if_similar=True)
        return refusals[0] or refusals[1]

    def allowed_plugins(self, names: Iterable[str]) -> list[str]:
        """Return which plugins of a scan may be used, and log the entries that match neither a plugin nor a handler."""
        found = list(names)
        allowed = [name for name in found if self._refusals(PLUGIN, name) == (None, None)]
        self._report_unmatched(PLUGIN, "no handler and no plugin", [*found, *self._seen])
        return allowed

    # Entries that match nothing.

    def report_unmatched_handlers(self, stacklevel: int) -> None:
        """Report the entries that match no handler, unless they may well be the names of plugins.

        It is logged, and is a Python warning, too, which a host that configured no logging shows.

        Args:
            stacklevel: as for ``warnings.warn``, from the caller.
        """
        for text in self._report_unmatched(HANDLER, "no handler", list(self._seen), if_similar=True):
            warnings.warn(text, UserWarning, stacklevel=stacklevel + 1)

    def unmatched(self, variable: str, plugins: Sequence[str] = ()) -> list[tuple[str, str | None]]:
        """Return the entries of an environment variable that match no handler and no plugin, with a similar name each.

        Args:
            variable: its name.
            plugins: the names of the plugins that exist.
        """
        entries = [entry for each in self._lists() if each.source == variable for entry in each.entries]
        names = [*self._seen, *plugins]
        return [
            (entry.text, similar(entry.pattern, names))
            for entry in entries
            if not entry.has_matched and not any(entry.matches(PLUGIN, name, None) for name in plugins)
        ]

    def _report_unmatched(self, kind: str, what: str, names: Sequence[str], *, if_similar: bool = False) -> list[str]:
        """Log the entries that matched nothing so far, each once, and return what was logged.

        Args:
            kind: of the names.
            what: the entries do not match.
            names: where a similar one is searched.
            if_similar: whether only those entries are reported that are similar to a name, or match nothing but
                handlers.
        """
        texts = []
        for each in self._lists():
            for entry in each.entries:
                if kind not in entry.kinds or entry.has_matched or entry in self._reported:
                    continue
                close = similar(entry.pattern, names)
                is_meant = close or not if_similar or entry.kinds == (HANDLER,)
                if is_meant and self._reported.first(entry):
                    meant = f"; did you mean {close!r}?" if close else ""
                    texts.append(f"{each.source}: {entry.text!r} matches {what}{meant}")
        for text in texts:
            _log(text)
        return texts

    # The lists.

    def _lists(self) -> list[_List]:
        return [*self._allow, *self._block]

    def _refusals(self, kind: str, name: str, distribution: str | None = None) -> tuple[str | None, str | None]:
        """Return why the block lists and why the allow lists refuse a name. Both are searched, to note what matches."""
        return self._blocked(kind, name, distribution), self._not_allowed(kind, name, distribution)

    def _blocked(self, kind: str, name: str, distribution: str | None = None) -> str | None:
        matching = [(each.source, each.matching(kind, name, distribution)) for each in self._block]
        return next((f"is blocked by {entry!r} in {source}" for source, entry in matching if entry is not None), None)

    def _not_allowed(self, kind: str, name: str, distribution: str | None = None) -> str | None:
        lists = [each for each in self._allow if each.restricts(kind)]
        lacking = [each for each in lists if each.matching(kind, name, distribution) is None]
        return f"is not in {lacking[0].source}{lacking[0].similar_to(kind, name)}" if lacking else None


def matches_name(pattern: str, name: str, distribution: str | None) -> bool:
    """Return whether a name, or the name of its distribution in any spelling, matches a pattern."""
    return fnmatchcase(name, pattern) or (
        distribution is not None and fnmatchcase(_normalised(distribution), _normalised(pattern))
    )


def similar(name: str, names: Collection[str]) -> str | None:
    """Return the most similar of some names, or None."""
    from difflib import get_close_matches

    return next(iter(get_close_matches(name, list(names), n=1, cutoff=0.75)), None)


def _names(argument: str, value: Any) -> list[str]:
    names = [value] if isinstance(value, str) else value
    if isinstance(names, list | tuple | set | frozenset) and all(isinstance(name, str) and name for name in names):
        return list(names)
    raise TypeError(f"{argument} is {value!r}; expected names and patterns of handlers and plugins, such as ['acme-*']")


def _log(text: str) -> None:
    from ..logs import get_logger

    get_logger(__name__).warning("%s", text)


def _normalised(name: str) -> str:
    return re.sub(r"[-_.]+", "-", name).lower()
