"""``extframe logs``: print what a plugin wrote that a running host started."""

from __future__ import annotations

import os
import time
from collections import deque
from collections.abc import Iterator
from contextlib import suppress
from typing import BinaryIO

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
    with _open_log(path) as file:
        older = _older_lines(path, file.fileno())
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
        for file in (path, f"{path}.1"):  # a file that became full is renamed before the next is created
            if os.access(file, os.R_OK):
                return path
            if os.path.exists(file):
                raise ExtframeError(f"{file}: permission denied; run as the user of the host", plugin=name)
    raise PluginNotFound(f"no running host has started plugin {name!r}: looked for {name}.log in {base}", plugin=name)


def _open_log(path: str) -> BinaryIO:
    """Open the latest file of a log: the older one while the next has not been created.

    Raises:
        PluginNotFound: the host has ended meanwhile.
    """
    for _ in range(2):  # the file that is full can be renamed between the two
        for each in (path, f"{path}.1"):
            with suppress(FileNotFoundError):
                return open(each, "rb")
    raise PluginNotFound(f"the host that wrote {path} has ended")


def _older_lines(path: str, descriptor: int) -> list[bytes]:
    try:
        with open(f"{path}.1", "rb") as file:
            is_same = os.path.sameopenfile(file.fileno(), descriptor)  # it became full after it was opened
            return [] if is_same else file.read().splitlines()
    except FileNotFoundError:
        return []


def _new_lines(path: str, descriptor: int) -> Iterator[bytes]:
    """Yield lines that are appended, also to the files that follow when this one is full, until the host has ended."""
    descriptor, follower, rest = os.dup(descriptor), None, b""
    try:
        while True:
            # Before reading: nothing is appended to this file after either.
            follower, has_ended = _follower(path, descriptor), not os.path.isdir(os.path.dirname(path))
            while data := os.read(descriptor, 65536):
                *lines, rest = (rest + data).split(b"\n")
                yield from lines
            if follower is not None:
                os.close(descriptor)
                descriptor, follower = follower, None
            elif has_ended:
                return
            else:
                check_reader()
                time.sleep(POLL)
    finally:
        for each in (descriptor, follower):
            if each is not None:
                os.close(each)


def _follower(path: str, descriptor: int) -> int | None:
    """Open the file that follows an open one; None if it was not created yet."""
    for each in (path, f"{path}.1"):
        with suppress(FileNotFoundError):
            if os.path.samestat(os.stat(each), os.fstat(descriptor)):
                return None if each == path else _opened(path)
    older = _opened(f"{path}.1")  # the open one was replaced twice
    return _opened(path) if older is None else older


def _opened(path: str) -> int | None:
    with suppress(FileNotFoundError):
        return os.open(path, os.O_RDONLY)
    return None
