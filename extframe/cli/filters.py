"""``--filter KEY=PATTERN``: select plugins by name, state or extension point. Opens no connection."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import TYPE_CHECKING

import click

from .output import printable

if TYPE_CHECKING:
    from .discovery import PluginStatus

_KEYS: Mapping[str, Callable[[PluginStatus], Iterable[str]]] = {
    "name": lambda plugin: [plugin.name],
    "state": lambda plugin: [plugin.state],
    "implements": lambda plugin: plugin.implements or (),
}
_STATES = ("active", "failed", "new", "idle", "starting", "running", "waiting", "stopping", "stopped")


class Filter:
    """The patterns by key. A plugin must match one pattern of each key.

    Args:
        patterns: the patterns of each key, with ``*``, ``?`` and ``[...]`` as in file names.
    """

    def __init__(self, patterns: Mapping[str, Sequence[str]]) -> None:
        self._patterns = patterns

    @property
    def needs_contact(self) -> bool:
        """Whether only a handshake can say which plugins match."""
        return bool({"state", "implements"} & self._patterns.keys())

    def check_no_contact(self) -> None:
        """Check that the filter does not need what a handshake says.

        Raises:
            click.UsageError: it does.
        """
        if "implements" in self._patterns:
            raise click.UsageError("--filter implements= needs the handshake: use it without --no-contact.")

    def accepts_name(self, name: str) -> bool:
        """Return whether a plugin of this name may match."""
        return self._matches("name", [name])

    def accepts(self, plugin: PluginStatus) -> bool:
        """Return whether a plugin matches."""
        return all(self._matches(key, values(plugin)) for key, values in _KEYS.items())

    def _matches(self, key: str, values: Iterable[str]) -> bool:
        if key not in self._patterns:
            return True
        from fnmatch import fnmatchcase

        return any(fnmatchcase(value, pattern) for value in values for pattern in self._patterns[key])


def _parse(ctx: click.Context, parameter: click.Parameter, given: Sequence[str]) -> Filter:
    patterns: dict[str, list[str]] = {}
    for text in given:
        key, sign, pattern = text.partition("=")
        if not sign or key not in _KEYS:
            expected = "expected name=PATTERN, state=STATE or implements=PATTERN"
            raise click.BadParameter(f"'{printable(text)}' is invalid: {expected}.")
        if key == "state" and pattern not in _STATES:
            raise click.BadParameter(f"'{printable(pattern)}' is not a state: expected {', '.join(_STATES)}.")
        patterns.setdefault(key, []).append(pattern)
    return Filter(patterns)


filter_option = click.option(
    "--filter",
    "filters",
    metavar="KEY=PATTERN",
    multiple=True,
    callback=_parse,
    help="List only plugins whose name, state or implements matches, as in name='photo*'; repeatable.",
)
