"""What install, upgrade, sync and uninstall share: their options, where the files are, progress on a terminal."""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

import click

from .location import Location
from .options import Command, location_options
from .output import note

if TYPE_CHECKING:
    from ..supervisor.environments.build import Progress
    from ..supervisor.environments.operations import Environments, Installation

environment_location = location_options(
    "Use DIR for NAME.toml and NAME.lock, and DIR/environments for environments.",
    "Use the directories of the host NAME: /etc/NAME/plugins.d and /var/lib/NAME/environments, or those of this user.",
)


def installer_options(command: Command) -> Command:
    """Add ``--find-links``, ``--offline`` and ``--installer``."""
    for option in (
        click.option(
            "--installer",
            type=click.Choice(["uv", "pip"]),
            help="Install with this one; by default uv if it is installed, else pip.",
        ),
        click.option("--offline", is_flag=True, help="Use only --find-links and what was downloaded before."),
        click.option(
            "--find-links",
            metavar="DIR",
            multiple=True,
            help="Also take wheels from DIR, a directory or URL; repeatable.",
        ),
    ):
        command = option(command)
    return command


python_option = click.option(
    "--python", metavar="VERSION", help="The version of Python, such as 3.13, or the path of an interpreter."
)


@contextmanager
def environments_at(location: Location, **options: Any) -> Iterator[Environments]:
    """Yield the environments at a location, with a progress bar if stderr is a terminal.

    Args:
        location: of the host.
        options: those of `installer_options`.
    """
    from ..supervisor.environments.installers import Sources
    from ..supervisor.environments.operations import Environments, Options

    if location.directory is None and location.app is None:
        raise click.UsageError("expected --app NAME, the host to install for, or --dir DIR.")
    directories = location.directories
    with _progress() as progress:
        sources = Sources(options.get("find_links", ()), options.get("offline", False))
        waiting = lambda: note("waiting for another extframe command that changes these environments")  # noqa: E731
        built = Options(sources, options.get("installer"), progress, waiting)
        yield Environments(directories.configs[0], directories.environments, built)


@contextmanager
def _progress() -> Iterator[Progress]:
    if sys.stderr is None or not sys.stderr.isatty():
        yield lambda step, done, total: None
        return
    from rich.console import Console
    from rich.progress import BarColumn, MofNCompleteColumn, Progress, SpinnerColumn, TextColumn, TimeElapsedColumn

    columns = (
        SpinnerColumn(),
        TextColumn("{task.description}"),
        BarColumn(),
        MofNCompleteColumn(),
        TimeElapsedColumn(),
    )
    with Progress(*columns, console=Console(stderr=True), transient=True) as bar:
        task = bar.add_task("", total=None)
        yield lambda step, done, total: bar.update(
            task, description=step, completed=done, total=total if total > 1 else None
        )


def report(act: str, installed: Installation) -> None:
    """Write what was installed to stderr."""
    lock = installed.lock
    what = (
        f"{act} {installed.name!r}: {installed.plugin.plugin} with Python {lock.python}, {len(lock.packages)} packages"
    )
    note(what if installed.changed else f"{installed.name!r} is up to date with Python {lock.python}")


def for_each(names: tuple[str, ...], known: list[str], function: Callable[[str], Installation], act: str) -> None:
    """Call a function for the named plugins, all that are known if none is named, and report each."""
    chosen = names or tuple(known)
    if not chosen:
        note("no plugins are installed")
    for name in chosen:
        report(act, function(name))
