"""The command line: its commands, error messages and exit codes. Implements no command."""

from __future__ import annotations

import os
from typing import Any

import click

from ..errors import ExtframeError
from .call import call
from .check import check
from .doctor import doctor
from .exit_codes import ExitCode, exit_code, hint_for
from .handlers import handlers
from .inspect import inspect
from .install import install
from .logs import logs
from .ls import ls
from .new import new
from .output import hint, note
from .run import run
from .schema import schema
from .serve import serve
from .sync import sync
from .uninstall import uninstall
from .upgrade import upgrade
from .watch import watch


class Program(click.Group):
    """A group of commands that prints an ExtframeError on one line and exits with its code."""

    def main(self, *args: Any, **options: Any) -> Any:
        """Run the command line, or complete one for a shell."""
        if "_EXTFRAME_COMPLETE" in os.environ:
            from .completion import register

            register()
        return super().main(*args, **options)

    def invoke(self, ctx: click.Context) -> Any:
        """Run the command."""
        try:
            return super().invoke(ctx)
        except ExtframeError as error:
            note(str(error))
            advice = hint_for(error)
            if advice is not None:
                hint(advice)
            code = exit_code(error)
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
def program() -> None:
    """Find, call, check and serve plugins that speak Docker's plugin protocol."""


for command in (
    ls, watch, inspect, call, check, serve, run, logs, new, schema, handlers, install, upgrade, sync, uninstall, doctor,
):  # fmt: skip
    program.add_command(command)
