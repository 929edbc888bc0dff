"""``extframe schema``: write the OpenAPI document of interfaces. Contains no rules of OpenAPI."""

from __future__ import annotations

from collections.abc import Sequence

import click

from ..errors import ExtframeError
from ..text import text_of
from .driver_loader import load
from .options import verbose_option
from .schema_file import as_text

EPILOG = """\b
Examples:
  extframe schema acme_backup:Backup
  extframe schema extframe:VolumeDriver --openapi 3.0.3 -o volume-driver.json
"""


@click.command(epilog=EPILOG)
@click.argument("interfaces", metavar="MODULE:INTERFACE...", nargs=-1, required=True)
@click.option(
    "--openapi",
    "version",
    type=click.Choice(["3.1.0", "3.0.3"]),
    default="3.1.0",
    show_default=True,
    help="The version of OpenAPI; some generators only read 3.0.",
)
@click.option("-o", "--output", metavar="FILE", type=click.Path(dir_okay=False), help="Write to FILE, not to stdout.")
@verbose_option
def schema(interfaces: Sequence[str], version: str, output: str | None) -> None:
    """Write the OpenAPI document of an interface.

    MODULE:INTERFACE is the class that declares an extension point, such as extframe:VolumeDriver. The document
    describes the requests that a plugin receives and the replies that it sends, for authors of plugins in other
    languages and for code generators. It is the same byte for byte until the declaration changes.
    """
    from ..interface.openapi import openapi

    classes = [load(target) for target in interfaces]
    try:
        text = as_text(openapi(*classes, version=version))
    except TypeError as wrong:
        raise ExtframeError(f"{', '.join(interfaces)}: {text_of(wrong)}") from wrong
    if output is None:
        click.echo(text, nl=False)
        return
    try:
        with open(output, "w", encoding="utf-8", newline="\n") as file:
            file.write(text)
    except OSError as wrong:
        raise ExtframeError(f"cannot write {output}: {wrong.strerror}") from wrong
