"""Check the environments of Python plugins against their lock files and the plugins that use them. Installs nothing."""

from __future__ import annotations

import os
from collections.abc import Iterator, Sequence
from contextlib import suppress
from dataclasses import dataclass
from importlib.metadata import distributions
from pathlib import Path

from ...errors import ExtframeError, PluginNotFound, SpecError
from ...supervisor.environments.lock_file import Lock, normalised
from ...supervisor.environments.operations import Environments
from ...supervisor.environments.store import (
    LOCK_COPY,
    EnvironmentStatus,
    Store,
    python_of,
    sites_of,
    status_of_environment,
)
from ..hosted_plugins import HostedPlugins
from ..shell import as_owner, as_writer, shell_command
from .context import CheckContext
from .diagnosis import Diagnosis, counted, ok, problem, warning


@dataclass(frozen=True)
class _Facts:
    """What is known about one environment.

    Args:
        status: the environment on disk.
        lock: its lock file, None if there is none; or what is wrong with it.
        lock_path: where the lock file is, or would be.
        users: the plugins that start in it.
    """

    status: EnvironmentStatus
    lock: Lock | ExtframeError | None
    lock_path: str
    users: Sequence[str]

    @property
    def name(self) -> str:
        return self.status.name


def check(context: CheckContext) -> Iterator[Diagnosis]:
    """Check each environment that is installed, locked or used."""
    hosted = context.hosted
    if hosted is None:
        return
    users: dict[str, list[str]] = {}
    for name, plugin in context.hosted_plugins.items():
        if plugin.environment is not None:
            users.setdefault(plugin.environment.name, []).append(name)
    installed = Environments(hosted.directories.configs[0], hosted.directories.environments)
    names = set(users)
    for names_of in (installed.locked, Store(hosted.directories.environments).names):
        with suppress(PermissionError):  # of configuration, the check of directories reports it
            names.update(names_of())
    for name in sorted(names):
        yield from _check(context, hosted, _facts(hosted, installed, name, users.get(name, ())))


def _facts(hosted: HostedPlugins, installed: Environments, name: str, users: Sequence[str]) -> _Facts:
    lock: Lock | ExtframeError | None
    try:
        lock = installed.lock(name)
    except PluginNotFound:
        lock = None
    except ExtframeError as wrong:
        lock = wrong
    except OSError as error:
        lock = ExtframeError(f"cannot be read: {error.strerror}")
    directories = hosted.directories
    path = os.path.join(directories.configs[0], f"{name}.lock")
    return _Facts(status_of_environment(directories.environments, name), lock, path, users)


def _check(context: CheckContext, hosted: HostedPlugins, facts: _Facts) -> Iterator[Diagnosis]:
    found = [*_usable(context, hosted, facts), *_locked(context, facts)]
    if not facts.users and facts.status.path:
        found.append(
            warning(
                facts.name,
                "is not used: no plugin here starts in it",
                where=facts.status.path,
                remedy="remove it, if no other host uses it",
                command=context.command("uninstall", plugin=facts.name),
            )
        )
    yield from found or [_good(facts)]


def _good(facts: _Facts) -> Diagnosis:
    packages = f", {counted(len(facts.lock.packages), 'package')}" if isinstance(facts.lock, Lock) else ""
    users = ", ".join(facts.users)
    return ok(facts.name, f"Python {facts.status.python}{packages}; used by {users}", where=facts.status.path)


def _usable(context: CheckContext, hosted: HostedPlugins, facts: _Facts) -> Iterator[Diagnosis]:
    """Check that plugins can start in it: that it is complete, safe from other users, and has extframe."""
    status, is_locked = facts.status, isinstance(facts.lock, Lock)
    if status.fault:
        yield problem(
            facts.name,
            status.fault,
            where=status.path or os.path.join(hosted.directories.environments, facts.name),
            remedy="build it from its lock file" if is_locked else "install the plugin again, with its requirements",
            command=context.command("sync", plugin=facts.name) if is_locked else "",
        )
        return
    try:
        python_of(hosted.directories.environments, facts.name)
    except SpecError as unsafe:
        if context.registry.allow_unsafe:
            return
        what, remedy = str(unsafe).removeprefix(f"environment {facts.name!r}: "), unsafe.remedy or ""
        where = unsafe.source or status.path
        yield problem(
            facts.name,
            what.partition("; fix with")[0],
            where=where,
            remedy="restrict write access",
            command=as_owner(remedy, where),
        )
        return
    sites = [str(site) for site in sites_of(Path(status.path))]
    if "extframe" not in {normalised(each.metadata["Name"] or "") for each in distributions(path=sites)}:
        python = os.path.join(status.path, "bin", "python")
        install = shell_command("-m pip install", "extframe")
        yield problem(
            facts.name,
            "does not have extframe, which serves the plugin in it",
            where=status.path,
            remedy="build it again from its lock file" if is_locked else "install extframe into it",
            command=context.command("sync", plugin=facts.name)
            if is_locked
            else as_writer(f"{shell_command(python)} {install}", status.path),
        )


def _locked(context: CheckContext, facts: _Facts) -> Iterator[Diagnosis]:
    """Check that it is what its lock file says. One that the user made needs none."""
    status, lock = facts.status, facts.lock
    copy = os.path.join(status.path, LOCK_COPY)
    restore = as_writer(shell_command("cp", copy, facts.lock_path), os.path.dirname(facts.lock_path))
    has_copy = bool(status.path) and os.path.exists(copy)
    if isinstance(lock, ExtframeError):
        reason = str(lock).removeprefix(f"{facts.lock_path}: ").partition("; restore it")[0]
        yield problem(
            facts.name,
            f"has a lock file that cannot be used: {reason}",
            where=facts.lock_path,
            remedy="restore the copy that is in the environment" if has_copy else "install the plugin again",
            command=restore if has_copy else "",
        )
    elif lock is None and status.key:
        yield warning(
            facts.name,
            "has no lock file, so that it can neither be upgraded nor built again",
            where=facts.lock_path,
            remedy="restore the copy that is in the environment" if has_copy else "install the plugin again",
            command=restore if has_copy else "",
        )
    elif lock is not None and status.key and lock.key != status.key and not status.fault:
        yield warning(
            facts.name,
            f"is not what its lock file says: {_difference(lock, status)}",
            where=facts.lock_path,
            remedy="build what the lock file says",
            command=context.command("sync", plugin=facts.name),
        )


def _difference(lock: Lock, status: EnvironmentStatus) -> str:
    version = status.key.partition("-")[0]
    if version != lock.python:
        return f"it has Python {version}, and the lock file says {lock.python}"
    return "its packages are others"
