"""``extframe new``: create a small project from a template. Knows where templates are, not what they contain."""

from __future__ import annotations

import keyword
import os
import re
import shutil
import sys
import tempfile
from collections.abc import Iterator, Mapping, Sequence
from importlib.resources import files
from itertools import chain
from pathlib import Path
from string import Template
from typing import TYPE_CHECKING

import click

from ..errors import ExtframeError
from .output import note, printable
from .schema_file import as_text
from .shell import can_quote, quote

if TYPE_CHECKING:
    from importlib.abc import Traversable

EPILOG = """\b
Examples:
  extframe new host monitor
  extframe new plugin photos
  extframe new plugin photos --language go
  extframe new handler acme-volumes --metadata setup.cfg --dir ~/projects
"""

_NAME = re.compile(r"[a-z][a-z0-9]*([-_][a-z0-9]+)*")
_NAME_LIMIT = 40  # keeps the lines of a project below ruff's limit
_SUFFIX = ".tmpl"
_RESERVED = {"extframe", "tests", "test", "pytest", "src"}


@click.group(epilog=EPILOG)
def new() -> None:
    """Create a project: a host, a plugin or a handler.

    The project can be installed, and passes its own tests, mypy --strict and ruff. It has a .gitignore, a workflow for
    CI and, where it runs as a service, unit files for systemd.
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
_metadata = click.option(
    "--metadata",
    type=click.Choice(["pyproject.toml", "setup.cfg"]),
    default="pyproject.toml",
    show_default=True,
    help="The file for the metadata of the package and the settings of its tools.",
)


@new.command(epilog=EPILOG)
@_name
@_directory
@_metadata
def host(name: str, directory: str, metadata: str) -> None:
    """Create a project with a working host: a program whose health checks are plugins.

    It has an interface, an example of a plugin, and a manager that starts plugins and finds running ones.
    """
    project = _create(_python("host", metadata), name, directory, metadata=metadata)
    _print_next_steps(project, f"{_TEST} && {name} --once")


@new.command(epilog=EPILOG)
@_name
@_directory
@_metadata
@click.option(
    "--language",
    type=click.Choice(["python", "go", "typescript"]),
    default="python",
    show_default=True,
    help="The language of the plugin. In Go and TypeScript its types are generated from an OpenAPI document.",
)
def plugin(name: str, directory: str, metadata: str, language: str) -> None:
    """Create a project with a working volume plugin."""
    if language == "python":
        project = _create(_python("plugin", metadata), name, directory, metadata=metadata)
        last = f"extframe serve {_package(name)}.plugin:make_driver --name {name} --dir /tmp/plugins"
        _print_next_steps(project, f"{_TEST} && {last}")
        return
    project = _create([f"plugin_{language}"], name, directory, schema=_SCHEMA_VERSIONS[language])
    _print_next_steps(project, _BUILD[language])


@new.command(epilog=EPILOG)
@_name
@_directory
@_metadata
def handler(name: str, directory: str, metadata: str) -> None:
    """Create a project with a working handler for volume plugins."""
    project = _create(_python("handler", metadata), name, directory, metadata=metadata)
    _print_next_steps(project, f"{_TEST} && extframe handlers")


def _python(kind: str, metadata: str) -> list[str]:
    """Return the folders of templates for a Python project."""
    if metadata == "setup.cfg":
        return [kind, f"{kind}_setup_cfg", "python", "python_setup_cfg"]
    return [kind, f"{kind}_pyproject", "python"]


_TEST = "pip install -e '.[test,dev]' && python -m pytest"
_BUILD = {
    "go": "pip install openapi-generator-cli && go generate && go build",
    "typescript": "npm install && npm run build",
}
_SCHEMA_VERSIONS = {"go": "3.0.3", "typescript": "3.1.0"}  # OpenAPI, as the generators read it


def _print_next_steps(project: Path, commands: str) -> None:
    path = str(project) if not str(project).startswith("-") else f"./{project}"  # not an option of cd
    if can_quote(path):
        note(f"next: cd {quote(path)} && {commands}")
    else:
        note(f"next, in that directory: {commands}")


def _create(
    folders: Sequence[str], name: str, directory: str, *, metadata: str = "", schema: str | None = None
) -> Path:
    """Create all files of a project or none, and print their paths to stdout.

    Args:
        folders: of the templates.
        name: of the project.
        directory: where it is created.
        metadata: the file for the metadata of a Python package.
        schema: the version of OpenAPI of the file VolumeDriver.json; None for no such file.
    """
    values = {**_values(name), "metadata": metadata}
    project = Path(directory, name)
    if os.path.lexists(project):
        raise ExtframeError(f"{project} already exists: choose another name, or another --dir")
    try:
        project.parent.mkdir(parents=True, exist_ok=True)
        written = _write_files(
            folders, project, values, {} if schema is None else {"VolumeDriver.json": _schema(schema)}
        )
    except OSError as error:
        raise ExtframeError(f"cannot write {error.filename or project}: {error.strerror}") from error
    click.echo("\n".join(printable(str(project / path)) for path in written))
    return project


def _schema(version: str) -> str:
    from ..interface.openapi import openapi
    from ..subsystems.volume import VolumeDriver

    return as_text(openapi(VolumeDriver, version=version))


def _write_files(
    folders: Sequence[str], project: Path, values: Mapping[str, str], others: Mapping[str, str]
) -> list[str]:
    draft = Path(tempfile.mkdtemp(prefix=f".{project.name}-", dir=project.parent))
    try:
        written = list(others)
        for path, text in others.items():
            (draft / path).write_text(text, encoding="utf-8")
        root = files(__package__) / "templates"
        for path, template in chain.from_iterable(_templates(root / folder) for folder in folders):
            path = path.replace("__package__", values["package"]).replace("__name__", values["name"])
            path = path.removesuffix(_SUFFIX)
            path = path.replace("dot-", ".")  # a wheel leaves out hidden files
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
