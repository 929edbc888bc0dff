"""``extframe call``: make one call, JSON in and JSON out. Makes no handshake, and calls no handler."""

from __future__ import annotations

import re
import sys
from typing import Any

import click

from ..errors import ProtocolError
from .options import Location, find_plugin, name_argument, registry_options, timeout_option, verbose_option
from .output import printable, write_json

EPILOG = """\b
Examples:
  extframe call rclone VolumeDriver.List
  extframe call rclone VolumeDriver.Get '{"Name": "photos"}'
  echo '{"Name": "photos"}' | extframe call rclone VolumeDriver.Remove -
"""

_METHOD = re.compile(r"/?\w+\.[\w.-]+", re.ASCII)


@click.command(epilog=EPILOG)
@name_argument
@click.argument("method", metavar="METHOD")
@click.argument("arguments", metavar="[JSON]", required=False)
@registry_options
@timeout_option(60.0, "Deadline for the whole call.")
@verbose_option
def call(name: str, method: str, arguments: str | None, location: Location, timeout: float) -> None:
    """Call a method of a plugin and print its reply.

    METHOD is the wire name, EXTENSION_POINT.METHOD, such as VolumeDriver.List. JSON is the request body, or - to
    read it from standard input. Without JSON the body is empty.

    The call is made once, without a handshake and without retries.
    """
    if not _METHOD.fullmatch(method):
        expected = "expected the wire name, EXTENSION_POINT.METHOD, such as VolumeDriver.List"
        raise click.BadParameter(f"'{printable(method)}' is invalid: {expected}.", param_hint="'METHOD'")
    spec = find_plugin(location.registry, name)
    body = None if arguments is None else _read(arguments)
    from ..client.client import Client

    with Client(spec.address, tls=spec.tls, plugin=name, timeout=timeout) as client:
        write_json(client.call(method, body))


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
