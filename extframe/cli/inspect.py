"""``extframe inspect``: all that is known of one plugin. Knows no calls but the handshake."""

from __future__ import annotations

from dataclasses import asdict

import click

from .findings import Finding, ask
from .options import (
    find,
    name_argument,
    output_option,
    registry_of,
    registry_options,
    timeout_option,
    verbose_option,
)
from .output import write_json, write_properties

EPILOG = """\b
Examples:
  extframe inspect rclone
  extframe inspect rclone --dir /run/myhost/plugins -o json
"""


@click.command(epilog=EPILOG)
@name_argument
@registry_options
@timeout_option(10.0, "How long the plugin may take to say what it implements.")
@output_option
@verbose_option
def inspect(name: str, directory: str | None, app: str | None, timeout: float, output: str) -> None:
    """Show one plugin.

    Where it was found, where it listens, how TLS is done there, and what it implements. A plugin that does not
    answer is shown too; the exit code says why.
    """
    spec = find(registry_of(directory, app), name)
    (finding,) = ask([Finding(name, spec)], timeout)
    tls = asdict(spec.tls) if spec.tls else None
    hooks = _hooks(finding.implements or ())
    if output == "json":
        write_json({**finding.as_json(), "tls": tls, "hooks": hooks})
    else:
        write_properties(_properties(finding, tls or {}, hooks))
    if finding.error is not None:
        raise finding.error


def _hooks(points: tuple[str, ...]) -> dict[str, str]:
    """Return by which hook handlers take each extension point."""
    from ..protocol import hook_name

    return {point: hook_name(point) for point in points}


def _properties(finding: Finding, tls: dict[str, object], hooks: dict[str, str]) -> dict[str, str]:
    return {
        "name": finding.name,
        "source": finding.source,
        "address": finding.address,
        "tls": ", ".join(f"{key}={value}" for key, value in tls.items() if value),
        "state": finding.state,
        "implements": ", ".join(hooks),
        "hooks": ", ".join(hooks.values()),
    }
