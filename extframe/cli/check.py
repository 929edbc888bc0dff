"""``extframe check``: check that a plugin conforms to the protocol. Implements no check."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from typing import TYPE_CHECKING

import click

from .options import (
    Location,
    find_plugin,
    name_argument,
    output_option,
    registry_options,
    timeout_option,
    verbose_option,
)
from .output import note, printable, shortened, write_json, write_table

if TYPE_CHECKING:
    from ..conformance import Result, Trial
    from ..protocol import TLSConfig

EPILOG = """\b
Examples:
  extframe check rclone
  extframe check unix:///run/myhost/plugins/photos.sock
  extframe check rclone --destructive --opt remote=scratch: --mount
  extframe check photos -o json | jq '.[] | select(.verdict == "fail")'

\b
Exit codes: 0 no check failed, 1 a check failed, 3 plugin not found, 5 the plugin is unreachable or
the handshake timed out.
"""


@click.command(epilog=EPILOG)
@name_argument
@registry_options
@timeout_option(5.0, "Deadline for each step.")
@click.option(
    "--destructive", is_flag=True, help="Also run checks that create and remove volumes, networks, pools and logs."
)
@click.option("--mount", is_flag=True, help="With --destructive: also mount the volume.")
@click.option(
    "--opt",
    "options",
    metavar="KEY=VALUE",
    multiple=True,
    help="With --destructive: an option for what is created. Can be repeated.",
)
@output_option
@verbose_option
@click.pass_context
def check(
    ctx: click.Context,
    name: str,
    location: Location,
    timeout: float,
    destructive: bool,
    mount: bool,
    options: Sequence[str],
    output: str,
) -> None:
    """Check that a plugin conforms to the protocol.

    NAME is the name of a plugin, or an address such as unix:///path or tcp://host:port. The checks cover the
    handshake, HTTP, every method that the plugin implements (with harmless arguments), and malformed requests.
    A result is pass, warn (some hosts handle the response badly), fail (a host breaks) or skip.

    Nothing is created or changed in the plugin without --destructive, which removes what it created.
    """
    trial = _trial(destructive, mount, options)
    address, tls = _address(name, location)
    from ..conformance import Verdict, check_plugin

    results: list[Result] = []
    try:
        results.extend(check_plugin(address, tls=tls, timeout=timeout, trial=trial))
    finally:
        if results:
            _write(results, output)
    if any(result.verdict is Verdict.FAIL for result in results):
        ctx.exit(1)


def _trial(destructive: bool, mount: bool, options: Sequence[str]) -> Trial | None:
    if not destructive:
        if mount or options:
            raise click.UsageError("--mount and --opt require --destructive.")
        return None
    from ..conformance import Trial

    pairs = [option.partition("=") for option in options]
    for key, sign, _ in pairs:
        if not key or not sign:
            raise click.BadParameter(f"{printable(key)!r} is invalid: expected KEY=VALUE.", param_hint="'--opt'")
    return Trial(options={key: value for key, _, value in pairs}, mount=mount)


def _address(name: str, location: Location) -> tuple[str, TLSConfig | None]:
    """Return the address of the plugin and its TLS settings."""
    if ":/" in name:
        return name, None
    spec = find_plugin(location.registry, name)
    return spec.address, spec.tls


def _write(results: Sequence[Result], output: str) -> None:
    if output == "json":
        write_json([result.as_json() for result in results])
        return
    rows = [
        (result.check, result.verdict.value, shortened(result.reason), f"{result.rule.text} ({result.rule.source})")
        for result in results
    ]
    write_table(("CHECK", "RESULT", "REASON", "RULE"), rows)
    counts = Counter(result.verdict.value for result in results)
    note(", ".join(f"{count} {verdict}" for verdict, count in counts.items()))
