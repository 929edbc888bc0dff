"""The plugins that hosts at a location start: their configuration, and what running hosts report. Starts nothing."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from ..errors import ActivationError, ExtframeError, PluginNotFound, SpecError
from ..protocol import PluginSpec
from ..supervisor.config_files import ConfigFiles
from ..supervisor.environments.store import EnvironmentStatus, status_of_environment
from ..supervisor.plugin_sources import PluginSources
from ..supervisor.status import ProcessState
from ..supervisor.status_files import HostReport, RunningHosts

if TYPE_CHECKING:
    from ..supervisor.config import PluginConfig
    from ..supervisor.directories import Directories

_HAS_PROCESS = (ProcessState.STARTING, ProcessState.RUNNING)


@dataclass(frozen=True)
class HostedPlugin:
    """A plugin that hosts start.

    Args:
        name: its name.
        config: its configuration; None if that cannot be used.
        error: why it cannot be used: its configuration, its environment or its process.
        report: what a running host reports about it; None if no host has used it so far.
        environment: the environment that it runs in, if it has one.
    """

    name: str
    config: PluginConfig | None
    error: ExtframeError | None
    report: HostReport | None
    environment: EnvironmentStatus | None

    @property
    def state(self) -> str:
        """The state of its process, a `ProcessState`."""
        if self.error is not None:
            return ProcessState.FAILED.value
        return ProcessState.IDLE.value if self.report is None else self.report.status.state.value

    @property
    def source(self) -> str:
        """Its file or its package."""
        if self.config is not None:
            return self.config.source
        return (self.error.source or "") if isinstance(self.error, SpecError) else ""

    @property
    def runs(self) -> bool:
        """Whether it has a process, so that a connection starts nothing."""
        return self.report is not None and self.report.status.state in _HAS_PROCESS

    @property
    def spec(self) -> PluginSpec | None:
        """Where a running host has it listen, or None. A connection starts it."""
        if self.report is None or self.config is None:
            return None
        from ..supervisor.process_environment import uid_of

        uids = frozenset({uid_of(self.config)} if self.config.socket == "own" else ())
        return PluginSpec(self.name, f"unix://{self.report.socket}", source=self.config.source, peer_uids=uids)

    @property
    def environment_text(self) -> str:
        """Its environment for people, such as ``photos (Python 3.13.1)``; "" if it has none."""
        if self.environment is None:
            return ""
        version = f" (Python {self.environment.python})" if self.environment.python else ""
        return f"{self.environment.name}{version}"

    def as_json(self) -> dict[str, object]:
        """Return what only these plugins have, for JSON; what is not known is None."""
        status = None if self.report is None else self.report.status
        environment = self.environment
        return {
            "pid": status.pid if status is not None else None,
            "started": status.started if status is not None else None,
            "restarts": status.restarts if status is not None else None,
            "exit": str(status.exit) if status is not None and status.exit is not None else None,
            "environment": None
            if environment is None
            else {"name": environment.name, "path": environment.path or None, "python": environment.python or None},
        }


class HostedPlugins:
    """The plugins that the hosts at a location start.

    Args:
        directories: those of the hosts.
        configuration: only hosts with this directory of configuration; all if None.
        allow_unsafe: read files that other users can write.

    Raises:
        SpecError: a directory is one of Docker's, where no host has files of plugins.
    """

    def __init__(self, directories: Directories, configuration: str | None = None, *, allow_unsafe: bool) -> None:
        self.directories = directories
        self.hosts = RunningHosts(directories.run, configuration)
        files = ConfigFiles(directories.configs, allow_unsafe=allow_unsafe)
        self._sources = PluginSources(files, directories.environments)

    def scan(self) -> list[str]:
        """Return the names of the plugins, sorted.

        Raises:
            ExtframeError: a directory cannot be read.
        """
        return self._sources.scan()

    def sources(self, name: str) -> list[str]:
        """Return the files of a plugin: the one that counts, then those that it hides."""
        return self._sources.sources(name)

    def look(self, name: str) -> HostedPlugin | None:
        """Return what is known about a plugin; None if hosts have no such plugin.

        Raises:
            SpecError: the name is invalid.
        """
        report = self.hosts.report(name)
        try:
            config = self._sources.read(name).config
        except PluginNotFound:
            return None
        except ExtframeError as wrong:
            return HostedPlugin(name, None, wrong, report, None)
        environment = self._environment(config)
        return HostedPlugin(name, config, _fault(config, environment, report), report, environment)

    def _environment(self, config: PluginConfig) -> EnvironmentStatus | None:
        if config.python is None or config.python.environment is None:
            return None
        return status_of_environment(self.directories.environments, config.python.environment)


def _fault(
    config: PluginConfig, environment: EnvironmentStatus | None, report: HostReport | None
) -> ExtframeError | None:
    if environment is not None and environment.fault:
        message = f"{environment.fault}; install it with `extframe sync {environment.name}`"
        return SpecError(f"{config.source}: {message}", plugin=config.name, source=config.source)
    if report is None or report.status.state not in (ProcessState.FAILED, ProcessState.WAITING):
        return None
    return ActivationError(f"plugin {config.name!r} {report.status.exit}", plugin=config.name)
