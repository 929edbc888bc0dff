"""``extframe new``: create a small project from a template. Knows where templates are, not what they contain."""

from __future__ import annotations

import keyword
import os
import re
import shutil
import sys
import tempfile
from collections.abc import Iterator, Mapping
from importlib.resources import files
from pathlib import Path
from string import Template
from typing import TYPE_CHECKING

import click

from ..errors import ExtframeError
from .output import note, printable
from .shell import can_quote, quote

if TYPE_CHECKING:
    from importlib.abc import Traversable

EPILOG = """\b
Examples:
  extframe new plugin photos
  extframe new handler acme-volumes --dir ~/projects
"""

_NAME = re.compile(r"[a-z][a-z0-9]*([-_][a-z0-9]+)*")
_NAME_LIMIT = 40  # keeps the lines of a project below ruff's limit
_SUFFIX = ".tmpl"
_RESERVED = {"extframe", "tests", "test", "pytest", "src"}


@click.group(epilog=EPILOG)
def new() -> None:
    """Create a project: a plugin or a handler.

    The project can be installed, and passes its own tests, mypy --strict and ruff.
    """


_name = click.argument("name", metavar="NAME")
_directory = click.option(
    "--dir",
    "directory",
    metavar="DIR",
    default=".",
    type=click.Path(file_okay=False),
    help="Create the project in DIR instead of in the working directory.",
)


@new.command(epilog=EPILOG)
@_name
@_directory
def plugin(name: str, directory: str) -> None:
    """Create a project with a working volume plugin."""
    project = _create("plugin", name, directory)
    package = _package(name)
    _print_next_steps(project, f"extframe serve {package}.plugin:make_driver --name {name} --dir /tmp/plugins")


@new.command(epilog=EPILOG)
@_name
@_directory
def handler(name: str, directory: str) -> None:
    """Create a project with a working handler for volume plugins."""
    _print_next_steps(_create("handler", name, directory), "extframe handlers")


def _print_next_steps(project: Path, last: str) -> None:
    commands = f"pip install -e '.[test,dev]' && python -m pytest && {last}"
    path = str(project) if not str(project).startswith("-") else f"./{project}"  # not an option of cd
    if can_quote(path):
        note(f"next: cd {quote(path)} && {commands}")
    else:
        note(f"next, in that directory: {commands}")


def _create(kind: str, name: str, directory: str) -> Path:
    """Create all files of a project or none, and print their paths to stdout."""
    values = _values(name)
    project = Path(directory, name)
    if os.path.lexists(project):
        raise ExtframeError(f"{project} already exists: choose another name, or another --dir")
    try:
        project.parent.mkdir(parents=True, exist_ok=True)
        written = _write_files(kind, project, values)
    except OSError as error:
        raise ExtframeError(f"cannot write {error.filename or project}: {error.strerror}") from error
    click.echo("\n".join(printable(str(project / path)) for path in written))
    return project


def _write_files(kind: str, project: Path, values: Mapping[str, str]) -> list[str]:
    draft = Path(tempfile.mkdtemp(prefix=f".{project.name}-", dir=project.parent))
    try:
        written = []
        for path, template in _templates(files(__package__) / "templates" / kind):
            path = path.replace("__package__", values["package"]).removesuffix(_SUFFIX)
            (draft / path).parent.mkdir(parents=True, exist_ok=True)
            (draft / path).write_text(Template(template).substitute(values))
            written.append(path)
        draft.chmod(0o777 & ~_umask())
        draft.rename(project)
    except BaseException:
        shutil.rmtree(draft)
        raise
    return sorted(written)


def _templates(folder: Traversable, parent: str = "") -> Iterator[tuple[str, str]]:
    for entry in folder.iterdir():
        if entry.is_dir():
            yield from _templates(entry, f"{parent}{entry.name}/")
        elif entry.name.endswith(_SUFFIX):
            yield parent + entry.name, entry.read_text()


def _umask() -> int:
    umask = os.umask(0o077)  # it can only be read by setting it
    os.umask(umask)
    return umask


# --- names --------------------------------------------------------------------------------------------


def _package(name: str) -> str:
    return name.replace("-", "_")


def _values(name: str) -> Mapping[str, str]:
    """Return the values of the templates' variables.

    Raises:
        click.BadParameter: the name is invalid for a distribution, a module or a plugin.
    """
    package = _package(name)
    fault = None
    if not _NAME.fullmatch(name) or len(name) > _NAME_LIMIT:
        fault = f"expected at most {_NAME_LIMIT} lower-case letters, digits and single dashes, such as acme-volumes"
    elif keyword.iskeyword(package) or package in sys.stdlib_module_names or package in _RESERVED:
        fault = f"{package!r} is reserved, or a keyword or module of Python"
    if fault is not None:
        raise click.BadParameter(f"'{printable(name)}' is invalid: {fault}.", param_hint="'NAME'")
    class_name = "".join(word[:1].upper() + word[1:] for word in package.split("_"))
    return {"name": name, "package": package, "class_name": class_name, "variable": f"{package.upper()}_ROOT"}
