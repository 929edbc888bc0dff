"""Which plugins ``get_all`` returns, and what is noted about the others. Decides; never waits."""

from __future__ import annotations

from collections import deque
from collections.abc import Collection, Mapping, Sequence
from typing import TYPE_CHECKING, Any, TypeVar

from ..errors import (
    ActivationError,
    ActivationVetoed,
    CallTimeout,
    DoesNotImplement,
    ExtframeError,
    HandlerError,
    PluginNotFound,
    PluginsMissing,
    SpecError,
)
from ..logs import get_logger
from ..text import text_of
from .dispatch_rules import DispatchRules
from .pauses import SUSPECT_GRACE, Pauses
from .plugin_base import PluginBase, point_of
from .plugin_table import PluginTable

if TYPE_CHECKING:
    from ..interface.async_interface import AsyncInterface
    from ..interface.declarations import Interface

P = TypeVar("P", bound=PluginBase[Any])

logger = get_logger(__name__)

GRACE = 0.02  # seconds after the deadline in which get_all collects the timeouts


def check_names(names: Collection[str] | None) -> list[str] | None:
    """Return the names of the plugins that are requested, sorted, without duplicates; None for all.

    Raises:
        TypeError: they are something else.
    """
    if names is None:
        return None
    if isinstance(names, str) or not all(isinstance(name, str) for name in names):
        raise TypeError(f"names is {names!r}; expected the names of plugins, such as ['rclone', 'photos']")
    return sorted(set(names))


class Gathering:
    """The results of the plugins that ``get_all`` activates. Times are ``time.monotonic()`` values.

    Args:
        names: the plugins.
        suspects: those of them that failed in the last run, and that nothing waits for.
        give_up: until when plugins are tried again that are missing or refuse connections.
    """

    def __init__(self, names: Collection[str], suspects: Collection[str], give_up: float) -> None:
        self.suspects = frozenset(suspects)
        self.give_up = give_up
        self._results: dict[str, Exception | None] = {}
        self._pauses: dict[str, Pauses] = {}
        self._again: deque[tuple[float, str]] = deque()  # when plugins are tried again
        self._missing = set(names)

    def ended(self, name: str, error: Exception | None, now: float) -> float | None:
        """Note how an attempt ended, and return the pause before the next one; None if it was the last."""
        pause = None if error is None else self._pause_after(name, error, now)
        if pause is None:
            self._results[name] = error
            self._missing.discard(name)
        else:
            self._again.append((now + pause, name))
        return pause

    def _pause_after(self, name: str, failure: Exception, now: float) -> float | None:
        if not isinstance(failure, PluginNotFound | SpecError | ActivationError):
            return None
        return self._pauses.setdefault(name, Pauses()).after(failure, self.give_up - now)

    @property
    def is_complete(self) -> bool:
        """Whether every plugin has a result."""
        return not self._missing

    @property
    def is_over(self) -> bool:
        """Whether every plugin has a result, except for suspects."""
        return not self._missing or self._missing <= self.suspects

    def due(self, now: float) -> list[str]:
        """Return the plugins that are to be tried again now."""
        due = []
        for _ in range(len(self._again)):  # other threads append
            when, name = self._again.popleft()
            if when <= now:
                due.append(name)
            else:
                self._again.append((when, name))
        return due

    def results(self) -> dict[str, Exception | None]:
        """Return the failure of each plugin that has a result, or None, and that of suspects that have none."""
        return {**{name: suspect_error(name) for name in self.suspects}, **self._results}


def suspect_error(name: str) -> CallTimeout:
    """Return the error for a plugin that failed in the last run, for which ``get_all`` does not wait."""
    text = f"it failed in the last run, and has not answered within {SUSPECT_GRACE:g} s; get({name!r}) waits for it"
    return CallTimeout(text, plugin=name, phase="handshake")


def usable_plugins(
    table: PluginTable[P],
    rules: DispatchRules[Any],
    names: Sequence[str],
    point: str | type[Interface] | type[AsyncInterface],
    results: Mapping[str, Exception | None],
    *,
    required: bool = False,
) -> list[P]:
    """Return the plugins that can be used as an extension point, and note the failures of the others.

    Args:
        table: the plugins that the manager knows.
        rules: which handlers failed.
        names: the plugins to choose from.
        point: the extension point; a class leaves out plugins in versions that it does not accept.
        results: the failure of each plugin that was done by the deadline, or None.
        required: whether all of them were requested.

    Raises:
        PluginsMissing: one that was requested cannot be used.
    """
    usable: list[P] = []
    missing: dict[str, Exception] = {}
    for name in names:
        plugin = table.known(name)
        failure = _failure(table, rules, name, plugin, point, results)
        if failure is not None:
            missing[name] = failure
        elif plugin is not None:
            usable.append(plugin)
    if required and missing:
        reasons = "; ".join(f"{name!r}: {text_of(failure)}" for name, failure in missing.items())
        raise PluginsMissing(
            f"{len(missing)} of {len(names)} plugins cannot be used as {point_of(point)}: {reasons}", failures=missing
        )
    return usable


def _failure(
    table: PluginTable[P],
    rules: DispatchRules[Any],
    name: str,
    plugin: P | None,
    point: str | type[Interface] | type[AsyncInterface],
    results: Mapping[str, Exception | None],
) -> Exception | None:
    """Return why a plugin cannot be used, after noting it; None if it can."""
    error = results[name] if name in results else _late(rules, name, plugin)
    if error is not None or plugin is None:
        error = error or _late(rules, name, plugin)
        _note(table, name, error)
        return error
    try:
        plugin.require(point)
    except ActivationVetoed as veto:  # since its activation, which another caller has noted
        return veto
    except DoesNotImplement as missing:
        if plugin.implements(point_of(point)):  # in other versions
            _note(table, name, missing)
            return missing
    table.record_success(name)  # of a handler that was late, and has returned
    try:
        plugin.require(point)
        rules.require(plugin, point_of(point))
    except (DoesNotImplement, HandlerError, ActivationVetoed) as failure:  # that of a handler is noted already
        return failure
    return None


def _note(table: PluginTable[Any], name: str, error: Exception) -> None:
    if table.record_failure(name, error):
        logger.warning("plugin %r is left out: %s", name, error)


def _late(rules: DispatchRules[Any], name: str, plugin: PluginBase[Any] | None) -> ExtframeError:
    if plugin is None:
        return CallTimeout("there was no time left for it", plugin=name, phase="handshake")
    return rules.late(plugin) if plugin.is_made else plugin.late()
