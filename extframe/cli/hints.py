"""Hints: what the user can try next, as a command that repeats the options that were given. Prints nothing."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import TYPE_CHECKING, NamedTuple

from ..errors import ActivationError, CallTimeout, PluginNotFound, RemoteError
from .exit_codes import root_cause

if TYPE_CHECKING:
    import click

_WORDS = "extframe.words"
_LOCATION = "extframe.location"
_TIMEOUT = "extframe.timeout"
_ADVICE = "extframe.advice"
_LONGEST = 500  # characters of a command, which may contain a document


class Hint(NamedTuple):
    """What to do, in words without punctuation at the end, and the command that does so, or ""."""

    text: str
    command: str


# --- what was given -----------------------------------------------------------------------------------


def remember(ctx: click.Context, words: Sequence[str]) -> None:
    """Keep the words of a command line, from the name of the command on."""
    ctx.meta[_WORDS] = list(words)


def remember_location(ctx: click.Context, options: Sequence[str]) -> None:
    """Keep the options that say where plugins are."""
    ctx.meta[_LOCATION] = list(options)


def remember_timeout(ctx: click.Context, seconds: float) -> None:
    """Keep the timeout of the command."""
    ctx.meta[_TIMEOUT] = seconds


def advise(ctx: click.Context, hint: Hint) -> None:
    """Set the hint for the error that the command is about to raise."""
    ctx.meta[_ADVICE] = hint


# --- commands to paste --------------------------------------------------------------------------------


def command_here(ctx: click.Context, name: str, *arguments: str) -> str:
    """Return another command for the same plugins; "" if a word cannot be quoted."""
    return _command([name, *arguments, *ctx.meta.get(_LOCATION, ())])


def repeated(ctx: click.Context, *, replace: tuple[str, str] | None = None) -> str:
    """Return the command that was given, with a word replaced; "" if a word cannot be quoted, or it is too long."""
    words = [replace[1] if replace and word == replace[0] else word for word in ctx.meta.get(_WORDS, ())]
    return _command(words)


def _with_timeout(ctx: click.Context, seconds: float) -> str:
    words = list(ctx.meta.get(_WORDS, ()))
    kept: list[str] = []
    while words:
        word = words.pop(0)
        if word == "--timeout":
            del words[:1]
        elif not word.startswith("--timeout="):
            kept.append(word)
    return _command([*kept[:1], "--timeout", f"{seconds:g}", *kept[1:]])


def _command(words: Sequence[str]) -> str:
    from .shell import shell_command

    command = shell_command("extframe", *words)
    return command if len(command) <= _LONGEST else ""


# --- hints for errors ---------------------------------------------------------------------------------


def hint_for(error: BaseException, ctx: click.Context) -> Hint | None:
    """Return what the user can try next, where the error message does not say it."""
    advice: Hint | None = ctx.meta.get(_ADVICE)
    if advice is not None:
        return advice
    reason = root_cause(error)
    if isinstance(reason, PluginNotFound):
        return Hint("list the plugins", command_here(ctx, "ls"))
    if isinstance(reason, CallTimeout):
        return _more_time(ctx)
    if isinstance(reason, RemoteError) and reason.not_found and not isinstance(error, ActivationError):
        return Hint(
            "see what the plugin implements", command_here(ctx, "inspect", reason.plugin or reason.address or "")
        )
    return None


def _more_time(ctx: click.Context) -> Hint | None:
    seconds = ctx.meta.get(_TIMEOUT)
    if seconds is None or math.isinf(seconds):
        return None
    return Hint("allow more time", _with_timeout(ctx, 10 * seconds))
