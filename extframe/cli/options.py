"""The options that commands share, the completion of plugin names, and the log on stderr. Contacts nobody."""

from __future__ import annotations

import logging
import math
import traceback
from collections.abc import Callable
from typing import TYPE_CHECKING, Any, TypeVar

import click

from ..errors import ExtframeError, PluginNotFound, SpecError
from .output import printable

if TYPE_CHECKING:
    from ..protocol import PluginSpec
    from ..registry.local import LocalRegistry

Command = TypeVar("Command", bound=Callable[..., Any])

# --- where plugins are --------------------------------------------------------------------------------


def registry_options(command: Command) -> Command:
    """Add ``--dir`` and ``--app``, which `registry_of` takes."""
    directory = click.option(
        "--dir",
        "directory",
        metavar="DIR",
        type=click.Path(file_okay=False, readable=False),  # whether it can be read is told by those who read it
        help="Look for sockets and spec files in DIR alone, instead of in Docker's directories.",
    )
    app = click.option(
        "--app", metavar="NAME", help="Look in the directories of the host program NAME: /run/NAME/plugins and so on."
    )
    return directory(app(command))


def registry_of(directory: str | None, app: str | None) -> LocalRegistry:
    """Return the registry that ``--dir`` and ``--app`` ask for."""
    from ..registry.local import LocalRegistry

    if directory is not None and app is not None:
        raise click.UsageError("--dir and --app exclude each other: give one of them.")
    if directory is not None:
        return LocalRegistry(directory, [directory])
    if app is None:
        return LocalRegistry()
    try:
        return LocalRegistry.for_app(app)
    except SpecError as wrong:
        raise click.BadParameter(printable(str(wrong)), param_hint="'--app'") from wrong


def find(registry: LocalRegistry, name: str) -> PluginSpec:
    """Return where a plugin listens.

    Raises:
        PluginNotFound: there is none; with the name that the user may have meant.
        SpecError: its file cannot be used.
        click.BadParameter: this can be nobody's name.
    """
    from ..protocol import check_name

    try:
        check_name(name)
    except SpecError as wrong:
        raise click.BadParameter(printable(str(wrong)), param_hint="'NAME'") from wrong
    try:
        return registry.find(name)
    except PluginNotFound as missing:
        from difflib import get_close_matches

        for close in get_close_matches(name, registry.scan(), n=1):
            missing.message += f"; did you mean {close!r}?"
        raise


def complete_name(ctx: click.Context, parameter: click.Parameter, incomplete: str) -> list[str]:
    """Return the names of plugins that begin with what was typed, in the directories that were given before it."""
    logging.getLogger("extframe").addHandler(logging.NullHandler())  # else warnings go to stderr by themselves
    try:
        names = registry_of(ctx.params.get("directory"), ctx.params.get("app")).scan()
    except (ExtframeError, click.UsageError):  # there is no place for a message in the middle of a line
        return []
    return [name for name in names if name.startswith(incomplete)]


name_argument = click.argument("name", metavar="NAME", shell_complete=complete_name)

# --- how long, and in which form ----------------------------------------------------------------------


def _seconds(text: str) -> float:
    """Return a number of seconds, more than 0; ``inf`` for no end."""
    try:
        seconds = float(text)
    except ValueError:
        seconds = math.nan
    if not seconds > 0:
        raise click.BadParameter(f"{text!r} is no number of seconds; expected one that is more than 0.")
    return seconds


def timeout_option(default: float, meaning: str) -> Callable[[Command], Command]:
    """Add ``--timeout``."""
    return click.option(
        "--timeout", metavar="SECONDS", type=_seconds, default=f"{default:g}", show_default=True, help=meaning
    )


output_option = click.option(
    "-o",
    "--output",
    type=click.Choice(["table", "json"]),
    default="table",
    show_default=True,
    help="A table for people, or JSON for programs.",
)

# --- the log ------------------------------------------------------------------------------------------


class _Line(logging.Formatter):
    """Warnings look like every other message; asked for with ``-v``, records say where they come from."""

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


def _start_log(ctx: click.Context, parameter: click.Parameter, verbose: bool) -> None:
    logger = logging.getLogger("extframe")
    before = logger.level
    handler = logging.StreamHandler()
    handler.setFormatter(_Line(verbose))
    logger.addHandler(handler)
    logger.setLevel(logging.DEBUG if verbose else logging.WARNING)

    @ctx.call_on_close
    def stop_log() -> None:
        logger.setLevel(before)
        logger.removeHandler(handler)


verbose_option = click.option(
    "-v",
    "--verbose",
    is_flag=True,
    expose_value=False,
    is_eager=True,
    callback=_start_log,
    help="Show on stderr what is done, and the tracebacks of what failed.",
)
