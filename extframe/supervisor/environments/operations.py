"""Install, upgrade, uninstall and sync the environments of a host's plugins."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path

from ...errors import ExtframeError, PluginNotFound, SpecError
from ...handlers.entry_points import PLUGIN_GROUP, entry_points
from ...text import quoted
from ..config import PythonPlugin
from ..installed_plugins import class_of
from . import build
from .build import Progress
from .commands import Commands
from .installers import Installer, Sources, select_installer
from .lock_file import Lock, parse_lock
from .plugin_file import check_replaceable, plugin_files, read_plugin_file, write_plugin_file
from .store import LOCK_COPY, Store, make_directory, sites_of, write_file

_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,99}", re.ASCII)


@dataclass(frozen=True)
class Options:
    """How environments are built.

    Args:
        sources: where packages come from, in addition to the index.
        installer: ``uv`` or ``pip``; None for uv if there is one, else pip.
        progress: is called with each step.
        waiting: is called if another process changes the environments, and this one waits for it.
    """

    sources: Sources = field(default_factory=Sources)
    installer: str | None = None
    progress: Progress = lambda step, done, total: None
    waiting: Callable[[], None] = lambda: None


@dataclass(frozen=True)
class Installation:
    """The outcome for one plugin.

    Args:
        name: the plugin.
        lock: what is in its environment.
        plugin: the class that is served.
        changed: whether a new environment is current.
    """

    name: str
    lock: Lock
    plugin: PythonPlugin
    changed: bool


class Environments:
    """The environments of a host's plugins, with their lock files and configuration.

    ``NAME.toml`` and ``NAME.lock`` are in ``configs``; the environment of plugin NAME has its name. Whatever fails or
    is interrupted, the environment that was current remains so.

    Args:
        configs: the directory of the configuration.
        root: the directory of the environments.
        options: how they are built; None for the defaults.

    All methods raise ExtframeError if a directory cannot be written, packages cannot be found or their hashes differ.
    """

    def __init__(self, configs: str, root: str, options: Options | None = None) -> None:
        self._configs = Path(configs)
        self._store = Store(root)
        self._options = options or Options()

    def install(
        self, name: str, requirements: Sequence[str], *, python: str | None = None, plugin: str | None = None
    ) -> Installation:
        """Install a plugin, or install it again with other requirements.

        Args:
            name: of the plugin, its environment and its configuration.
            requirements: packages, or paths of wheels and projects.
            python: the version of Python, such as ``3.13``, or a path; None for the running interpreter.
            plugin: the name of the entry point; None for ``name``, or the only one.

        Raises:
            SpecError: a name or requirement is invalid, or ``NAME.toml`` starts another program.
            ExtframeError: see above; or no package has an entry point for a plugin.
        """
        path = self._config(name)
        with self._exclusive() as installer:
            check_replaceable(path, name)
            return self._install(installer, name, requirements, python, plugin)

    def upgrade(self, name: str, *, python: str | None = None) -> Installation:
        """Resolve the requirements of a plugin again, and install what that gives.

        Raises:
            PluginNotFound: it was not installed here.
        """
        with self._exclusive() as installer:
            lock = self._lock(name)
            config = read_plugin_file(self._config(name), name)
            current = config.python.plugin if config is not None and config.python is not None else None
            return self._install(installer, name, lock.requirements, python or lock.python, None, current)

    def sync(self, name: str) -> Installation:
        """Build the environment that a lock file describes, unless it is there. Resolves nothing.

        Raises:
            PluginNotFound: the lock file does not exist.
        """
        with self._exclusive() as installer:
            lock = self._lock(name)
            if not self._store.has(name, lock.key):
                with self._store.draft(name) as draft:
                    installer.create(draft, lock.python)
                    build.install(self._store, installer, draft, lock, self._options.progress)
                    self._store.adopt(name, draft, lock.key, lock.text)
            config = read_plugin_file(self._config(name), name)
            known = config.python if config is not None else None
            plugin = known or PythonPlugin(self._class(name, lock.key, None, None), name)
            return self._finish(name, lock, plugin)

    def uninstall(self, name: str) -> None:
        """Remove a plugin's configuration, lock file and environment.

        Raises:
            PluginNotFound: it was not installed here.
            SpecError: another plugin uses its environment.
        """
        path = self._config(name)
        with self._locked():
            if not self._lock_path(name).exists() and name not in self._store.names():
                raise self._not_found(name)
            self._check_unused(name)
            config = read_plugin_file(path, name)
            if config is not None and config.python is not None and config.python.environment == name:
                path.unlink()
            self._lock_path(name).unlink(missing_ok=True)
            self._store.remove(name)
            self._remove_unused_files()

    def locked(self) -> list[str]:
        """Return the names of the plugins that have a lock file, sorted."""
        return sorted(each.stem for each in self._configs.glob("[!.]*.lock"))

    def lock(self, name: str) -> Lock:
        """Return the lock file of a plugin.

        Raises:
            PluginNotFound: it was not installed here.
            SpecError: the file has a mistake.
        """
        return self._lock(name)

    # Steps.

    def _install(
        self,
        installer: Installer,
        name: str,
        requirements: Sequence[str],
        python: str | None,
        entry: str | None,
        current: str | None = None,
    ) -> Installation:
        with self._store.draft(name) as draft:
            installer.create(draft, python)
            lock = build.resolve(self._store, installer, draft, requirements, self._options.progress)
            if not self._store.has(name, lock.key):
                build.install(self._store, installer, draft, lock, self._options.progress)
                self._store.adopt(name, draft, lock.key, lock.text)
        return self._finish(name, lock, PythonPlugin(self._class(name, lock.key, entry, current), name))

    def _finish(self, name: str, lock: Lock, plugin: PythonPlugin) -> Installation:
        """Make an environment current: from here on the plugin starts in it."""
        make_directory(self._configs)
        write_file(self._lock_path(name), lock.text)
        changed = self._store.switch(name, lock.key)
        config = read_plugin_file(self._config(name), name)
        if changed or config is None or config.python != plugin:
            write_plugin_file(self._config(name), name, plugin)
        self._remove_unused_files()
        return Installation(name, lock, plugin, changed)

    def _class(self, name: str, key: str, wanted: str | None, current: str | None) -> str:
        """Return the class to serve: that of the entry point that has the name, or of the only one."""
        sites = sites_of(self._store.root / name / key)
        found = {each.name: class_of(each) for each in entry_points((PLUGIN_GROUP,), [*map(str, sites)])}
        if current in found.values():
            return str(current)
        if wanted in found or (wanted is None and name in found):
            return found[wanted or name]
        if wanted is None and len(found) == 1:
            return next(iter(found.values()))
        if not found:
            raise ExtframeError(
                f"none of the packages has a plugin: expected an entry point of the group {PLUGIN_GROUP}"
            )
        raise ExtframeError(f"the packages have the plugins {', '.join(sorted(found))}; select one with --plugin")

    # Files.

    def _config(self, name: str) -> Path:
        return self._configs / f"{_checked_name(name)}.toml"

    def _lock_path(self, name: str) -> Path:
        return self._configs / f"{_checked_name(name)}.lock"

    def _lock(self, name: str) -> Lock:
        path = self._lock_path(name)
        try:
            return parse_lock(path.read_text(encoding="utf-8"), str(path))
        except FileNotFoundError:
            raise self._not_found(name) from None
        except UnicodeDecodeError as wrong:
            raise SpecError(f"{path} is not UTF-8; expected a lock file", source=str(path)) from wrong

    def _not_found(self, name: str) -> PluginNotFound:
        return PluginNotFound(f"no plugin {name!r} was installed: looked for {self._lock_path(name)}", plugin=name)

    def _check_unused(self, name: str) -> None:
        for other, path in plugin_files(self._configs).items():
            config = read_plugin_file(path, other)
            if other != name and config is not None and config.python is not None and config.python.environment == name:
                raise SpecError(f"{path} uses the environment {name!r}; uninstall {other!r} first", source=str(path))

    def _remove_unused_files(self) -> None:
        """Remove the package files that no lock file needs. If one cannot be read, all remain."""
        paths = [self._lock_path(each) for each in self.locked()]
        paths += [each / LOCK_COPY for each in self._store.environments()]
        with suppress(SpecError, UnicodeDecodeError):
            locks = [parse_lock(path.read_text(encoding="utf-8"), str(path)) for path in paths]
            self._store.keep_files({each for lock in locks for package in lock.packages for each in package.hashes})

    @contextmanager
    def _exclusive(self) -> Iterator[Installer]:
        with self._locked() as descriptor:
            yield select_installer(self._options.installer, Commands(descriptor), self._options.sources)

    @contextmanager
    def _locked(self) -> Iterator[int]:
        try:
            with self._store.exclusive(self._options.waiting) as descriptor:
                yield descriptor
        except OSError as error:
            where = error.filename or self._store.root
            raise ExtframeError(f"cannot change {where}: {error.strerror or error}") from error


def _checked_name(name: str) -> str:
    if not _NAME.fullmatch(name):
        raise SpecError(f"{quoted(name)} is invalid: expected letters, digits, '-', '_' and '.', such as photos")
    return name
