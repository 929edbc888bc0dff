"""``extframe call``: one call to one plugin, JSON in and JSON out. Makes no handshake, and calls no handler."""

from __future__ import annotations

import re
import sys
from typing import Any

import click

from ..errors import ProtocolError
from .options import find, name_argument, registry_of, registry_options, timeout_option, verbose_option
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
@timeout_option(60.0, "How long the whole call may take.")
@verbose_option
def call(name: str, method: str, arguments: str | None, directory: str | None, app: str | None, timeout: float) -> None:
    """Call a plugin and print its reply.

    METHOD is what stands on the wire: EXTENSION_POINT.METHOD, such as VolumeDriver.List. JSON holds the arguments;
    - reads them from standard input. Without JSON the body of the request is empty.

    The call is sent once, as it is: no handshake goes before it, and it is not sent again.
    """
    if not _METHOD.fullmatch(method):
        expected = "expected what stands on the wire, EXTENSION_POINT.METHOD, such as VolumeDriver.List"
        raise click.BadParameter(f"'{printable(method)}': {expected}.", param_hint="'METHOD'")
    spec = find(registry_of(directory, app), name)
    body = None if arguments is None else _read(arguments)
    from ..client.client import Client

    with Client(spec.address, tls=spec.tls, plugin=name, timeout=timeout) as client:
        write_json(client.call(method, body))


def _read(arguments: str) -> Any:
    """Return the arguments as they are to be sent, to the byte: numbers and the order of keys are the user's."""
    import msgspec

    from ..protocol import decode_json

    given = arguments.encode(errors="surrogateescape")
    if arguments == "-":
        given = sys.stdin.buffer.read() if sys.stdin else b""  # None where the shell closed it
    try:
        decode_json(given)
    except ProtocolError as wrong:
        raise click.BadParameter(f"{wrong}", param_hint="'JSON'") from wrong
    return msgspec.Raw(given.strip())
