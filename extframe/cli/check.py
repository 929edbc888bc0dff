"""``extframe check``: hold a plugin against the protocol's rules, and show what came of it. Knows no rule."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from typing import TYPE_CHECKING

import click

from .options import find, name_argument, output_option, registry_of, registry_options, timeout_option, verbose_option
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
Exit codes: 0 nothing failed, 1 something did, 3 no such plugin, 5 it could not be reached or did not
answer the handshake in time.
"""


@click.command(epilog=EPILOG)
@name_argument
@registry_options
@timeout_option(5.0, "How long each step may take.")
@click.option("--destructive", is_flag=True, help="Try also what makes things: volumes, networks, logs of its own.")
@click.option("--mount", is_flag=True, help="Mount the volume, too; with --destructive.")
@click.option(
    "--opt", "options", metavar="KEY=VALUE", multiple=True, help="What a thing that is made wants; repeatable."
)
@output_option
@verbose_option
@click.pass_context
def check(
    ctx: click.Context,
    name: str,
    directory: str | None,
    app: str | None,
    timeout: float,
    destructive: bool,
    mount: bool,
    options: Sequence[str],
    output: str,
) -> None:
    """Hold a plugin against the protocol's rules.

    NAME is a plugin's name, or an address such as unix:///path or tcp://host:port. The handshake, how it talks,
    each method of what it implements with inputs that harm nothing, and requests that make no sense are tried.
    Each line is a check: pass, warn (some host makes less of it), fail (a host breaks) or skip.

    Nothing is made or changed in the plugin without --destructive; what that makes is removed again.
    """
    trial = _trial(destructive, mount, options)
    address, tls = _place(name, directory, app)
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
            raise click.UsageError("--mount and --opt are for --destructive.")
        return None
    from ..conformance import Trial

    pairs = [option.partition("=") for option in options]
    for key, sign, _ in pairs:
        if not key or not sign:
            raise click.BadParameter(f"{printable(key)!r} is not KEY=VALUE.", param_hint="'--opt'")
    return Trial(options={key: value for key, _, value in pairs}, mount=mount)


def _place(name: str, directory: str | None, app: str | None) -> tuple[str, TLSConfig | None]:
    """Return where the plugin listens, and how it is verified."""
    registry = registry_of(directory, app)
    if ":/" in name:
        return name, None
    spec = find(registry, name)
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
