"""``extframe sync``: build the environments that lock files describe. Options only."""

from __future__ import annotations

from typing import Any

import click

from .environments import environment_location, environments_at, for_each, installer_options
from .location import Location
from .options import verbose_option

EPILOG = """\b
Examples:
  extframe sync --app myhost
  extframe sync photos --app myhost --offline --find-links /srv/wheels
"""


@click.command(epilog=EPILOG)
@click.argument("names", metavar="[NAME...]", nargs=-1)
@environment_location
@installer_options
@verbose_option
def sync(names: tuple[str, ...], location: Location, **options: Any) -> None:
    """Build the environments that NAME.lock files describe, all of them if no NAME is given.

    Resolves nothing: exactly the locked packages are installed, and their hashes are verified. Use it on other
    machines, and after an upgrade of the system's Python. What was downloaded before is not downloaded again.
    """
    with environments_at(location, **options) as environments:
        for_each(names, environments.locked(), environments.sync, "installed")
