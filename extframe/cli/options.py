"""Options that several commands share, and the log on stderr. Opens no connection."""

from __future__ import annotations

import functools
import logging
import math
import os
import traceback
from collections.abc import Callable
from typing import Any, TypeVar

import click

from ..errors import ExtframeError, SpecError
from .hints import remember_location, remember_timeout
from .location import OPTIONS, Location, is_address, names_at
from .output import printable

Command = TypeVar("Command", bound=Callable[..., Any])

# --- where plugins are --------------------------------------------------------------------------------


def location_options(dir_help: str, app_help: str) -> Callable[[Command], Command]:
    """Add ``--dir`` and ``--app``, which reach the command as ``location``, a `Location`."""

    def add(command: Command) -> Command:
        @functools.wraps(command)
        def with_location(*args: Any, **options: Any) -> Any:
            ctx = click.get_current_context()
            location = Location.of(ctx)
            remember_location(ctx, location.options)
            others = {key: value for key, value in options.items() if key not in (*OPTIONS, "allow_unsafe")}
            return command(*args, location=location, **others)

        directory = click.option(
            "--dir",
            "directory",
            metavar="DIR",
            envvar="EXTFRAME_DIR",
            show_envvar=True,
            type=click.Path(file_okay=False, readable=False),  # the registry reports what this user cannot read
            help=dir_help,
        )
        app = click.option("--app", metavar="NAME", envvar="EXTFRAME_APP", show_envvar=True, help=app_help)
        return directory(app(with_location))  # type: ignore[return-value] # click's decorators return the function

    return add


def registry_options(command: Command) -> Command:
    """Add ``--dir``, ``--app`` and ``--allow-unsafe``, which reach the command as ``location``, a `Location`."""
    unsafe = click.option(
        "--allow-unsafe", is_flag=True, help="Accept sockets, spec files and directories that other users can write."
    )
    add_location = location_options(
        "Look for sockets and spec files only in DIR, instead of in Docker's directories.",
        "Look in the directories of the host NAME: /run/NAME/plugins and so on.",
    )
    return unsafe(add_location(command))


def engine_option(command: Command) -> Command:
    """Add ``--engine`` to `registry_options`."""
    return click.option(
        "--engine",
        metavar="[ADDRESS]",
        is_flag=False,
        flag_value="",
        callback=_engine_address,
        help="Use the managed plugins of Docker's engine at ADDRESS; if omitted, at DOCKER_HOST or "
        "unix:///var/run/docker.sock.",
    )(command)


def _engine_address(ctx: click.Context, parameter: click.Parameter, address: str | None) -> str | None:
    if address is None:
        return None
    from ..protocol import Address
    from ..registry.docker_engine import DEFAULT_ENGINE

    try:
        return Address.parse(address or os.environ.get("DOCKER_HOST") or DEFAULT_ENGINE).text
    except SpecError as wrong:
        hint = "" if not address or is_address(address) else "; without an address, write --engine last"
        raise click.BadParameter(printable(f"{wrong}{hint}")) from wrong


def complete_name(ctx: click.Context, parameter: click.Parameter, incomplete: str) -> list[str]:
    """Return the plugins whose names start with ``incomplete``, at the location that precedes it."""
    logging.getLogger("extframe").addHandler(logging.NullHandler())  # without a handler, warnings go to stderr
    try:
        names = names_at(Location.of(ctx))
    except (ExtframeError, click.UsageError):  # a message would garble the line that is being edited
        return []
    return [name for name in names if name.startswith(incomplete) and name.isprintable()]


name_argument = click.argument("name", metavar="NAME", shell_complete=complete_name)

# --- timeout and output format ------------------------------------------------------------------------


def _seconds(text: str) -> float:
    """Parse a number of seconds greater than 0, or ``inf``."""
    try:
        seconds = float(text)
    except ValueError:
        seconds = math.nan
    if not seconds > 0:
        raise click.BadParameter(f"{text!r} is invalid: expected a number of seconds greater than 0.")
    return seconds


def timeout_option(default: float, meaning: str) -> Callable[[Command], Command]:
    """Add ``--timeout``."""

    def parse(ctx: click.Context, parameter: click.Parameter, value: float) -> float:
        remember_timeout(ctx, value)
        return value

    return click.option(
        "--timeout",
        metavar="SECONDS",
        type=_seconds,
        default=f"{default:g}",
        show_default=True,
        callback=parse,
        help=meaning,
    )


def output_formats(*formats: str) -> Callable[[Command], Command]:
    """Add ``--output`` with these formats, of which the first is the default."""
    return click.option(
        "-o",
        "--output",
        type=click.Choice(formats),
        default=formats[0],
        show_default=True,
        help="The output format.",
    )


output_option = output_formats("table", "json", "yaml")

# --- the log ------------------------------------------------------------------------------------------


class _LogFormatter(logging.Formatter):
    """Formats warnings like all other messages; with ``-v``, adds level, logger and tracebacks."""

    def __init__(self, verbose: bool) -> None:
        super().__init__()
        self._verbose = verbose

    def format(self, record: logging.LogRecord) -> str:
        message = printable(record.getMessage())
        if not self._verbose:
            return f"extframe: {message}"
        lines = traceback.format_exception(*record.exc_info) if record.exc_info else []
        trace = "".join(lines).rstrip("\n").splitlines()
        head = f"{record.levelname.lower()}: {record.name}: {message}"
        return "\n".join([head, *(f"  {printable(line)}" for line in trace)])


def _configure_log(ctx: click.Context, parameter: click.Parameter, verbose: bool) -> None:
    logger = logging.getLogger("extframe")
    before = logger.level
    handler = logging.StreamHandler()
    handler.setFormatter(_LogFormatter(verbose))
    logger.addHandler(handler)
    logger.setLevel(logging.DEBUG if verbose else logging.WARNING)

    @ctx.call_on_close
    def restore_log() -> None:
        logger.setLevel(before)
        logger.removeHandler(handler)


verbose_option = click.option(
    "-v",
    "--verbose",
    is_flag=True,
    expose_value=False,
    is_eager=True,
    callback=_configure_log,
    help="Log to stderr, with tracebacks.",
)
