"""The processes of one supervisor while it runs: its threads, its launcher, its directory and its plugins."""

from __future__ import annotations

import os
from collections.abc import Callable, Collection, Sequence
from contextlib import ExitStack, suppress
from itertools import count
from time import monotonic, sleep

from ..errors import ExtframeError
from ..logs import get_logger
from ..protocol import Address, PluginSpec
from .config_files import ConfigFile
from .event_loop import EventLoop
from .launcher import Launcher
from .output import OutputReader
from .process_environment import uid_of
from .process_run import ProcessHost
from .run_directory import RunDirectory
from .supervised_plugin import SupervisedPlugin

STOP_GRACE = 5.0  # seconds after the longest stop_timeout in which processes that were killed have ended
_POLL = 0.005  # seconds between two looks whether all processes have ended

logger = get_logger(__name__)


class PluginProcesses:
    """Everything that a supervisor has once it is used.

    Args:
        run_directory: in which this host gets a directory.
        configuration: the directories of the configuration.
        environments: the directory of the environments of Python plugins.
        python: the interpreter of the launcher.
        changed: called after each change of a state.
        echo: called with each line of output, if given.

    Raises:
        SpecError: the run directory cannot be used.
        ExtframeError: the system has no thread.
    """

    def __init__(
        self,
        run_directory: str,
        configuration: Sequence[str],
        *,
        environments: str,
        python: str,
        changed: Callable[[], object],
        echo: Callable[[str, str], object] | None,
    ) -> None:
        self.plugins: dict[str, SupervisedPlugin] = {}
        self._keys = count()
        self._by_key: dict[int, SupervisedPlugin] = {}
        self._launcher: Launcher | None = None
        self._is_closing = False
        with ExitStack() as undo:
            self._directory = RunDirectory(run_directory, configuration)
            undo.callback(self._directory.close)
            self._output = OutputReader()
            undo.callback(self._output.close, STOP_GRACE)
            self.loop = EventLoop("extframe supervisor", self._release)
            undo.callback(self.loop.end, STOP_GRACE)
            self._host = ProcessHost(
                loop=self.loop,
                launcher=self._running_launcher,
                output=self._output,
                run=self._directory.path,
                environments=environments,
                python=python,
                changed=changed,
                echo=echo,
            )
            undo.pop_all()
        self.loop.submit(self._running_launcher)  # it starts while the first plugin is looked up

    def close(self) -> None:
        """Stop every process and wait for its end; end the threads and remove the directory."""
        with suppress(ExtframeError):
            self.loop.call(self._stop_all)
        longest = max((each.config.stop_timeout for each in self._by_key.values()), default=0.0)
        deadline = monotonic() + longest + STOP_GRACE
        while any(each.has_process for each in self._by_key.values()) and monotonic() < deadline:
            sleep(_POLL)
        self.loop.end(STOP_GRACE)
        self._output.close(STOP_GRACE)
        self._directory.close()

    # --- in the thread of the loop -------------------------------------------------------------------------

    def spec(self, file: ConfigFile) -> PluginSpec:
        """Return where a plugin listens, which is made ready for a connection.

        Raises:
            ActivationError, SpecError: see `SupervisedPlugin.require_startable`.
        """
        plugin = self.plugin(file)
        plugin.require_startable()
        config = plugin.config
        uids = frozenset({uid_of(config)} if config.socket == "own" else ())
        return PluginSpec(
            config.name,
            plugin.address,
            source=config.source,
            stamp=(plugin.file.stamp, plugin.found_generation),
            peer_uids=uids,
            settings=config.settings,
        )

    def plugin(self, file: ConfigFile) -> SupervisedPlugin:
        """Return the plugin with this configuration; it is ready for a connection, or starts."""
        if self._is_closing:
            raise ExtframeError("this Supervisor is closed; create a new one")
        name = file.config.name
        plugin = self.plugins.get(name)
        if plugin is not None:
            plugin.configure(file)
            return plugin
        plugin = next((each for each in self._by_key.values() if each.has_process and each.config.name == name), None)
        if plugin is not None:  # of a file that was removed: it still has the socket
            self.plugins[name] = plugin
            plugin.restore(file)
            return plugin
        Address.parse(f"unix://{os.path.join(self._directory.path, name)}.sock")  # is its path short enough?
        plugin = SupervisedPlugin(next(self._keys), file, self._host)
        self.plugins[name] = self._by_key[plugin.key] = plugin
        plugin.open()
        return plugin

    def notice(self, file: ConfigFile) -> None:
        """Start a plugin that is always to run; give one that was used its configuration."""
        if file.config.name in self.plugins or file.config.start == "always":
            self.plugin(file)

    def keep_only(self, names: Collection[str]) -> None:
        """Stop the plugins that have no file any more."""
        for name in self.plugins.keys() - set(names):
            self.remove(name)
        kept = set(self.plugins.values())
        self._by_key = {key: each for key, each in self._by_key.items() if each in kept or each.has_process}

    def remove(self, name: str) -> None:
        """Stop a plugin that has no file any more."""
        plugin = self.plugins.pop(name, None)
        if plugin is not None:
            logger.info("plugin %r is stopped, as its file was removed", name)
            plugin.stop()

    def _stop_all(self) -> None:
        self._is_closing = True
        for plugin in self._by_key.values():
            plugin.stop()

    def _running_launcher(self) -> Launcher:
        if self._launcher is None:
            self._launcher = Launcher(self._host.python)
            self.loop.when_readable(self._launcher, self._receive)
        return self._launcher

    def _receive(self) -> None:
        launcher = self._launcher
        messages = None if launcher is None else launcher.receive()
        for message in messages or ():
            if "groups" in message:
                _log_groups(message["groups"], message["failed"])
                continue
            plugin = self._by_key.get(message["key"])
            if plugin is not None and "pid" in message:
                plugin.started(message["pid"])
            elif plugin is not None:
                plugin.ended(message["exited"], message["failed"])
        if messages is None and launcher is not None:
            self._forget_launcher(launcher)
            logger.error("the process that starts plugins ended unexpectedly, and the plugins with it")
            for plugin in list(self._by_key.values()):
                plugin.ended(None, "")

    def _forget_launcher(self, launcher: Launcher) -> None:
        self.loop.forget(launcher)
        self._launcher = None
        launcher.close()

    def _release(self) -> None:
        if self._launcher is not None:
            self._forget_launcher(self._launcher)


def _log_groups(path: str, fault: str) -> None:
    if path:
        logger.debug("each plugin has a control group in %s", path)
    else:
        logger.debug("plugins have no control groups (%s): process groups end what they start", fault)
