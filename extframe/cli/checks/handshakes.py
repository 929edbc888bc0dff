"""Activate all plugins concurrently, as a host without handlers does. Draws no conclusions."""

from __future__ import annotations

import contextlib
import sys
import warnings
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

from ...concurrency import deadlines
from ...concurrency.threads import run_concurrently
from ...errors import CallTimeout, ExtframeError, PluginNotFound
from ...handlers.entry_points import GROUP
from ...host.manager import PluginManager
from ..discovery import CONCURRENCY, GRACE
from ..installed_handlers import load_deferred

if TYPE_CHECKING:
    from ...concurrency.threads import Outcome
    from ...protocol import PluginSpec
    from ...registry.local import Registry

ExtensionPoints = tuple[str, ...]


@dataclass(frozen=True)
class Handshake:
    """The outcome of one handshake.

    Args:
        spec: the plugin.
        implements: its manifest.
        faults: why entries of the manifest have no hook.
        error: why there is no manifest.
    """

    spec: PluginSpec
    implements: ExtensionPoints = ()
    faults: tuple[BaseException, ...] = ()
    error: ExtframeError | None = None


def shake_hands_with_all(registry: Registry, specs: Sequence[PluginSpec], timeout: float) -> list[Handshake]:
    """Return the handshakes with plugins, except those that were removed. A hanging plugin does not delay others.

    Args:
        registry: where the plugins were found.
        specs: the plugins.
        timeout: seconds for each handshake.
    """
    with _manager_without_handlers(registry) as manager:
        handshakes = [
            handshake
            for start in range(0, len(specs), CONCURRENCY)
            for handshake in _shake_hands(manager, specs[start : start + CONCURRENCY], timeout)
        ]
        return [replace(each, faults=_faults(manager, each.spec.name)) for each in handshakes]


def manager_with_handlers(registry: Registry) -> PluginManager:
    """Return a manager with the installed handlers. What packages print goes to stderr; warnings are not shown."""
    with contextlib.redirect_stdout(sys.stderr), warnings.catch_warnings():
        warnings.simplefilter("ignore")  # the doctor's own output has these
        manager = PluginManager(registry, groups=(GROUP,))
        load_deferred(manager)
        return manager


def _manager_without_handlers(registry: Registry) -> PluginManager:
    """Return a manager that has all hooks and no handler, so that a check has no side effects."""
    manager = manager_with_handlers(registry)
    for handler in manager.get_plugins():
        manager.unregister(handler)
    return manager


def _shake_hands(manager: PluginManager, specs: Sequence[PluginSpec], timeout: float) -> Iterator[Handshake]:
    deadline = deadlines.after(timeout)

    def activate(name: str) -> ExtensionPoints:
        return manager.get(name, timeout=deadlines.left(deadline)).manifest.implements

    outcomes = run_concurrently(activate, [spec.name for spec in specs], deadline + GRACE, "extframe doctor")
    for spec in specs:
        with contextlib.suppress(PluginNotFound):
            yield _handshake(spec, outcomes.get(spec.name))


def _handshake(spec: PluginSpec, outcome: Outcome[ExtensionPoints] | None) -> Handshake:
    if outcome is None:  # blocked in something without a deadline, such as the resolver
        return Handshake(spec, error=CallTimeout("timed out connecting to the plugin", plugin=spec.name))
    try:
        return Handshake(spec, outcome())
    except PluginNotFound:
        raise
    except ExtframeError as error:
        return Handshake(spec, error=error)


def _faults(manager: PluginManager, name: str) -> tuple[BaseException, ...]:
    manifest = f"manifest of plugin {name!r}"
    return tuple(failure.exception for failure in manager.failures() if failure.what == manifest)
