"""``extframe serve``: serve drivers as a plugin. Selects the listener; the server package does the rest."""

from __future__ import annotations

import logging
import re
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click
from click.core import ParameterSource

from ..errors import ExtframeError, SpecError
from .driver_loader import load_driver
from .location import Location
from .options import location_options
from .output import printable
from .serve_limits import limit_options

if TYPE_CHECKING:
    from ..server import ListenOptions

EPILOG = """\b
Examples:
  extframe serve photos.plugin:Photos --name photos
  extframe serve photos:Photos photos:Networks --name photos --dir /run/myhost/plugins --group docker
  extframe serve photos:make_driver --name photos --tcp 127.0.0.1:9000 --dir ./plugins
"""

_TCP = re.compile(r"([^\s:/\[\]]+|\[[0-9A-Fa-f:.%\w]+\]):([0-9]{1,5})", re.ASCII)


def _mode(ctx: click.Context, parameter: click.Parameter, text: str) -> int:
    try:
        mode = int(text, 8)
    except ValueError:
        mode = -1
    if not 0 <= mode <= 0o777:
        raise click.BadParameter(f"{text!r} is not a file mode: expected octal digits, such as 660.")
    return mode


def _tcp(ctx: click.Context, parameter: click.Parameter, text: str | None) -> str | None:
    found = _TCP.fullmatch(text) if text is not None else None
    if text is not None and (found is None or int(found[2]) > 65535):
        raise click.BadParameter(f"'{printable(text)}' is invalid: expected HOST:PORT, such as 127.0.0.1:9000.")
    return text


@click.command(epilog=EPILOG)
@click.argument("drivers", metavar="DRIVER...", nargs=-1, required=True)
@click.option("--name", required=True, metavar="NAME", help="The name of the plugin. Its socket is NAME.sock.")
@location_options(
    "Create the socket, or the spec file with --tcp, in DIR instead of in Docker's directories.",
    "Create it in the directories of the host NAME: /run/NAME/plugins or, with --tcp, /etc/NAME/plugins.",
)
@click.option(
    "--tcp",
    metavar="HOST:PORT",
    callback=_tcp,
    help="Listen on TCP, without TLS, and write NAME.spec. Port 0 selects a free port.",
)
@click.option(
    "--mode", metavar="MODE", default="660", show_default=True, callback=_mode, help="The file mode of the socket."
)
@click.option("--group", metavar="GROUP", help="The group of the socket.")
@click.option(
    "--serialize", metavar="PARAMETER", help="Serialise calls with the same value of PARAMETER, such as name."
)
@click.option("--register", metavar="URL", help="Announce the plugin in etcd: etcd://HOST:2379/extframe/.")
@click.option(
    "--advertise",
    metavar="ADDRESS",
    help="The address that hosts connect to, if it is another. {port} in it is the port that the plugin listens at.",
)
@click.option("--zone", default="", metavar="ZONE", help="The failure domain of this instance.")
@click.option(
    "--drain-delay",
    default=0.0,
    type=click.FloatRange(min=0),
    metavar="SECONDS",
    help="Go on answering for SECONDS after hosts were notified, through --register, that the plugin is about to stop.",
)
@limit_options
@click.option("--reload", is_flag=True, help="Restart when a Python file below the working directory changes.")
@click.option("-v", "--verbose", is_flag=True, help="Log at level DEBUG, with tracebacks.")
@click.pass_context
def serve(
    ctx: click.Context,
    /,
    drivers: Sequence[str],
    name: str,
    location: Location,
    tcp: str | None,
    mode: int,
    group: str | None,
    serialize: str | None,
    register: str | None,
    advertise: str | None,
    zone: str,
    drain_delay: float,
    reload: bool,
    verbose: bool,
    **limits: Any,
) -> None:
    """Serve drivers as one plugin, until SIGTERM or Ctrl-C.

    DRIVER is MODULE:NAME: a driver class, a driver, or a function that returns one. Modules in the working
    directory are found, after installed ones. Several drivers are one plugin with several extension points.
    """
    if tcp is not None and group is not None:
        raise click.UsageError("--group applies to a unix socket and excludes --tcp.")
    if reload:
        from .autoreload import run_with_reload

        ctx.exit(run_with_reload(Path.cwd(), _without_reload(ctx)))
    logging.basicConfig(level=logging.INFO, format="%(asctime)s %(levelname)s %(name)s: %(message)s")
    if verbose:
        logging.getLogger("extframe").setLevel(logging.DEBUG)
    options = {limit: value for limit, value in limits.items() if value is not None}
    options.update(serialize=serialize, register=register, zone=zone, drain_delay=drain_delay)
    options.update(_listener(location, tcp, mode, group))
    if advertise is not None:
        options["advertise"] = advertise
    _serve([load_driver(target) for target in drivers], name, options)


def _listener(location: Location, tcp: str | None, mode: int, group: str | None) -> ListenOptions:
    listener: ListenOptions = {"mode": mode}
    if location.directory is not None:
        listener["directory"] = listener["spec_directory"] = location.directory
    elif location.app is not None:
        listener["app"] = location.app
    if tcp is not None:
        listener["address"] = f"tcp://{tcp}"
    if group is not None:
        listener["group"] = int(group) if group.isdecimal() else group
    return listener


def _serve(drivers: Sequence[object], name: str, options: Mapping[str, Any]) -> None:
    from ..protocol import check_name
    from ..server import asgi_app, serve

    try:
        check_name(name)
    except SpecError as wrong:
        raise click.BadParameter(printable(str(wrong)), param_hint="'--name'") from wrong
    try:
        asgi_app(*drivers, serialize=options["serialize"]).close()  # reject invalid drivers before it listens
    except TypeError as wrong:
        raise ExtframeError(str(wrong)) from wrong
    with _translated_errors(name, options.get("address", "")):
        serve(*drivers, name=name, **options)


@contextmanager
def _translated_errors(name: str, address: str) -> Iterator[None]:
    import socket

    try:
        yield
    except ExtframeError:
        raise
    except socket.gaierror as unknown:
        typed = address.removeprefix("tcp://")
        message = f"'{printable(typed)}': {(unknown.strerror or str(unknown)).lower()}."
        raise click.BadParameter(message, param_hint="'--tcp'") from unknown
    except OSError as wrong:
        path = f"{wrong.filename}: " if wrong.filename else ""
        message = (wrong.strerror or str(wrong)).replace("directory=", "--dir")  # the name of the option here
        where = f" at {address.removeprefix('tcp://')}" if address and address not in message else ""
        raise ExtframeError(f"cannot serve {name!r}{where}: {path}{message}") from wrong
    except LookupError as wrong:
        raise ExtframeError(f"cannot serve {name!r}: {wrong.args[0] if wrong.args else wrong}") from wrong


def _without_reload(ctx: click.Context) -> list[str]:
    """Return the command line without ``--reload``. What came from the environment is inherited."""
    arguments = ["serve"]
    for parameter in ctx.command.params:
        value: Any = ctx.params[parameter.name or ""]
        is_typed = ctx.get_parameter_source(parameter.name or "") is ParameterSource.COMMANDLINE
        if not isinstance(parameter, click.Option) or not is_typed or parameter.name == "reload":
            continue
        option = parameter.opts[-1]
        text = f"{value:o}" if parameter.name == "mode" else str(value)
        arguments += [option] if parameter.is_flag else [option, text]
    return [*arguments, "--", *ctx.params["drivers"]]
