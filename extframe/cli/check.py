"""``extframe check``: check that a plugin conforms to the protocol, and show the results. Contains no rules."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import TYPE_CHECKING

import click

from ..errors import SpecError
from .exit_codes import ExitCode
from .location import Location, is_address
from .options import engine_option, name_argument, output_option, registry_options, timeout_option, verbose_option
from .output import note, printable, reader_optional, write_data, write_table
from .progress import progress_line
from .reached_plugins import reached_plugin

if TYPE_CHECKING:
    from ..conformance import LifecycleOptions, Result
    from ..protocol import Manifest, TLSConfig

EPILOG = """\b
Examples:
  extframe check rclone
  extframe check unix:///run/myhost/plugins/photos.sock
  extframe check rclone --destructive --opt remote=scratch: --mount
  extframe check grafana/loki-docker-driver --engine
  extframe check backups --schema backup.json --destructive
  extframe check photos -o json | jq '.[] | select(.verdict == "fail")'

\b
Exit codes: 0 no check failed, 1 a check failed, 2 wrong usage, or an invalid address or spec file,
3 no such plugin, 5 the plugin cannot be reached or does not respond to the handshake in time.
"""


@click.command(epilog=EPILOG)
@name_argument
@engine_option
@registry_options
@timeout_option(5.0, "Deadline for each step.")
@click.option(
    "--implements",
    metavar="POINT,...",
    help="Check these extension points, whatever the handshake says. With --engine, those that the engine names.",
)
@click.option("--destructive", is_flag=True, help="Also create volumes, networks and logs, and remove them again.")
@click.option("--mount", is_flag=True, help="With --destructive: also mount the volume.")
@click.option(
    "--opt",
    "options",
    metavar="KEY=VALUE",
    multiple=True,
    help="With --destructive: a driver option of what is created; repeatable.",
)
@click.option(
    "--schema",
    "schema_file",
    metavar="FILE",
    type=click.Path(dir_okay=False),
    help="Validate each response against an OpenAPI document in JSON, as `extframe schema` writes it.",
)
@output_option
@verbose_option
@click.pass_context
def check(
    ctx: click.Context,
    name: str,
    location: Location,
    timeout: float,
    implements: str | None,
    destructive: bool,
    mount: bool,
    options: Sequence[str],
    schema_file: str | None,
    output: str,
) -> None:
    """Check that a plugin conforms to the protocol.

    NAME is a plugin's name, or an address such as unix:///path or tcp://host:port. The checks cover the handshake,
    HTTP, each method of what the plugin implements with requests that change nothing, and invalid requests. Results
    are pass, note (no host is affected), warn (works, but a host shows less or fails in a rare case), fail
    (dockerd, podman or extframe fails) and skip.

    Nothing is created or changed in the plugin without --destructive, which removes what it creates.
    """
    lifecycle = _lifecycle_options(destructive, mount, options)
    points = None if implements is None else [point.strip() for point in implements.split(",") if point.strip()]
    try:
        schema = None if schema_file is None else _read_schema(schema_file)
        with _resolved(name, location, timeout) as (address, tls, manifest):
            if points is None and manifest is not None:
                points = [*manifest.implements]
            results = _run(
                address, output, tls=tls, timeout=timeout, implements=points, lifecycle=lifecycle, schema=schema
            )
    except SpecError as invalid:
        note(str(invalid))
        ctx.exit(ExitCode.USAGE)
    if any(result.verdict.value == "fail" for result in results):
        ctx.exit(ExitCode.FAILURE)


def _lifecycle_options(destructive: bool, mount: bool, options: Sequence[str]) -> LifecycleOptions | None:
    if not destructive:
        if mount or options:
            raise click.UsageError("--mount and --opt require --destructive.")
        return None
    from ..conformance import LifecycleOptions

    pairs = [option.partition("=") for option in options]
    for key, sign, _ in pairs:
        if not key or not sign:
            raise click.BadParameter(f"{printable(key)!r} is invalid: expected KEY=VALUE.", param_hint="'--opt'")
    return LifecycleOptions(options={key: value for key, _, value in pairs}, mount=mount)


def _read_schema(file: str) -> object:
    from ..errors import ProtocolError
    from ..protocol import decode_json

    try:
        with open(file, "rb") as opened:
            return decode_json(opened.read())
    except ProtocolError as wrong:  # first: it is an OSError too
        raise SpecError(f"the schema {file} is not JSON, as `extframe schema` writes it: {wrong.message}") from wrong
    except OSError as wrong:
        raise SpecError(f"cannot read the schema {file}: {wrong.strerror}") from wrong


@contextmanager
def _resolved(name: str, location: Location, timeout: float) -> Iterator[tuple[str, TLSConfig | None, Manifest | None]]:
    """Yield the plugin's address, its TLS settings, and its manifest if the registry knows it."""
    if is_address(name):
        yield name, None, None
        return
    with reached_plugin(location, name, timeout) as spec:
        yield spec.address, spec.tls, spec.manifest


def _run(
    address: str,
    output: str,
    *,
    tls: TLSConfig | None,
    timeout: float,
    implements: Sequence[str] | None,
    lifecycle: LifecycleOptions | None,
    schema: object,
) -> Sequence[Result]:
    """Run the checks, show their results, also those before an error, and return them."""
    from ..conformance import check_plugin

    results: list[Result] = []
    try:
        with progress_line("checking the handshake", delay=1.0) as show:
            for result in check_plugin(
                address, tls=tls, timeout=timeout, implements=implements, lifecycle=lifecycle, schema=schema
            ):
                results.append(result)
                show(f"checking: {len(results)} results, the last is of {result.check}")
    finally:
        if results:
            with reader_optional():
                _write(results, output)
    return results


def _write(results: Sequence[Result], output: str) -> None:
    if output != "table":
        write_data([result.as_json() for result in results], output)
        return
    write_table(
        ("RESULT", "CHECK", "REASON"), [(each.verdict.value, each.check, _explanation(each)) for each in results]
    )
    counts = Counter(result.verdict.value for result in results)
    note(", ".join(f"{count} {verdict}" for verdict, count in counts.items()))


def _explanation(result: Result) -> str:
    """Return the whole reason, with the rule if it is not followed."""
    if result.verdict.severity == 0:
        return result.reason
    return f"{result.reason.removesuffix('.')}. Rule: {result.rule.text} ({result.rule.source})"
