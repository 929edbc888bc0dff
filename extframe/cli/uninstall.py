"""``extframe uninstall``: remove plugins that were installed. Options only."""

from __future__ import annotations

import click

from .environments import environment_location, environments_at
from .location import Location
from .options import verbose_option
from .output import note

EPILOG = """\b
Examples:
  extframe uninstall photos --app myhost
  extframe uninstall photos thumbs --dir ./plugins.d
"""


@click.command(epilog=EPILOG)
@click.argument("names", metavar="NAME...", nargs=-1, required=True)
@environment_location
@verbose_option
def uninstall(names: tuple[str, ...], location: Location) -> None:
    """Remove plugins that `extframe install` installed: configuration, lock file and environment."""
    with environments_at(location) as environments:
        for name in names:
            environments.uninstall(name)
            note(f"uninstalled {name!r}")
