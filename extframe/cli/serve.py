"""``extframe serve``: run a plugin that is a class. Knows where it may listen; HTTP is the server's."""

from __future__ import annotations

import logging
from collections.abc import Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from ..errors import ExtframeError, SpecError
from .loading import load_driver
from .output import printable

if TYPE_CHECKING:
    from collections.abc import Iterator

    from ..server import ListenOptions

EPILOG = """\b
Examples:
  extframe serve photos.plugin:Photos --name photos
  extframe serve photos:Photos photos:Networks --name photos --dir /run/myhost/plugins --group docker
  extframe serve photos:make_driver --name photos --tcp 127.0.0.1:9000 --dir ./plugins
"""


def _mode(ctx: click.Context, parameter: click.Parameter, text: str) -> int:
    try:
        mode = int(text, 8)
    except ValueError:
        mode = -1
    if not 0 <= mode <= 0o777:
        raise click.BadParameter(f"{text!r} is no mode of a file; expected octal digits, such as 660.")
    return mode


@click.command(epilog=EPILOG)
@click.argument("drivers", metavar="DRIVER...", nargs=-1, required=True)
@click.option("--name", required=True, metavar="NAME", help="The plugin's name: its socket is NAME.sock.")
@click.option(
    "--dir",
    "directory",
    metavar="DIR",
    envvar="EXTFRAME_DIR",
    type=click.Path(file_okay=False),
    help="Create the socket, or with --tcp the spec file, in DIR instead of in Docker's directories ($EXTFRAME_DIR).",
)
@click.option(
    "--app",
    metavar="APP",
    envvar="EXTFRAME_APP",
    help="Create it where the host program APP looks for plugins ($EXTFRAME_APP). --dir takes precedence.",
)
@click.option("--tcp", metavar="HOST:PORT", help="Listen there, without TLS, and write NAME.spec; port 0 is any.")
@click.option("--mode", default="660", show_default=True, callback=_mode, help="Who may connect to the socket.")
@click.option("--group", metavar="GROUP", help="The group that the socket belongs to.")
@click.option("--serialize", metavar="PARAMETER", help="Let calls with the same value of it, such as name, go in turn.")
@click.option("--reload", is_flag=True, help="Start again whenever a Python file below this directory changes.")
@click.option("-v", "--verbose", is_flag=True, help="Show on stderr what is done, and the tracebacks of what failed.")
@click.pass_context
def serve(
    ctx: click.Context,
    drivers: Sequence[str],
    name: str,
    directory: str | None,
    app: str | None,
    tcp: str | None,
    mode: int,
    group: str | None,
    serialize: str | None,
    reload: bool,
    verbose: bool,
) -> None:
    """Serve drivers as one plugin, until SIGTERM or Ctrl-C.

    DRIVER is MODULE:NAME: a class that is a driver, a driver, or a function that makes one. Modules are looked for
    in the working directory, too. Several drivers are one plugin with several extension points.
    """
    if tcp is not None and group is not None:
        raise click.UsageError("--group is for a unix socket: leave it out, or --tcp.")
    if reload:
        from .reload import run_again_on_changes

        ctx.exit(run_again_on_changes(Path.cwd(), _without_reload(ctx)))
    logging.basicConfig(level=logging.INFO, format="%(asctime)s %(levelname)s %(name)s: %(message)s")
    if verbose:
        logging.getLogger("extframe").setLevel(logging.DEBUG)
    _serve([load_driver(target) for target in drivers], name, serialize, _place(directory, app, tcp, mode, group))


def _place(directory: str | None, app: str | None, tcp: str | None, mode: int, group: str | None) -> ListenOptions:
    place: ListenOptions = {"mode": mode}
    if directory is not None:
        place["directory"] = place["spec_directory"] = directory
    elif app is not None:
        place["app"] = app
    if tcp is not None:
        place["address"] = f"tcp://{tcp}"
    if group is not None:
        place["group"] = int(group) if group.isdecimal() else group
    return place


def _serve(drivers: Sequence[object], name: str, serialize: str | None, place: ListenOptions) -> None:
    from ..protocol import check_name
    from ..server import asgi_app, serve

    try:
        check_name(name)
    except SpecError as wrong:
        raise click.BadParameter(printable(str(wrong)), param_hint="'--name'") from wrong
    try:
        asgi_app(*drivers, serialize=serialize).close()  # a driver that cannot be served is found before it listens
    except TypeError as wrong:
        raise ExtframeError(str(wrong)) from wrong
    with _told_in_one_line(name):
        serve(*drivers, name=name, serialize=serialize, **place)


@contextmanager
def _told_in_one_line(name: str) -> Iterator[None]:
    try:
        yield
    except ExtframeError:
        raise
    except OSError as wrong:
        place = f"{wrong.filename}: " if wrong.filename else ""
        words = (wrong.strerror or str(wrong)).replace("directory=", "--dir")  # what the command calls it
        raise ExtframeError(f"cannot serve {name!r}: {place}{words}") from wrong
    except LookupError as wrong:
        raise ExtframeError(f"cannot serve {name!r}: {wrong.args[0] if wrong.args else wrong}") from wrong


def _without_reload(ctx: click.Context) -> list[str]:
    """Return the command line as it is without ``--reload``."""
    values: dict[str, Any] = {**ctx.params, "mode": f"{ctx.params['mode']:o}"}
    drivers = values.pop("drivers")
    flags = [f"--{key}" for key, value in values.items() if value is True and key != "reload"]
    names = {"directory": "--dir"}
    options = [(names.get(key, f"--{key}"), value) for key, value in values.items() if isinstance(value, str)]
    return ["serve", *flags, *(word for option in options for word in option), "--", *drivers]
