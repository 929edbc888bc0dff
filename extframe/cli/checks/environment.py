"""Check extframe's installation, its dependencies, the user and resource limits. Knows no plugin."""

from __future__ import annotations

import os
import platform
import re
import sys
from collections.abc import Iterator
from importlib import metadata
from pathlib import Path

from ...concurrency.system import descriptor_limit, user_id
from ..shell import quote, shell_command, user_name
from .context import CheckContext
from .diagnosis import Diagnosis, counted, ok, problem, warning

SPARE = 128  # file descriptors that a host needs for other things than plugins

_REQUIREMENT = re.compile(r"([\w.-]+)(?:\[.*?\])?\s*(?:\(?>=\s*([\d.]+)\)?)?")


def check(context: CheckContext) -> Iterator[Diagnosis]:
    """Check the environment of this command, which a host does not necessarily share."""
    yield from _package()
    yield from _dependencies()
    yield _user()
    yield from _descriptors(len(context.sources))


def pip(act: str, *arguments: str) -> str:
    """Return a pip command for this environment. Empty if it cannot be quoted."""
    return shell_command(f"{quote(sys.executable)} -m pip {act}", *arguments)


def _package() -> Iterator[Diagnosis]:
    imported = str(Path(__file__).resolve().parents[2])
    try:
        found = metadata.distribution("extframe")
    except metadata.PackageNotFoundError:
        yield problem(
            "extframe",
            "is imported but not installed, so that its own handlers are missing",
            where=imported,
            remedy="install it",
            command=pip("install", os.path.dirname(imported)),
        )
        return
    yield ok(f"extframe {found.version}", f"on Python {platform.python_version()}", where=imported)
    installed = os.path.dirname(str(found.locate_file("extframe/__init__.py")))
    if os.path.isdir(installed) and not os.path.samefile(installed, imported):
        yield warning(
            "extframe",
            f"is imported from {imported} but installed in {installed}: the working directory decides which is used",
            where=imported,
            remedy="run this in another directory, and remove it from PYTHONPATH",
            command="cd / && unset PYTHONPATH",
        )


def _dependencies() -> Iterator[Diagnosis]:
    """Check the requirements in extframe's metadata, except those of extras."""
    try:
        requirements = metadata.requires("extframe") or []
    except metadata.PackageNotFoundError:
        return
    found = [_dependency(each) for each in requirements if ";" not in each]
    yield from (each for each in found if isinstance(each, Diagnosis))
    satisfied = [each for each in found if isinstance(each, str)]
    if satisfied:
        yield ok("dependencies", ", ".join(satisfied))


def _dependency(requirement: str) -> Diagnosis | str:
    """Return the installed distribution with its version, or what is wrong with it."""
    name, minimum = _parse(requirement)
    install = pip("install --upgrade", requirement)
    try:
        version = metadata.version(name)
    except metadata.PackageNotFoundError:
        return problem(name, f"is not installed; extframe needs {requirement}", remedy="install it", command=install)
    if minimum and _release(version) < _release(minimum):
        what = f"is too old; extframe needs {requirement}"
        return problem(f"{name} {version}", what, remedy="upgrade it", command=install)
    return f"{name} {version}"


def _parse(requirement: str) -> tuple[str, str | None]:
    found = _REQUIREMENT.match(requirement)
    return (found[1], found[2]) if found else (requirement, None)


def _release(version: str) -> list[int]:
    """Return the release segment of a version for comparison, without trailing zeros."""
    release = re.sub(r"(\.0+)*$", "", re.split(r"[a-z+-]", version, maxsplit=1)[0].rstrip("."))
    return [int(number) for number in re.findall(r"\d+", release)]


def _user() -> Diagnosis:
    uid = user_id()
    if uid is None:
        return ok("user", "the system has no user ids: who may write a file is not checked")
    what = "permissions are checked as this user; a host that runs as another user has other permissions"
    return ok(f"user {user_name(uid)} ({uid})", what)


def _descriptors(plugins: int) -> Iterator[Diagnosis]:
    if descriptor_limit() is None:
        yield ok("file descriptors", "no limit, which is enough")
        return
    import resource

    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    needed = plugins + SPARE
    if soft >= needed:
        yield ok("file descriptors", f"the limit is {soft}, which is enough")
        return
    can_raise = hard == resource.RLIM_INFINITY or hard >= needed
    yield warning(
        "file descriptors",
        f"the limit is {soft}, which is low for {counted(plugins, 'plugin')}: each can take one",
        remedy="raise the limit where the host is started" if can_raise else "have root raise it in limits.conf",
        command=f"ulimit -n {needed}" if can_raise else "",
    )
