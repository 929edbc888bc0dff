"""The command line: its commands, error messages and exit codes. Implements no command."""

from __future__ import annotations

import os
import warnings
from collections.abc import Sequence
from importlib import import_module
from typing import Any

import click

from ..errors import ExtframeError, PluginLoadWarning
from .exit_codes import ExitCode, exit_code
from .hints import hint_for, remember
from .output import discard_output, hint, note

COMMANDS: Sequence[str] = (
    "ls", "watch", "inspect", "call", "check", "serve", "run", "logs", "new", "schema", "handlers", "install",
    "upgrade", "sync", "uninstall", "doctor", "explain", "graph", "completion",
)  # fmt: skip
"""The commands in the order of the help. Each is in a module of its name, which is imported when it is needed."""


class Program(click.Group):
    """A group of commands that prints an ExtframeError on one line and exits with its code."""

    def main(self, *args: Any, **options: Any) -> Any:
        """Run the command line, or complete one for a shell."""
        if "_EXTFRAME_COMPLETE" in os.environ:
            from .shell_scripts import register

            register()
        return super().main(*args, **options)

    def list_commands(self, ctx: click.Context) -> list[str]:
        """Return the names of the commands, in the order of the help."""
        return list(COMMANDS)

    def get_command(self, ctx: click.Context, name: str) -> click.Command | None:
        """Import a command; None if it does not exist."""
        if name not in COMMANDS:
            return None
        command: click.Command = getattr(import_module(f".{name}", __package__), name)
        return command

    def make_context(self, *args: Any, **options: Any) -> click.Context:
        """Parse the command line. Prints the help, whose reader may stop reading."""
        try:
            return super().make_context(*args, **options)
        except BrokenPipeError:
            discard_output()
            raise click.exceptions.Exit(ExitCode.OK) from None

    def parse_args(self, ctx: click.Context, args: list[str]) -> list[str]:
        """Parse the words of the command line, and keep them for hints."""
        remember(ctx, args)
        return super().parse_args(ctx, args)

    def invoke(self, ctx: click.Context) -> Any:
        """Run the command."""
        try:
            return super().invoke(ctx)
        except ExtframeError as error:
            note(str(error))
            advice = hint_for(error, ctx)
            if advice is not None:
                hint(*advice)
            code = exit_code(error)
        except BrokenPipeError:  # the reader of stdout, such as `head`, has seen enough
            discard_output()
            code = ExitCode.OK
        except KeyboardInterrupt:
            code = ExitCode.INTERRUPTED
        ctx.exit(code)


EPILOG = """\b
Examples:
  extframe ls
  extframe inspect rclone
  extframe call rclone VolumeDriver.Get '{"Name": "photos"}'
  extframe handlers

\b
Exit codes: 0 success, 1 failure, 2 usage error, 3 plugin not found, 4 the plugin returned an
error, 5 the plugin is unreachable or timed out, 130 interrupted by Ctrl-C.
"""


@click.group(cls=Program, epilog=EPILOG, context_settings={"help_option_names": ["-h", "--help"]})
@click.version_option(package_name="extframe", message="%(prog)s %(version)s")
@click.pass_context
def program(context: click.Context) -> None:
    """Find, call, check and serve plugins that speak Docker's plugin protocol."""
    context.with_resource(warnings.catch_warnings())
    warnings.simplefilter("ignore", PluginLoadWarning)  # commands that load handlers print what failed
