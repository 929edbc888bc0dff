"""The programs that resolve and install packages: uv, or pip and venv. Decides nothing about environments."""

from __future__ import annotations

import hashlib
import json
import os
import re
import shutil
import sys
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path
from typing import Any, Protocol
from urllib.parse import unquote, urlsplit

from ...errors import ExtframeError
from .commands import Commands
from .interpreters import find_python, is_running
from .lock_file import Package, normalised


@dataclass(frozen=True)
class Sources:
    """Where packages come from, in addition to the index that pip or uv is configured for.

    Args:
        find_links: directories of wheels, or URLs of pages with links to them.
        offline: use the network for nothing.
    """

    find_links: tuple[str, ...] = ()
    offline: bool = False


class Installer(Protocol):
    """What building an environment needs."""

    def create(self, environment: Path, python: str | None) -> None:
        """Create an empty virtual environment for a version of Python, a path or the running interpreter."""

    def build(self, source: Path, directory: Path, python: Path) -> None:
        """Build a wheel of a project, or of a source archive, into a directory."""

    def resolve(self, requirements: Sequence[str], python: Path) -> list[Package]:
        """Return the packages that meet some requirements, with their hashes."""
        raise NotImplementedError

    def download(self, lines: Sequence[str], directory: Path, python: Path, line: Callable[[str], None]) -> None:
        """Download locked packages into a directory, if this installer has no cache of its own."""

    def install(self, lines: Sequence[str], python: Path) -> None:
        """Install exactly some locked packages."""


def select_installer(wanted: str | None, commands: Commands, sources: Sources) -> Installer:
    """Return uv if there is one, else pip, or the one that is wanted.

    Raises:
        ExtframeError: it is not installed.
    """
    uv = _find_uv() if wanted != "pip" else None
    if uv is not None:
        return Uv(uv, commands, sources)
    if wanted == "uv":
        raise ExtframeError("uv is not installed: pip install 'extframe[environments]'")
    pip = find_spec("pip")
    if pip is None or pip.origin is None:
        raise ExtframeError("environments need uv or pip: pip install 'extframe[environments]'")
    return Pip(os.path.dirname(pip.origin), commands, sources)


def _find_uv() -> str | None:
    if find_spec("uv") is not None:
        from uv import find_uv_bin

        return str(find_uv_bin())
    return shutil.which("uv")


def _list_of(lines: Sequence[str], directory: Path) -> str:
    path = directory / "requirements.txt"
    path.write_text("\n".join(lines) + "\n")
    return str(path)


class Pip:
    """pip of the host's environment, which installs into others, and the standard library's venv.

    Args:
        directory: the directory of the package pip.
        commands: runs it.
        sources: where packages come from.
    """

    def __init__(self, directory: str, commands: Commands, sources: Sources) -> None:
        # Not "python -m pip", for which a pip.py in the working directory would be run.
        self._start = [sys.executable, directory, "--disable-pip-version-check", "--no-input"]
        self._commands = commands
        self._links = [f"--find-links={each}" for each in sources.find_links]
        self._index = ["--no-index"] if sources.offline else []

    def create(self, environment: Path, python: str | None) -> None:
        """Create it without pip."""
        command = [find_python(python), "-I", "-m", "venv", "--without-pip", str(environment)]
        self._commands.run(command, "create a virtual environment")

    def build(self, source: Path, directory: Path, python: Path) -> None:
        """Run ``pip wheel``."""
        self._run(python, f"build {source}", "wheel", "--no-deps", f"--wheel-dir={directory}", str(source))

    def resolve(self, requirements: Sequence[str], python: Path) -> list[Package]:
        """Run ``pip install --dry-run`` and return what it would install. The hashes are those of these files alone."""
        report = self._run(
            python, f"resolve {', '.join(requirements)}",
            "install", "--dry-run", "--quiet", "--report=-", *requirements,
        )  # fmt: skip
        return [_reported(each) for each in json.loads(report)["install"]]

    def download(self, lines: Sequence[str], directory: Path, python: Path, line: Callable[[str], None]) -> None:
        """Run ``pip download``."""
        arguments = (
            "--no-deps",
            "--require-hashes",
            f"--dest={directory}",
            f"--requirement={_list_of(lines, python.parent)}",
        )
        self._run(python, "download the packages", "download", *arguments, line=line)

    def install(self, lines: Sequence[str], python: Path) -> None:
        """Run ``pip install``."""
        path = _list_of(lines, python.parent)
        arguments = ("--no-deps", "--require-hashes", "--no-compile", "--quiet", f"--requirement={path}")
        self._run(python, "install the packages", "install", *arguments)
        os.unlink(path)

    def _run(self, python: Path, act: str, subcommand: str, *arguments: str, **options: Any) -> str:
        command = [*self._start, "--python", str(python), subcommand, *self._index, *self._links, *arguments]
        return self._commands.run(command, act, **options)


