"""Virtual environments for tests, in which what is tested is really installed by pip. Reaches no network."""

from __future__ import annotations

import os
import subprocess
import sys
import sysconfig
import venv
from pathlib import Path


class Environment:
    """A virtual environment that falls back on the packages of the running one: dependencies, and pip itself."""

    def __init__(self, directory: Path, *, fallback: str) -> None:
        """``fallback`` is a line for a .pth file, where ``{}`` stands for each directory of the running environment."""
        venv.create(directory, with_pip=False, symlinks=True)
        self.scripts = directory / "bin"
        self.python = self.scripts / "python"
        (site,) = directory.glob("lib/python*/site-packages")
        ours = dict.fromkeys(sysconfig.get_path(kind) for kind in ("purelib", "platlib"))
        (site / "fallback.pth").write_text("".join(f"{fallback.format(directory)}\n" for directory in ours))

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
        assert ended.returncode == 0, ended.stderr
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
