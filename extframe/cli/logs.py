"""``extframe logs``: print what a plugin wrote that a running host started."""

from __future__ import annotations

import os
import time
from collections import deque
from collections.abc import Iterator

import click

from ..errors import ExtframeError, PluginNotFound
from .location import Location
from .options import location_options
from .output import check_reader, write_text_line

POLL = 0.2  # seconds between two looks for new lines

EPILOG = """\b
Examples:
  extframe logs photos --app myhost
  extframe logs photos --app myhost --follow --tail 20
"""


@click.command(epilog=EPILOG)
@click.argument("name", metavar="NAME")
@location_options(
    "Hosts that use Supervisor(DIR).",
    "Hosts with the name NAME, whose sockets and logs are in /run/NAME/supervisor and so on.",
)
@click.option("-f", "--follow", is_flag=True, help="Print new lines as they are written, until Ctrl-C.")
@click.option("-n", "--tail", type=click.IntRange(0), metavar="LINES", help="Print the last LINES lines only.")
def logs(location: Location, name: str, follow: bool, tail: int | None) -> None:
    """Print the last lines that plugin NAME wrote to stdout and stderr, with the time.

    Of several running hosts, the one that started last and has such a plugin is used. At most 1 MiB is kept, until
    the host ends.
    """
    path = _find_log(location, name)
    with open(path, "rb") as file:
        older = _older_lines(path)
        for line in deque([*older, *file.read().splitlines()], maxlen=tail):
            write_text_line(line)
        for line in _new_lines(path, file.fileno()) if follow else ():
            write_text_line(line)


def _find_log(location: Location, name: str) -> str:
    from ..protocol import check_name
    from ..supervisor.run_directory import live_directories

    check_name(name)
    base = location.directories.run
    for directory in live_directories(base, location.directory):
        path = os.path.join(directory, f"{name}.log")
        if os.access(path, os.R_OK):
            return path
        if os.path.exists(path):
            raise ExtframeError(f"{path}: permission denied; run as the user of the host", plugin=name)
    raise PluginNotFound(f"no running host has started plugin {name!r}: looked for {name}.log in {base}", plugin=name)


def _older_lines(path: str) -> list[bytes]:
    try:
        with open(f"{path}.1", "rb") as file:
            return file.read().splitlines()
    except FileNotFoundError:
        return []


def _new_lines(path: str, descriptor: int) -> Iterator[bytes]:
    """Yield lines that are appended, also to the file that follows when this one is full, until the host has ended."""
    descriptor = os.dup(descriptor)
    rest = b""
    try:
        while os.path.isdir(os.path.dirname(path)):
            has_follower = _is_replaced(path, descriptor)  # before reading: nothing is appended to this one after it
            while data := os.read(descriptor, 65536):
                *lines, rest = (rest + data).split(b"\n")
                yield from lines
            if has_follower:
                os.close(descriptor)
                descriptor = os.open(path, os.O_RDONLY)
            else:
                check_reader()
                time.sleep(POLL)
    finally:
        os.close(descriptor)


def _is_replaced(path: str, descriptor: int) -> bool:
    try:
        return not os.path.samestat(os.stat(path), os.fstat(descriptor))
    except FileNotFoundError:
        return False
