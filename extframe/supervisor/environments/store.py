"""The directory of a host's environments: what is current, drafts, replacement at once. Installs nothing.

::

    ENVIRONMENTS/.lock                      held while anything here changes
    ENVIRONMENTS/.wheels/SHA256/FILE        every package file that a lock file may need again
    ENVIRONMENTS/photos/3.13-0a1b2c.../     a virtual environment, never changed once it has this name
    ENVIRONMENTS/photos/current             a link to the one that counts
"""

from __future__ import annotations

import hashlib
import os
import shutil
import tempfile
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path

from ...concurrency.system import lock, lock_now, require_unix
from ...errors import SpecError
from ...registry.ownership import check_writers

CURRENT = "current"
LOCK_COPY = "extframe.lock"
_DRAFT = ".new-"
_CONFIGURATION = "pyvenv.cfg"


@dataclass(frozen=True)
class EnvironmentStatus:
    """One environment, as it is on disk.

    Args:
        path: the directory that is current; "" if none is installed.
        fault: why it cannot be used; "" if it can.
        name: its name.
        python: the version of its interpreter, such as ``3.13.1``; "" if that is not known.
        key: the name of the current directory, which lock file and version of Python determine; "" if the user made it.
    """

    path: str
    fault: str
    name: str = ""
    python: str = ""
    key: str = ""


def status_of_environment(root: str, name: str) -> EnvironmentStatus:
    """Return whether an environment is installed and has an interpreter."""
    directory, key = os.path.join(root, name), ""
    try:
        key = os.readlink(os.path.join(directory, CURRENT))
    except FileNotFoundError:  # a virtual environment that the user made
        if not os.path.exists(os.path.join(directory, _CONFIGURATION)):
            return EnvironmentStatus("", f"environment {name!r} is not installed in {root}", name)
    except OSError as error:
        return EnvironmentStatus("", f"environment {name!r} in {root} cannot be read: {error.strerror}", name)
    path = os.path.join(directory, key) if key else directory
    python = os.path.join(path, "bin", "python")
    fault = ""
    if not os.path.lexists(python):
        fault = f"environment {name!r} has lost {python}"
    elif not os.path.exists(python):
        fault = f"environment {name!r} has lost its interpreter {os.path.realpath(python)}"
    return EnvironmentStatus(path, fault, name, _python_version(path), key)


def _python_version(environment: str) -> str:
    with suppress(OSError), open(os.path.join(environment, _CONFIGURATION), encoding="utf-8") as file:
        for line in file:
            key, _, value = line.partition("=")
            if key.strip() in ("version", "version_info"):  # of venv, of uv
                return ".".join(value.strip().split(".")[:3])
    return ""


def python_of(root: str, name: str, *, allow_unsafe: bool = False) -> str:
    """Return the path of the interpreter of the current environment ``name``.

    The path remains valid for a running process after the environment was upgraded once.

    Args:
        root: the directory of the environments.
        name: the environment.
        allow_unsafe: use it even if other users can write it.

    Raises:
        SpecError: it is not installed, or its interpreter was removed, or other users can write it.
    """
    status = status_of_environment(root, name)
    if status.fault:
        raise SpecError(f"{status.fault}; install it with `extframe sync {name}`", source=os.path.join(root, name))
    python = os.path.join(status.path, "bin", "python")
    for path in () if allow_unsafe else (python, *map(str, sites_of(Path(status.path)))):
        _check_safe(name, path)
    return python


def _check_safe(name: str, path: str) -> None:
    try:
        check_writers(path, os.stat(path))
    except SpecError as wrong:
        raise SpecError(f"environment {name!r}: {wrong}", source=path, remedy=wrong.remedy) from wrong


def sites_of(environment: Path) -> list[Path]:
    """Return the directories into which packages are installed."""
    return sorted(environment.glob("lib/python3*/site-packages"))


