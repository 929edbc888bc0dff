"""Ask every plugin what it implements, side by side, as a host does that has no handlers. Judges no answer."""

from __future__ import annotations

import contextlib
import sys
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

from ...concurrency import deadlines
from ...concurrency.threads import run_concurrently
from ...errors import CallTimeout, ExtframeError, PluginNotFound
from ...host.manager import PluginManager
from ..findings import AT_ONCE, GRACE
from ..handlers import GROUP

if TYPE_CHECKING:
    from ...concurrency.threads import Outcome
    from ...protocol import PluginSpec
    from ...registry.local import Registry

Points = tuple[str, ...]


@dataclass(frozen=True)
class Visit:
    """What came of asking one plugin.

    Args:
        spec: the plugin.
        implements: its manifest.
        faults: why entries of the manifest reach no hook.
        error: why there is no manifest.
    """

    spec: PluginSpec
    implements: Points = ()
    faults: tuple[BaseException, ...] = ()
    error: ExtframeError | None = None


def visit_all(registry: Registry, specs: Sequence[PluginSpec], timeout: float) -> list[Visit]:
    """Return a visit to each plugin, without those that went away meanwhile. One that hangs costs the others nothing.

    Args:
        registry: finds them again.
        specs: the plugins.
        timeout: seconds for each handshake.
    """
    with _manager_without_handlers(registry) as manager:
        visits = [
            visit
            for start in range(0, len(specs), AT_ONCE)
            for visit in _visits(manager, specs[start : start + AT_ONCE], timeout)
        ]
        return [replace(each, faults=_faults(manager, each.spec.name)) for each in visits]


def _manager_without_handlers(registry: Registry) -> PluginManager:
    """Return a manager that knows all hooks, and has nobody to call: looking on must not set anything in motion."""
    with contextlib.redirect_stdout(sys.stderr):
        manager = PluginManager(registry, groups=(GROUP,))
    for handler in manager.get_plugins():
        manager.unregister(handler)
    return manager


def _visits(manager: PluginManager, specs: Sequence[PluginSpec], timeout: float) -> Iterator[Visit]:
    deadline = deadlines.after(timeout)

    def ask(name: str) -> Points:
        return manager.get(name, timeout=deadlines.left(deadline)).manifest.implements

    outcomes = run_concurrently(ask, [spec.name for spec in specs], deadline + GRACE, "extframe doctor")
    for spec in specs:
        with contextlib.suppress(PluginNotFound):
            yield _visit(spec, outcomes.get(spec.name))


def _visit(spec: PluginSpec, outcome: Outcome[Points] | None) -> Visit:
    if outcome is None:  # it waits for what knows no deadlines, such as the resolver
        return Visit(spec, error=CallTimeout("the plugin could not be reached in time", plugin=spec.name))
    try:
        return Visit(spec, outcome())
    except PluginNotFound:
        raise
    except ExtframeError as error:
        return Visit(spec, error=error)


def _faults(manager: PluginManager, name: str) -> tuple[BaseException, ...]:
    manifest = f"manifest of plugin {name!r}"
    return tuple(failure.exception for failure in manager.failures() if failure.what == manifest)
