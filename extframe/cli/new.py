"""``extframe new``: write a small project to start from. Knows the templates, and nothing of what is in them."""

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

if TYPE_CHECKING:
    from importlib.abc import Traversable

EPILOG = """\b
Examples:
  extframe new plugin photos
  extframe new handler acme-volumes --dir ~/projects
"""

_NAME = re.compile(r"[a-z][a-z0-9]*([-_][a-z0-9]+)*")
_NAME_LIMIT = 40  # the lines of a project stay as long as ruff likes them
_SUFFIX = ".tmpl"
_TAKEN = {"extframe", "tests", "test", "pytest", "src"}


@click.group(epilog=EPILOG)
def new() -> None:
    """Write a small project: a plugin, or a handler.

    It installs, and its tests, mypy --strict and ruff pass: change it step by step.
    """


_name = click.argument("name", metavar="NAME")
_directory = click.option(
    "--dir",
    "directory",
    metavar="DIR",
    default=".",
    type=click.Path(file_okay=False),
    help="Write the project into DIR instead of into the working directory.",
)


@new.command(epilog=EPILOG)
@_name
@_directory
def plugin(name: str, directory: str) -> None:
    """Write a project with a volume plugin that works."""
    project = _write("plugin", name, directory)
    package = _package(name)
    _tell_next(project, f"extframe serve {package}.plugin:make_driver --name {name} --dir /tmp/plugins")


@new.command(epilog=EPILOG)
@_name
@_directory
def handler(name: str, directory: str) -> None:
    """Write a project with a handler of volume plugins that works."""
    _tell_next(_write("handler", name, directory), "extframe handlers")


def _tell_next(project: Path, last: str) -> None:
    note(f"next: cd {project} && pip install -e '.[test,dev]' && python -m pytest && {last}")


def _write(kind: str, name: str, directory: str) -> Path:
    """Write a project, whole or not at all, and name its files on stdout."""
    values = _values(name)
    project = Path(directory, name)
    if os.path.lexists(project):
        raise ExtframeError(f"{project} exists already; choose another name, or --dir")
    try:
        project.parent.mkdir(parents=True, exist_ok=True)
        written = _write_files(kind, project, values)
    except OSError as wrong:
        raise ExtframeError(f"cannot write {wrong.filename or project}: {wrong.strerror}") from wrong
    click.echo("\n".join(str(project / path) for path in written))
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


def _templates(folder: Traversable, above: str = "") -> Iterator[tuple[str, str]]:
    for entry in folder.iterdir():
        if entry.is_dir():
            yield from _templates(entry, f"{above}{entry.name}/")
        elif entry.name.endswith(_SUFFIX):
            yield above + entry.name, entry.read_text()


def _umask() -> int:
    before = os.umask(0o077)  # it cannot be read but by setting it
    os.umask(before)
    return before


# --- names --------------------------------------------------------------------------------------------


def _package(name: str) -> str:
    return name.replace("-", "_")


def _values(name: str) -> Mapping[str, str]:
    """Return what the templates call things.

    Raises:
        click.BadParameter: a distribution, a module and a plugin cannot all have this name.
    """
    package = _package(name)
    fault = None
    if not _NAME.fullmatch(name) or len(name) > _NAME_LIMIT:
        fault = f"expected lower-case letters, digits and single dashes, {_NAME_LIMIT} at most, such as acme-volumes"
    elif keyword.iskeyword(package) or package in sys.stdlib_module_names or package in _TAKEN:
        fault = f"Python has a word or a module {package!r} already"
    if fault is not None:
        raise click.BadParameter(f"'{printable(name)}': {fault}.", param_hint="'NAME'")
    class_name = "".join(word[:1].upper() + word[1:] for word in package.split("_"))
    return {"name": name, "package": package, "class_name": class_name, "variable": f"{package.upper()}_ROOT"}
