"""Build one environment: resolve, download, install. Replaces nothing that is in use."""

from __future__ import annotations

import shutil
import subprocess
from collections.abc import Callable, Sequence
from pathlib import Path

from ...errors import ExtframeError
from .installers import Installer
from .interpreters import version_of
from .lock_file import Lock, Package
from .requirements import LocalSource, check_requirement, local_source, with_extframe
from .shared_files import share_files
from .store import Store, sites_of

Progress = Callable[[str, int, int], None]
"""Is called with a step, how much of it is done, and how much there is to do."""


def resolve(store: Store, installer: Installer, draft: Path, requirements: Sequence[str], progress: Progress) -> Lock:
    """Return the packages that meet the requirements, for the Python of an empty environment.

    Args:
        store: keeps wheels that are built of projects.
        installer: resolves and builds.
        draft: the environment.
        requirements: of the user; extframe is added.
        progress: is called with each step.

    Raises:
        ExtframeError: there are no such packages, or they cannot be found.
    """
    progress("resolving", 0, 1)
    asked = [check_requirement(each) for each in requirements]
    python = draft / "bin" / "python"
    prepared = [_prepared(store, installer, python, each) for each in asked]
    packages = installer.resolve(with_extframe(prepared), python)
    return Lock(version_of(str(python)), tuple(asked), tuple(packages))


def _prepared(store: Store, installer: Installer, python: Path, requirement: str) -> str:
    """Return a requirement of a wheel in the store instead of a local file or project."""
    local = local_source(requirement)
    if local is None:
        return requirement
    directory = python.parents[1] / "built"
    wheel = store.add_file(_wheel_of(installer, python, local, directory))
    shutil.rmtree(directory, ignore_errors=True)
    return f"{wheel.name.partition('-')[0]}{local.extras} @ {wheel.as_uri()}"


def _wheel_of(installer: Installer, python: Path, local: LocalSource, directory: Path) -> Path:
    if local.path.suffix == ".whl":
        return local.path
    installer.build(local.path, directory, python)
    built = list(directory.glob("*.whl"))
    if len(built) != 1:
        raise ExtframeError(f"building {local.path} made {len(built)} wheels; expected one")
    return built[0]


def install(store: Store, installer: Installer, draft: Path, lock: Lock, progress: Progress) -> None:
    """Install the packages of a lock file into an empty environment. Code of wheels is not run.

    Raises:
        ExtframeError: a package cannot be downloaded, or has another hash.
    """
    python = draft / "bin" / "python"
    _download(store, installer, draft, lock, progress)
    progress("installing", 0, 1)
    installer.install([_line(store, each) for each in lock.packages], python)
    _compile(draft)
    share_files(draft, store.environments())


def _download(store: Store, installer: Installer, draft: Path, lock: Lock, progress: Progress) -> None:
    missing = [each.line for each in lock.packages if store.file_of(each.hashes) is None]
    saved = 0

    def count(line: str) -> None:
        nonlocal saved
        saved += line.startswith("Saved ")
        progress("downloading", saved, len(missing))

    if missing:
        progress("downloading", 0, len(missing))
        directory = draft / "downloads"
        directory.mkdir()
        installer.download(missing, directory, draft / "bin" / "python", count)
        for path in directory.iterdir():
            store.add_file(path)
            path.unlink()
        directory.rmdir()


def _line(store: Store, package: Package) -> str:
    path = store.file_of(package.hashes)
    if path is None:
        return package.line
    return Package(package.name, "", package.hashes, path.as_uri()).line


def _compile(environment: Path) -> None:
    """Compile all modules, as the plugin may run as a user who cannot write here.

    The result depends only on the source: environments share it. -S, as .pth files of packages run code.
    """
    command = [str(environment / "bin" / "python"), "-I", "-S", "-m", "compileall", "-q"]
    options = ["--invalidation-mode", "unchecked-hash", "-s", str(environment)]
    subprocess.run(
        [*command, *options, *map(str, sites_of(environment))],
        stdin=subprocess.DEVNULL,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
        umask=0o022,
        check=False,  # some packages contain files that are not Python of this version
    )
