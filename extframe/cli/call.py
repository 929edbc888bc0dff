"""``extframe call``: make one call, JSON in and JSON out. Makes no handshake, and calls no handler."""

from __future__ import annotations

import re
import sys
from typing import TYPE_CHECKING, Any

import click

from ..errors import ProtocolError, RemoteError
from .call_trace import observers
from .hints import Hint, advise, repeated
from .location import Location
from .options import complete_name, engine_option, registry_options, timeout_option, verbose_option
from .output import printable, write_json
from .progress import progress_line
from .reached_plugins import reached_plugin

if TYPE_CHECKING:
    from ..protocol import PluginSpec

SLOW = 2.0  # seconds without a reply after which a terminal shows what the command waits for

EPILOG = """\b
Examples:
  extframe call rclone VolumeDriver.List
  extframe call rclone VolumeDriver.Get '{"Name": "photos"}'
  echo '{"Name": "photos"}' | extframe call rclone VolumeDriver.Remove -
  extframe call unix:///run/docker/plugins/rclone.sock Plugin.Activate
  extframe call -v rclone VolumeDriver.List
"""

_METHOD = re.compile(r"/?\w+\.[\w.-]+", re.ASCII)


def complete_method(ctx: click.Context, parameter: click.Parameter, incomplete: str) -> list[str]:
    """Return the methods of the plugin NAME whose wire names start with ``incomplete``. Makes the handshake."""
    from .interfaces import methods_of

    location = Location.of(ctx)
    return [method for method in methods_of(location, ctx.params.get("name")) if method.startswith(incomplete)]


@click.command(epilog=EPILOG)
@click.argument("name", metavar="NAME", shell_complete=complete_name)
@click.argument("method", metavar="METHOD", shell_complete=complete_method)
@click.argument("arguments", metavar="[JSON]", required=False)
@engine_option
@registry_options
@timeout_option(60.0, "Deadline for the whole call.")
@verbose_option
@click.pass_context
def call(ctx: click.Context, name: str, method: str, arguments: str | None, location: Location, timeout: float) -> None:
    """Call a method of a plugin and print its reply.

    NAME is a plugin's name, or an address such as unix:///path or tcp://host:port. METHOD is the wire name,
    EXTENSION_POINT.METHOD, such as VolumeDriver.List; `extframe explain` describes the methods. JSON is the request
    body, or - to read it from standard input. Without JSON the body is empty.

    The call is made once, without a handshake and without retries. On a terminal, a call that takes longer than two
    seconds says so. With -v, the address, the request, the response's status and headers, and the time of each phase
    are written to stderr.

    A plugin that hosts start (--app) is called through the running host. If no running host has started it, it is
    started for the call and stopped afterwards.
    """
    if not _METHOD.fullmatch(method):
        expected = f"expected the wire name, EXTENSION_POINT.METHOD, such as {_similar(method) or 'VolumeDriver.List'}"
        raise click.BadParameter(f"'{printable(method)}' is invalid: {expected}.", param_hint="'METHOD'")
    with reached_plugin(location, name, timeout) as spec:
        body = None if arguments is None else _read(arguments)
        try:
            reply = _call(spec, name, method, body, timeout)
        except RemoteError as error:
            similar = _similar(method) if error.not_found else None
            if similar not in (None, method.lstrip("/")):
                advise(ctx, Hint(f"the method may be {similar}", repeated(ctx, replace=(method, similar or ""))))
            raise
    write_json(reply)


def _call(spec: PluginSpec, name: str, method: str, body: Any, timeout: float) -> Any:
    from ..client.client import Client

    plugin = name if spec.source else None
    with (
        Client(
            spec.address,
            tls=spec.tls,
            plugin=plugin,
            timeout=timeout,
            peer_uids=spec.peer_uids,
            observers=observers(),
        ) as client,
        progress_line(f"waiting for {name} to answer {method}", delay=SLOW, limit=timeout),
    ):
        return client.call(method, body)


def _similar(method: str) -> str | None:
    from .interfaces import similar_method

    return similar_method(method)


def _read(arguments: str) -> Any:
    """Return the arguments byte for byte, so that numbers and the order of keys are not changed."""
    import msgspec

    from ..protocol import decode_json

    given = arguments.encode(errors="surrogateescape")
    if arguments == "-":
        given = sys.stdin.buffer.read() if sys.stdin else b""  # None if the shell closed it
    try:
        decode_json(given, exact=True)
    except ProtocolError as wrong:
        raise click.BadParameter(f"{wrong}", param_hint="'JSON'") from wrong
    return msgspec.Raw(given.strip())
