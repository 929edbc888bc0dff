"""``extframe watch``: watch plugins appear, fail and disappear. Calls no handler."""

from __future__ import annotations

import logging
import queue
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import asdict, dataclass, field
from datetime import datetime, timezone
from typing import TYPE_CHECKING

import click

from ..errors import ExtframeError
from ..text import text_of
from .exit_codes import root_cause
from .location import Location
from .options import engine_option, output_formats, registry_options, timeout_option, verbose_option
from .output import check_reader, note, shortened, write_json_line, write_line

if TYPE_CHECKING:
    from ..host.plugin import Plugin

EPILOG = """\b
Examples:
  extframe watch
  extframe watch --dir /run/myhost/plugins
  extframe watch --engine
  extframe watch -o json | jq -r 'select(.state == "failed").name'
"""


@dataclass(frozen=True)
class LifecycleEvent:
    """A change of a plugin's state: active, failed, lost or removed."""

    name: str
    state: str
    implements: list[str] | None = None
    reason: str | None = None
    when: datetime = field(default_factory=lambda: datetime.now(timezone.utc))


Events = queue.SimpleQueue[LifecycleEvent]


def lifecycle_listener(events: Events) -> object:
    """Return a handler that puts lifecycle events in a queue, so that the thread that receives Ctrl-C writes them."""
    from ..handlers.hooks import hookimpl  # imports pluggy

    class LifecycleListener:
        @hookimpl
        def plugin_activated(self, name: str, plugin: Plugin) -> None:
            events.put(LifecycleEvent(name, "active", implements=list(plugin.manifest.implements)))

        @hookimpl
        def plugin_failed(self, name: str, error: ExtframeError) -> None:
            why = root_cause(error)
            reason = why.message if isinstance(why, ExtframeError) else text_of(why)
            events.put(LifecycleEvent(name, "failed", reason=reason))

        @hookimpl
        def plugin_lost(self, name: str, reason: str) -> None:
            events.put(LifecycleEvent(name, "lost", reason=reason))

        @hookimpl
        def plugin_removed(self, name: str) -> None:
            events.put(LifecycleEvent(name, "removed"))

    return LifecycleListener()


@click.command(epilog=EPILOG)
@engine_option
@registry_options
@timeout_option(10.0, "Deadline for each handshake.")
@output_formats("table", "json")
@verbose_option
def watch(location: Location, timeout: float, output: str) -> None:
    """Watch plugins appear, fail and disappear.

    Prints one line for each plugin that is active, is restarted, fails or is removed, until Ctrl-C. A plugin that
    failed is activated again when its file changes, and otherwise with a backoff of up to 10 s; a line is printed
    only when the outcome changes.
    """
    from ..host.manager import PluginManager

    events: Events = queue.SimpleQueue()
    registry = location.source
    write = _write_json if output == "json" else _write_line
    with _without_log_of_failures(), PluginManager(registry, groups=()) as manager:
        manager.register(lifecycle_listener(events))
        with manager.watch(timeout=timeout):
            note(f"watching {_place(location)}; press Ctrl-C to stop")
            while True:
                write(_next(events))


def _place(location: Location) -> str:
    if location.engine is not None:
        return f"Docker's engine at {location.engine}"
    return ", ".join(dict.fromkeys(location.registry.directories))


def _next(events: Events) -> LifecycleEvent:
    """Wait for an event, as long as stdout has a reader: ``grep -m1`` exits after a match."""
    while True:
        with suppress(queue.Empty):
            return events.get(timeout=1.0)
        check_reader()


@contextmanager
def _without_log_of_failures() -> Iterator[None]:
    """Suppress the log lines of failures, which are printed as events. ``-v`` keeps them."""
    logger = logging.getLogger("extframe.host.watch_plan")
    before = logger.level
    if not logger.isEnabledFor(logging.DEBUG):
        logger.setLevel(logging.ERROR)
    try:
        yield
    finally:
        logger.setLevel(before)


def _write_line(event: LifecycleEvent) -> None:
    details = ", ".join(event.implements or ()) or shortened(event.reason or "")
    write_line([event.when.astimezone().strftime("%H:%M:%S"), event.name, event.state, details], widths=(8, 16, 7))


def _write_json(event: LifecycleEvent) -> None:
    write_json_line(asdict(event) | {"when": event.when.isoformat()})
