"""The limits of ``serve`` as options of ``extframe serve``, from one table. Decides no default."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from typing import Any, TypeVar

import click

from .output import printable

Command = TypeVar("Command", bound=Callable[..., Any])
_UNITS = {"": 1, "KIB": 1 << 10, "MIB": 1 << 20, "GIB": 1 << 30}


def seconds(text: str) -> float:
    """Return a number of seconds greater than 0.

    Raises:
        ValueError: it is something else; the message says what was expected.
    """
    try:
        number = float(text)
    except ValueError:
        number = math.nan
    if not 0 < number < math.inf:
        raise ValueError("expected seconds, more than 0")
    return number


def size(text: str) -> int:
    """Return a number of bytes greater than 0, given with or without a unit: ``16MiB``.

    Raises:
        ValueError: it is something else; the message says what was expected.
    """
    number = text.rstrip("KkMmGgIiBb")
    unit = _UNITS.get(text[len(number) :].upper())
    if unit is None or not _is_positive(number):
        raise ValueError("expected bytes, such as 65536, 64KiB or 16MiB")
    return int(number) * unit


def count(text: str) -> int:
    """Return a whole number, 1 or more.

    Raises:
        ValueError: it is something else; the message says what was expected.
    """
    if not _is_positive(text):
        raise ValueError("expected a whole number, 1 or more")
    return int(text)


def _is_positive(text: str) -> bool:
    return text.isascii() and text.isdecimal() and int(text) > 0


LIMITS: Mapping[str, tuple[Callable[[str], float], str, str]] = {
    "head_limit": (size, "SIZE", "The largest request head, 64KiB by default."),
    "limit": (size, "SIZE", "The largest request body, 16MiB by default."),
    "request_timeout": (seconds, "SECONDS", "The time for receiving a whole request, 30 by default."),
    "keep_alive": (seconds, "SECONDS", "How long a connection may be idle, 3600 by default."),
    "connections": (count, "N", "Connections at a time: by default 3/4 of the descriptor limit, at most 1024."),
    "buffer": (size, "SIZE", "Memory for all requests and responses together, 24MiB by default."),
    "write_timeout": (seconds, "SECONDS", "How long a client may read nothing of a response, 30 by default."),
    "threads": (count, "N", "Methods that run at a time, unless they are async: 64 by default."),
    "queue_timeout": (seconds, "SECONDS", "How long a call waits for a thread, 30 by default."),
    "drain": (seconds, "SECONDS", "How long shutdown waits for calls in flight, 5 by default."),
}
"""The arguments of ``serve`` that limit what clients can use: the reader, placeholder and help of each option."""


def _reading(read: Callable[[str], float]) -> Callable[[click.Context, click.Parameter, str | None], float | None]:
    def callback(ctx: click.Context, parameter: click.Parameter, text: str | None) -> float | None:
        try:
            return None if text is None else read(text)
        except ValueError as wrong:
            raise click.BadParameter(f"'{printable(text or '')}' is invalid: {wrong}.") from None

    return callback


def limit_options(command: Command) -> Command:
    """Add the options; each is None where it is not given."""
    for name in reversed(list(LIMITS)):
        read, placeholder, meaning = LIMITS[name]
        option = "--" + name.replace("_", "-")
        command = click.option(option, name, metavar=placeholder, callback=_reading(read), help=meaning)(command)
    return command
