"""List the installed handlers with their hooks and failures. Prints nothing, and opens no connection."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING

from ..text import text_of

if TYPE_CHECKING:
    from ..handlers.entry_points import EntryPoint
    from ..host.manager import PluginManager


@dataclass(frozen=True)
class InstalledHandler:
    """One entry point. Its state is loaded, failed, or blocked by the environment."""

    name: str
    package: str | None
    version: str | None
    state: str
    hooks: list[str]
    reason: str | None = None
    seconds: float | None = None


def load_deferred(manager: PluginManager) -> None:
    """Import the handlers, too, that a host imports when their hook is first needed."""
    from ..handlers.entry_points import GROUP, entry_points

    groups = {entry.group for entry in entry_points((GROUP,), hooks=True)} - {GROUP}
    if groups:
        manager.load_handlers(*sorted(groups))


def installed_handlers(manager: PluginManager) -> Iterator[InstalledHandler]:
    """Yield each installed entry point of the groups, as ``manager`` loaded it."""
    from ..handlers.entry_points import GROUP, entry_points

    failed = {(failure.what, failure.distribution, failure.version): failure for failure in manager.failures()}
    times = manager.import_times()
    for entry_point in entry_points((GROUP,), hooks=True):
        name, (package, version) = entry_point.name, entry_point.origin
        failure = failed.get((failure_subject(entry_point), package, version))
        handler = manager.get_plugin(name) if failure is None else None
        hooks = sorted(caller.name for caller in manager.get_hookcallers(handler) or ()) if handler is not None else []
        if failure is not None:
            yield InstalledHandler(
                name, package, version, "failed", hooks, error_text(failure.exception), times.get(name)
            )
        else:
            refusal = manager.refusal(entry_point)
            seconds = None if refusal else times.get(name)
            yield InstalledHandler(name, package, version, "blocked" if refusal else "loaded", hooks, refusal, seconds)


def failure_subject(entry_point: EntryPoint) -> str:
    """Return how ``manager.failures()`` names an entry point that failed."""
    return entry_point.failure(LookupError()).what


def error_text(error: BaseException) -> str:
    """Return an error's type and text on one line, also where its ``__str__`` raises."""
    text = " ".join(text_of(error).split())
    return f"{type(error).__name__}: {text}" if text else type(error).__name__
