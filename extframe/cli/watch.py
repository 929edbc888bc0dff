"""``extframe watch``: what becomes of plugins, as it happens. Calls no handler."""

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
from .exits import cause
from .options import output_option, registry_of, registry_options, timeout_option, verbose_option
from .output import check_reader, note, shortened, write_json_line, write_line

if TYPE_CHECKING:
    from ..host.plugin import Plugin

EPILOG = """\b
Examples:
  extframe watch
  extframe watch --dir /run/myhost/plugins
  extframe watch -o json | jq -r 'select(.state == "failed").name'
"""


@dataclass(frozen=True)
class Change:
    """What became of a plugin: active, failed, lost or removed."""

    name: str
    state: str
    implements: list[str] | None = None
    reason: str | None = None
    when: datetime = field(default_factory=lambda: datetime.now(timezone.utc))


def listener(changes: queue.SimpleQueue[Change]) -> object:
    """Return a handler that puts what it is told in a queue: output is written by the thread that Ctrl-C reaches."""
    from ..handlers.hooks import hookimpl  # pluggy is for those who watch

    class Listener:
        @hookimpl
        def plugin_activated(self, name: str, plugin: Plugin) -> None:
            changes.put(Change(name, "active", implements=list(plugin.manifest.implements)))

        @hookimpl
        def plugin_failed(self, name: str, error: ExtframeError) -> None:
            why = cause(error)
            changes.put(Change(name, "failed", reason=why.message if isinstance(why, ExtframeError) else text_of(why)))

        @hookimpl
        def plugin_lost(self, name: str, reason: str) -> None:
            changes.put(Change(name, "lost", reason=reason))

        @hookimpl
        def plugin_removed(self, name: str) -> None:
            changes.put(Change(name, "removed"))

    return Listener()


@click.command(epilog=EPILOG)
@registry_options
@timeout_option(10.0, "How long a plugin may take to say what it implements.")
@output_option
@verbose_option
def watch(directory: str | None, app: str | None, timeout: float, output: str) -> None:
    """Tell what becomes of plugins, as it happens.

    One line for each plugin that is there, that comes, is restarted, fails or goes, until Ctrl-C. A plugin that
    fails is tried again: at once when its file changes, else after pauses that grow to 10 s. That is told only when
    something else comes of it.
    """
    from ..host.manager import PluginManager

    changes: queue.SimpleQueue[Change] = queue.SimpleQueue()
    registry = registry_of(directory, app)
    write = _write_json if output == "json" else _write_line
    with _without_log_of_failures(), PluginManager(registry, groups=()) as manager:
        manager.register(listener(changes))
        with manager.watch(timeout=timeout):
            note(f"watching {', '.join(dict.fromkeys(registry.directories))}; Ctrl-C ends it")
            while True:
                write(_next(changes))


def _next(changes: queue.SimpleQueue[Change]) -> Change:
    """Wait for a change, for as long as somebody reads what is written: ``grep -m1`` may have had enough."""
    while True:
        with suppress(queue.Empty):
            return changes.get(timeout=1.0)
        check_reader()


@contextmanager
def _without_log_of_failures() -> Iterator[None]:
    """Keep a failure from being told twice; ``-v`` shows the log."""
    logger = logging.getLogger("extframe.host.watch")
    before = logger.level
    if not logger.isEnabledFor(logging.DEBUG):
        logger.setLevel(logging.ERROR)
    try:
        yield
    finally:
        logger.setLevel(before)


def _write_line(change: Change) -> None:
    words = ", ".join(change.implements or ()) or shortened(change.reason or "")
    write_line([change.when.astimezone().strftime("%H:%M:%S"), change.name, change.state, words], widths=(8, 16, 7))


def _write_json(change: Change) -> None:
    write_json_line(asdict(change) | {"when": change.when.isoformat()})