def _reported(item: dict[str, Any]) -> Package:
    """Return a package of pip's installation report (version 1)."""
    name, version = normalised(item["metadata"]["name"]), item["metadata"]["version"]
    download = item["download_info"]
    digest = download.get("archive_info", {}).get("hashes", {}).get("sha256")
    if digest is None and download["url"].startswith("file:") and "archive_info" in download:
        digest = _digest(unquote(urlsplit(download["url"]).path))  # pip before 23.1 has none of local files
    if digest is None:
        raise ExtframeError(f"cannot lock {name}: {download['url']} has no hash; build a wheel of it, and install that")
    is_direct = item.get("is_direct", False) and not download["url"].startswith("file:")
    return Package(name, version, (f"sha256:{digest}",), download["url"] if is_direct else "")


def _digest(path: str) -> str:
    with open(path, "rb") as file:
        content = hashlib.sha256()
        while chunk := file.read(1 << 20):
            content.update(chunk)
    return content.hexdigest()


class Uv:
    """uv, which has a cache of its own and can download interpreters.

    Args:
        program: its path.
        commands: runs it.
        sources: where packages come from.
    """

    def __init__(self, program: str, commands: Commands, sources: Sources) -> None:
        self._start = [program, "--no-progress", "--color=never", *(["--offline"] if sources.offline else [])]
        self._commands = commands
        self._links = [f"--find-links={each}" for each in sources.find_links]

    def create(self, environment: Path, python: str | None) -> None:
        """Run ``uv venv``."""
        wanted = sys.executable if python is None or is_running(python) else python
        command = [*self._start, "venv", "--no-project", "--allow-existing", "--python", wanted, str(environment)]
        self._commands.run(command, "create a virtual environment")

    def build(self, source: Path, directory: Path, python: Path) -> None:
        """Run ``uv build``."""
        arguments = ("--wheel", f"--out-dir={directory}", f"--python={python}", str(source))
        self._commands.run([*self._start, "build", *self._links, *arguments], f"build {source}")

    def resolve(self, requirements: Sequence[str], python: Path) -> list[Package]:
        """Run ``uv pip compile``. The hashes are those of all files of each version."""
        arguments = ("--quiet", "--generate-hashes", "--no-header", "--no-annotate", f"--python={python}", "-")
        act = f"resolve {', '.join(requirements)}"
        text = "\n".join(requirements)
        found = self._commands.run([*self._start, "pip", "compile", *self._links, *arguments], act, text=text)
        return [_compiled(each) for each in re.sub(r"\s*\\\n\s*", " ", found).splitlines() if each.strip()]

    def download(self, lines: Sequence[str], directory: Path, python: Path, line: Callable[[str], None]) -> None:
        """Do nothing: ``uv pip install`` keeps what it downloads in uv's cache."""

    def install(self, lines: Sequence[str], python: Path) -> None:
        """Run ``uv pip install``."""
        path = _list_of(lines, python.parent)
        arguments = ("--quiet", "--no-deps", "--require-hashes", f"--python={python}", f"--requirement={path}")
        self._commands.run([*self._start, "pip", "install", *self._links, *arguments], "install the packages")
        os.unlink(path)


def _compiled(line: str) -> Package:
    """Return the package of one line that ``uv pip compile`` prints."""
    pin, *hashes = line.split(" --hash=")
    name, is_url, url = pin.partition(" @ ")
    if not hashes:
        raise ExtframeError(f"cannot lock {pin}: it has no hash; build a wheel of it, and install that")
    if is_url and url.startswith("file:"):
        return Package(normalised(name), wheel_version(unquote(urlsplit(url).path)), tuple(hashes))
    if is_url:
        return Package(normalised(name), "", tuple(hashes), url)
    name, _, version = pin.partition("==")
    return Package(normalised(name), version, tuple(hashes))


def wheel_version(path: str) -> str:
    """Return the version in the name of a wheel.

    >>> wheel_version("/tmp/acme_photos-2.1-py3-none-any.whl")
    '2.1'
    """
    return os.path.basename(path).split("-")[1]
