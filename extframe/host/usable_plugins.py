"""Which plugins ``get_all`` returns, and what is noted about the others. Decides; never waits."""

from __future__ import annotations

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
from .pauses import Pauses
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


class Retries:
    """Which plugins are tried again, and when, while ``get_all`` waits for them. Times are ``time.monotonic()`` values.

    Args:
        give_up: until when.
    """

    def __init__(self, give_up: float) -> None:
        self.give_up = give_up
        self._pauses: dict[str, Pauses] = {}

    def pause_after(self, name: str, failure: Exception, now: float) -> float | None:
        """Return the pause before a plugin is tried again; None if it is not."""
        if not isinstance(failure, PluginNotFound | SpecError | ActivationError):
            return None
        return self._pauses.setdefault(name, Pauses()).after(failure, self.give_up - now)


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
