"""The environment of a host: extframe itself, what it needs, whose permissions count, and limits. Knows no plugin."""

from __future__ import annotations

import os
import platform
import re
import shlex
import sys
from collections.abc import Iterator
from importlib import metadata
from pathlib import Path

from .case import Case
from .commands import quoted, user_name
from .diagnosis import Diagnosis, counted, ok, problem, warning

SPARE = 128  # descriptors that a host has for other things than plugins

_REQUIREMENT = re.compile(r"([\w.-]+)(?:\[.*?\])?\s*(?:\(?>=\s*([\d.]+)\)?)?")


def examine(case: Case) -> Iterator[Diagnosis]:
    """Examine the environment that this command runs in; a host's may be another."""
    yield from _package()
    yield from _dependencies()
    yield _user()
    yield from _descriptors(len(case.sources))


def _package() -> Iterator[Diagnosis]:
    place = str(Path(__file__).resolve().parents[2])
    try:
        found = metadata.distribution("extframe")
    except metadata.PackageNotFoundError:
        yield problem(
            "extframe",
            "is imported and not installed: none of its own handlers is there",
            where=place,
            remedy="install it:",
            command=f"{quoted(sys.executable)} -m pip install {quoted(os.path.dirname(place))}",
        )
        return
    yield ok(f"extframe {found.version}", f"on Python {platform.python_version()}", where=place)
    installed = os.path.dirname(str(found.locate_file("extframe/__init__.py")))
    if os.path.isdir(installed) and not os.path.samefile(installed, place):
        yield warning(
            "extframe",
            f"is imported from {place}, and installed in {installed}: which of the two counts depends on where you are",
            where=place,
            remedy="run this elsewhere, or let PYTHONPATH not name it:",
            command="cd / && unset PYTHONPATH",
        )


def _dependencies() -> Iterator[Diagnosis]:
    """Tell of what extframe's metadata asks for without a condition, as the extras have."""
    try:
        wanted = metadata.requires("extframe") or []
    except metadata.PackageNotFoundError:
        return
    found = [_dependency(each) for each in wanted if ";" not in each]
    yield from (each for each in found if isinstance(each, Diagnosis))
    fine = [each for each in found if isinstance(each, str)]
    if fine:
        yield ok("dependencies", ", ".join(fine))


def _dependency(requirement: str) -> Diagnosis | str:
    """Return what is installed of it, or what is wrong with that."""
    name, least = _parse(requirement)
    install = f"{quoted(sys.executable)} -m pip install --upgrade {shlex.quote(requirement)}"
    try:
        version = metadata.version(name)
    except metadata.PackageNotFoundError:
        return problem(name, f"is not installed; extframe needs {requirement}", remedy="install it:", command=install)
    if least and _numbers(version) < _numbers(least):
        what = f"is too old; extframe needs {requirement}"
        return problem(f"{name} {version}", what, remedy="bring it up to date:", command=install)
    return f"{name} {version}"


def _parse(requirement: str) -> tuple[str, str | None]:
    found = _REQUIREMENT.match(requirement)
    return (found[1], found[2]) if found else (requirement, None)


def _numbers(version: str) -> list[int]:
    """Return the release in a version, to be compared: 1.6 is 1.6.0."""
    release = re.sub(r"(\.0+)*$", "", re.split(r"[a-z+-]", version, maxsplit=1)[0].rstrip("."))
    return [int(number) for number in re.findall(r"\d+", release)]


def _user() -> Diagnosis:
    number = os.geteuid()
    what = "permissions are examined as this user; a host that runs as another has others"
    return ok(f"user {user_name(number)} ({number})", what)


def _descriptors(plugins: int) -> Iterator[Diagnosis]:
    import resource

    limit, most = resource.getrlimit(resource.RLIMIT_NOFILE)
    wanted = plugins + SPARE
    if limit == resource.RLIM_INFINITY or limit >= wanted:
        number = "any number of them" if limit == resource.RLIM_INFINITY else limit
        yield ok("file descriptors", f"{number} may be open, which is enough")
        return
    within = most == resource.RLIM_INFINITY or most >= wanted
    yield warning(
        "file descriptors",
        f"{limit} may be open, which is little for {counted(plugins, 'plugin')}: each may take one",
        remedy="raise the limit where the host is started:" if within else "let root raise the limit (limits.conf)",
        command=f"ulimit -n {wanted}" if within else "",
    )
