"""Virtual environments for tests, in which what is tested is really installed by pip. Reaches no network."""

from __future__ import annotations

import fcntl
import os
import re
import subprocess
import sys
import venv
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest


def sites() -> list[Path]:
    """Return the directories into which pip installs for the running Python."""
    return [path for path in map(Path, sys.path) if path.name in ("site-packages", "dist-packages") and path.is_dir()]


def built_once(factory: pytest.TempPathFactory, name: str, build: Callable[[Path], object]) -> Path:
    """Return a directory that one process of the test run builds, for all of them."""
    shared = factory.getbasetemp()
    if "PYTEST_XDIST_WORKER" in os.environ:
        shared = shared.parent
    directory, is_built = shared / name, shared / f"{name}.built"
    with (shared / f"{name}.lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        if not is_built.exists():
            directory.mkdir()
            build(directory)
            is_built.touch()
    return directory


class Environment:
    """A virtual environment that falls back on the packages of the running one: dependencies, and pip itself."""

    def __init__(self, directory: Path, *, fallback: str) -> None:
        """``fallback`` is a line for a .pth file, formatted with each package directory of the running environment.

        An environment that exists is used as it is.
        """
        is_new = not (directory / "pyvenv.cfg").exists()
        if is_new:
            venv.create(directory, with_pip=False, symlinks=True)
        self.scripts = directory / "bin"
        self.python = self.scripts / "python"
        (self.site,) = directory.glob("lib/python*/site-packages")
        if is_new and fallback:
            (self.site / "fallback.pth").write_text("".join(f"{fallback.format(str(site))}\n" for site in sites()))

    def run(self, *arguments: str | Path, **environment: str) -> str:
        """Run Python with these arguments and return what it prints."""
        ended = subprocess.run(
            [self.python, *arguments],
            cwd=self.scripts,  # no checkout
            env={**os.environ, "PYTHONPATH": "", **environment},
            capture_output=True,
            text=True,
            timeout=120,
        )
        assert ended.returncode == 0, ended.stderr + ended.stdout
        return ended.stdout

    def install(self, *wheels: Path) -> None:
        # Also what the fallback has: here it is to come from these wheels.
        self.run("-m", "pip", "install", "--quiet", "--no-index", "--no-deps", "--ignore-installed", *wheels)

    def uninstall(self, distribution: str) -> None:
        self.run("-m", "pip", "uninstall", "--quiet", "--yes", distribution)


def build_wheels(directory: Path, *projects: Path) -> list[Path]:
    """Build a wheel of each project, with the running environment's setuptools, and return them."""
    subprocess.run(
        [sys.executable, "-m", "pip", "wheel", "--quiet", "--no-index", "--no-deps", "--no-build-isolation",
         "--wheel-dir", directory, *projects],
        check=True,
        timeout=300,
    )  # fmt: skip
    return sorted(directory.glob("*.whl"))


# --- an environment without the handlers that happen to be installed ------------------------------------


def handlers_of_others() -> Iterator[Path]:
    """Yield the metadata directories of the installed packages, extframe excepted, that bring handlers."""
    for place in map(Path, sys.path):
        for entry_points in place.glob("*-info/entry_points.txt"):
            name = entry_points.parent.stem.partition("-")[0]
            if name != "extframe" and re.search(r"^\[extframe\]", entry_points.read_text(), re.MULTILINE):
                yield entry_points.parent


def leave_out(handlers: list[Path], directory: Path) -> None:
    """Go on, here and in what ``sys.executable`` starts, with an environment that lacks some packages' handlers.

    ``handlers`` are the packages' metadata directories. The environment has links to everything else.
    """
    left_out = {path for metadata in handlers for path in (metadata, *_path_files(metadata))}
    clean = Environment(directory, fallback="")
    for site in sites():
        for entry in site.iterdir():
            link = clean.site / entry.name
            if entry not in left_out and not link.exists():
                link.symlink_to(entry)
    for script in Path(sys.executable).parent.iterdir():
        link = clean.scripts / script.name
        if not link.exists():
            link.symlink_to(script)
    sys.executable = str(clean.python)
    places = [*sites(), *(metadata.parent for metadata in handlers)]
    sys.path[:] = [entry for entry in sys.path if Path(entry) not in places] + [str(clean.site)]


def _path_files(metadata: Path) -> list[Path]:
    """Return the files by which an editable package puts its source, with metadata in it, on the path."""
    record = metadata / "RECORD"
    names = re.findall(r"^([^/,]+\.pth),", record.read_text(), re.MULTILINE) if record.exists() else []
    return [metadata.parent / name for name in names]
