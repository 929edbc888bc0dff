"""What the user asks for: requirements of packages, and files and projects on this machine. Runs nothing."""

from __future__ import annotations

import os
import re
from dataclasses import dataclass
from pathlib import Path

from ...errors import SpecError
from ...text import printable
from .lock_file import normalised

EXTFRAME = "extframe"
_NAME = re.compile(r"\s*([A-Za-z0-9](?:[A-Za-z0-9._-]*[A-Za-z0-9])?)\s*(?:$|[\[=<>!~;@(])")
_PATH = re.compile(r"(.*?)(\[[^\[\]]*\])?")
_ARCHIVES = (".whl", ".tar.gz", ".zip")


@dataclass(frozen=True)
class LocalSource:
    """A wheel, a source archive or a project on this machine.

    Args:
        path: its absolute path.
        extras: such as ``[fast]``; "" if none.
    """

    path: Path
    extras: str


def check_requirement(text: str) -> str:
    """Return a requirement as a lock file keeps it: with an absolute path, if it is a path.

    Raises:
        SpecError: it is neither a requirement nor a path, or cannot be locked.
    """
    shown = printable(text)
    if "\n" in text or text.startswith("-"):
        raise SpecError(
            f"{shown!r} is not a requirement: expected one such as 'acme-photos>=2', or the path of a wheel"
        )
    if re.search(r"(^|@\s*)(git|hg|bzr|svn)\+", text):
        raise SpecError(
            f"{shown!r} cannot be locked, because a repository has no hash: build a wheel of it, and install that"
        )
    local = local_source(text)
    if local is not None:
        if not local.path.exists():
            raise SpecError(f"{local.path} does not exist; expected a wheel, a source archive or a project")
        return f"{local.path}{local.extras}"
    if not _NAME.match(text) and "://" not in text:
        raise SpecError(
            f"{shown!r} is not a requirement: expected one such as 'acme-photos>=2', or the path of a wheel"
        )
    return text


def local_source(text: str) -> LocalSource | None:
    """Return the path that a requirement is; None if it names a package."""
    found = _PATH.fullmatch(text)
    if found is None or "://" in text:
        return None
    path = found[1]
    if path in (".", "..") or "/" in path.partition(";")[0].partition("@")[0] or path.endswith(_ARCHIVES):
        return LocalSource(Path(os.path.abspath(path)), found[2] or "")
    return None


def name_of(requirement: str) -> str:
    """Return the normalised name of the package that a requirement asks for, "" if it is a bare URL."""
    found = _NAME.match(requirement)
    return normalised(found[1]) if found else ""


def with_extframe(requirements: list[str]) -> list[str]:
    """Return requirements that include extframe, which serves the plugin, in any version that the plugin allows."""
    return requirements if EXTFRAME in map(name_of, requirements) else [*requirements, EXTFRAME]
