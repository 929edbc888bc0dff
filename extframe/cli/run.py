"""``extframe run``: start the plugins of a host in the foreground, without the host."""

from __future__ import annotations

import logging
import signal
from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING

import click

from ..concurrency.event import Event
from ..errors import ExtframeError
from .location import Location
from .options import location_options, verbose_option
from .output import LinePrefix, check_reader, note

if TYPE_CHECKING:
    from ..supervisor.supervisor import Supervisor

INTERVAL = 1.0  # seconds between two looks at the files

EPILOG = """\b
Examples:
  extframe run --app myhost
  extframe run --dir ./plugins.d
"""


class _Notes(logging.Handler):
    def emit(self, record: logging.LogRecord) -> None:
        note(record.getMessage())


@contextmanager
def _events_as_notes() -> Iterator[None]:
    """Write what the supervisor logs to stderr: starts, exits, restarts."""
    logger, handler = logging.getLogger("extframe.supervisor"), _Notes()
    level, propagate = logger.level, logger.propagate
    logger.addHandler(handler)
    logger.setLevel(logging.INFO)
    logger.propagate = False
    try:
        yield
    finally:
        logger.removeHandler(handler)
        logger.setLevel(level)
        logger.propagate = propagate


@click.command(epilog=EPILOG)
@click.option("--allow-unsafe", is_flag=True, help="Accept files and directories that other users can write.")
@location_options(
    "Start the plugins that are configured in DIR.",
    "Start the plugins of the host NAME: /etc/NAME/plugins.d and so on.",
)
@verbose_option
def run(location: Location) -> None:
    """Start the plugins of a host in the foreground, for development.

    Starts every NAME.toml, also those that start on demand, and prints what they write, each line after the plugin's
    name. Starts, exits and restarts are reported on stderr. A file that changes restarts its plugin. Ctrl-C or SIGTERM
    stops all of them.
    """
    stop = Event()  # not threading.Event, whose lock the signal handler would wait for while `wait` holds it
    signal.signal(signal.SIGTERM, lambda *_: stop.set())
    prefix = LinePrefix()
    with _events_as_notes(), location.supervisor(prefix.write) as supervisor:
        known: dict[str, str] = {}
        note(f"running the plugins in {', '.join(supervisor.directories)}; press Ctrl-C to stop")
        while True:
            _start_new(supervisor, known, prefix)
            if stop.wait(INTERVAL):
                return
            check_reader()


def _start_new(supervisor: Supervisor, known: dict[str, str], prefix: LinePrefix) -> None:
    """Start the plugins that are not in ``known``, or there with the error for which they were not started."""
    names = supervisor.scan()
    for name in known.keys() - set(names):
        del known[name]
    prefix.widen(names)
    for name in names:
        if known.get(name) != "":
            known[name] = _start(supervisor, name, known.get(name, ""))


def _start(supervisor: Supervisor, name: str, last_error: str) -> str:
    """Start a plugin, and return the error if that is not possible: its file may be only half written."""
    try:
        supervisor.start(name)
    except ExtframeError as error:
        if str(error) != last_error:
            note(str(error))
        return str(error)
    try:
        note(f"plugin {name!r} listens at {supervisor.find(name).address}")
    except ExtframeError as error:
        note(str(error))
    return ""
