"""``extframe upgrade``: resolve the requirements of installed plugins again. Options only."""

from __future__ import annotations

from functools import partial
from typing import Any

import click

from .environments import environment_location, environments_at, for_each, installer_options, python_option
from .location import Location
from .options import verbose_option

EPILOG = """\b
Examples:
  extframe upgrade photos --app myhost
  extframe upgrade --app myhost --python 3.13
"""


@click.command(epilog=EPILOG)
@click.argument("names", metavar="[NAME...]", nargs=-1)
@environment_location
@python_option
@installer_options
@verbose_option
def upgrade(names: tuple[str, ...], location: Location, python: str | None, **options: Any) -> None:
    """Upgrade plugins that were installed, all of them if no NAME is given.

    The requirements given to `extframe install` are resolved again. A running supervisor restarts a plugin whose
    environment has changed. The previous environment is kept until the next upgrade.
    """
    with environments_at(location, **options) as environments:
        for_each(names, environments.locked(), partial(environments.upgrade, python=python), "upgraded")