class Store:
    """The environments of one host.

    Args:
        root: their directory. It is created when something is installed.
    """

    def __init__(self, root: str) -> None:
        self.root = Path(root)
        self.wheels = self.root / ".wheels"

    # Changes. All of them need `exclusive`.

    @contextmanager
    def exclusive(self, waiting: Callable[[], None]) -> Iterator[int]:
        """Hold the lock of this directory, and remove what interrupted changes left.

        Yields its descriptor. Processes that change this directory inherit it, so that the lock is held until the last
        of them has ended, even if this one is killed.

        Args:
            waiting: is called if another process holds the lock.
        """
        require_unix("an environment for plugins")
        make_directory(self.root)
        descriptor = os.open(self.root / ".lock", os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o644)
        try:
            try:
                lock_now(descriptor)
            except BlockingIOError:
                waiting()
                lock(descriptor)
            for left in self.root.glob(f"*/{_DRAFT}*"):
                _remove_tree(left)
            yield descriptor
        finally:
            os.close(descriptor)

    @contextmanager
    def draft(self, name: str) -> Iterator[Path]:
        """Yield the path of a directory for a new environment; remove it at the end, unless it was adopted."""
        make_directory(self.root / name)
        path = Path(tempfile.mkdtemp(prefix=_DRAFT, dir=self.root / name))
        path.chmod(0o755)
        try:
            yield path
        finally:
            _remove_tree(path)
            with suppress(OSError):  # it is not empty, unless this was the first environment and it failed
                path.parent.rmdir()

    def has(self, name: str, key: str) -> bool:
        """Return whether this environment exists and has an interpreter."""
        return (self.root / name / key / "bin" / "python").exists()

    def adopt(self, name: str, draft: Path, key: str, lock: str) -> None:
        """Give a finished draft its final name. It is not current yet."""
        final = self.root / name / key
        _rename_in_scripts(draft, final)
        write_file(draft / LOCK_COPY, lock)
        if final.exists():  # its interpreter is gone
            _remove_tree(final)
        draft.rename(final)

    def switch(self, name: str, key: str) -> bool:
        """Make an environment the current one; return whether it was not. The one before it is kept."""
        link = self.root / name / CURRENT
        before = os.readlink(link) if link.is_symlink() else ""
        if before != key:
            new = self.root / name / f"{_DRAFT}link-{os.getpid()}"
            new.symlink_to(key)
            new.rename(link)
            for other in (self.root / name).iterdir():
                if other.name not in (before, key, CURRENT):
                    _remove_tree(other)
        return before != key

    def remove(self, name: str) -> None:
        """Remove all of an environment."""
        with suppress(FileNotFoundError):
            gone = self.root / name / f"{_DRAFT}removed"
            (self.root / name / CURRENT).rename(gone)  # not installed from here on, whatever interrupts this
        _remove_tree(self.root / name)

    # Package files.

    def add_file(self, path: Path) -> Path:
        """Copy a package file into the store and return its path there."""
        directory = self.wheels / hashlib.sha256(path.read_bytes()).hexdigest()
        make_directory(directory)
        target = directory / path.name
        if not target.exists():
            draft = directory / f"{_DRAFT}{os.getpid()}"
            shutil.copyfile(path, draft)
            draft.chmod(0o644)
            draft.rename(target)
        return target

    def file_of(self, hashes: Iterable[str]) -> Path | None:
        """Return the package file that has one of these hashes, None if the store has none."""
        for each in hashes:
            directory = self.wheels / each.removeprefix("sha256:")
            for path in directory.glob("[!.]*") if directory.is_dir() else ():
                return path
        return None

    def file_directories(self) -> list[Path]:
        """Return the directories of all package files."""
        return sorted(self.wheels.iterdir()) if self.wheels.is_dir() else []

    def keep_files(self, hashes: set[str]) -> None:
        """Remove the package files that have none of these hashes."""
        for directory in self.file_directories():
            if f"sha256:{directory.name}" not in hashes:
                _remove_tree(directory)

    # What is there.

    def names(self) -> list[str]:
        """Return the names of the environments, sorted."""
        try:
            return sorted(each.name for each in self.root.iterdir() if each.is_dir() and each.name[0] != ".")
        except FileNotFoundError:
            return []

    def environments(self) -> list[Path]:
        """Return the directories of all complete environments."""
        return [copy.parent for copy in self.root.glob(f"*/[!.]*/{LOCK_COPY}") if copy.parent.name != CURRENT]


def make_directory(path: Path) -> None:
    """Create a directory and its parents, writable for this user alone and readable for all."""
    for parent in reversed((path, *path.parents)):
        with suppress(FileExistsError):
            parent.mkdir(mode=0o755)
            parent.chmod(0o755)  # whatever the umask is


def write_file(path: Path, text: str) -> None:
    """Replace the content of a file at once. Its mode remains; that of a new file is 0644."""
    mode = path.stat().st_mode & 0o777 if path.exists() else 0o644
    descriptor, draft = tempfile.mkstemp(prefix=f".{path.name}-", dir=path.parent)
    try:
        with open(descriptor, "w", encoding="utf-8") as file:
            file.write(text)
        os.chmod(draft, mode)
        os.rename(draft, path)
    except BaseException:
        os.unlink(draft)
        raise


def _rename_in_scripts(draft: Path, final: Path) -> None:
    """Replace the path of a draft in the first lines of its scripts and in pyvenv.cfg."""
    before, after = os.fsencode(draft), os.fsencode(final)
    for path in (draft / _CONFIGURATION, *(draft / "bin").iterdir()):
        if path.is_file() and not path.is_symlink() and before in (content := path.read_bytes()):
            path.write_bytes(content.replace(before, after))


def _remove_tree(path: Path) -> None:
    if path.is_symlink() or path.is_file():
        path.unlink(missing_ok=True)
    else:
        shutil.rmtree(path, ignore_errors=not path.exists())
