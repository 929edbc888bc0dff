"""``extframe install``: install a plugin into an environment of its own. Options only; the supervisor does the work."""

from __future__ import annotations

from typing import Any

import click

from .environments import environment_location, environments_at, installer_options, python_option, report
from .location import Location
from .options import verbose_option

EPILOG = """\b
Examples:
  extframe install photos 'acme-photos>=2' --app myhost
  extframe install photos 'acme-photos>=2' --app myhost --python 3.13
  extframe install photos ./acme-photos --dir ./plugins.d --find-links ./wheels --offline
"""


@click.command(epilog=EPILOG)
@click.argument("name", metavar="NAME")
@click.argument("requirements", metavar="REQUIREMENT...", nargs=-1, required=True)
@environment_location
@python_option
@click.option("--plugin", metavar="ENTRY", help="The entry point, if the packages have several plugins.")
@installer_options
@verbose_option
def install(
    name: str,
    requirements: tuple[str, ...],
    location: Location,
    python: str | None,
    plugin: str | None,
    **options: Any,
) -> None:
    """Install a plugin into a virtual environment of its own.

    REQUIREMENT is what pip accepts, such as acme-photos>=2, or the path of a wheel or project. Packages are resolved
    and locked with their hashes in NAME.lock, and NAME.toml lets a supervisor start the plugin.

    If that fails or is interrupted, what was installed under NAME before goes on working.
    """
    with environments_at(location, **options) as environments:
        installed = environments.install(name, requirements, python=python, plugin=plugin)
    report("installed", installed)
