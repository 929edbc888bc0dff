"""The command line: its commands, and how it ends. Does no command's work."""

from __future__ import annotations

from typing import Any

import click

from ..errors import ExtframeError
from .call import call
from .check import check
from .doctor import doctor
from .exits import Exit, exit_code, hint
from .handlers import handlers
from .inspect import inspect
from .ls import ls
from .new import new
from .output import note, suggest
from .serve import serve
from .watch import watch


class Program(click.Group):
    """A group of commands that tells errors of our tree in one line, and leaves with the code that they have."""

    def invoke(self, ctx: click.Context) -> Any:
        """Run the command that was asked for."""
        try:
            return super().invoke(ctx)
        except ExtframeError as error:
            note(str(error))
            advice = hint(error)
            if advice is not None:
                suggest(advice)
            code = exit_code(error)
        except KeyboardInterrupt:
            code = Exit.INTERRUPTED
        ctx.exit(code)


EPILOG = """\b
Examples:
  extframe ls
  extframe inspect rclone
  extframe call rclone VolumeDriver.Get '{"Name": "photos"}'
  extframe handlers

\b
Exit codes: 0 done, 1 failure, 2 wrong usage, 3 no such plugin, 4 the plugin answered
an error, 5 it could not be reached or did not answer in time, 130 Ctrl-C.
"""


@click.group(cls=Program, epilog=EPILOG, context_settings={"help_option_names": ["-h", "--help"]})
@click.version_option(package_name="extframe", message="%(prog)s %(version)s")
def program() -> None:
    """See and call the programs that extend this machine's hosts: plugins that speak Docker's plugin protocol."""


for command in (ls, watch, inspect, call, check, serve, new, handlers, doctor):
    program.add_command(command)
