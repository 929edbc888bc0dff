"""One plugin of a supervisor: its states, and what follows when its process ends.

Everything here runs in the thread of the event loop, except where it says otherwise.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Hashable
from contextlib import suppress
from time import monotonic

from ..errors import ActivationError, ExtframeError
from ..logs import get_logger
from .config import PluginConfig
from .config_files import ConfigFile
from .event_loop import Timer
from .plugin_socket import PluginSocket
from .process_run import ProcessHost, ProcessRun
from .restart_policy import RestartPolicy
from .status import PluginStatus, ProcessExit, ProcessState
from .status_files import write_status

RETRY_DELAY = 1.0  # seconds until a process is started again for which the system had no descriptor

logger = get_logger(__name__)


class SupervisedPlugin:
    """A plugin that is started when it is needed, and again when it ends.

    Args:
        key: by which the launcher knows its process.
        file: its configuration.
        host: what it shares with others.
    """

    def __init__(self, key: int, file: ConfigFile, host: ProcessHost) -> None:
        self.key = key
        self.state = ProcessState.STOPPED
        self.generation = 0  # the number of processes that have ended: part of the stamp, as each needs a handshake
        self.exit: ProcessExit | None = None
        self._host = host
        self._socket = PluginSocket(os.path.join(host.run, f"{file.config.name}.sock"))
        self._run: ProcessRun | None = None  # the latest, which may have ended
        self._starts = 0
        self._timer: Timer | None = None  # the next try, while no process runs
        self._after_end: Callable[[], object] | None = None  # what follows the end that was asked for
        self._use(file)

    def _use(self, file: ConfigFile) -> None:
        self.file = file
        config = file.config
        self._policy = RestartPolicy(config.restart, config.give_up, on_demand=config.start == "on-demand")

    @property
    def config(self) -> PluginConfig:
        """Its configuration."""
        return self.file.config

    @property
    def address(self) -> str:
        """Where clients reach it."""
        return f"unix://{self._socket.path}"

    @property
    def has_process(self) -> bool:
        """Whether a process runs."""
        return self.state in (ProcessState.STARTING, ProcessState.RUNNING, ProcessState.STOPPING)

    @property
    def starts_on_use(self) -> bool:
        """Whether it does not run, and only a connection starts it. Any thread may ask."""
        is_down = self.state in (ProcessState.IDLE, ProcessState.WAITING, ProcessState.STOPPED, ProcessState.FAILED)
        return is_down and self.config.start == "on-demand"

    @property
    def found_generation(self) -> int:
        """The generation of the process that answers a connection that is made now: the next one if this one ends."""
        is_replaced = self.state is ProcessState.STOPPING and self._after_end != self._rest
        return self.generation + is_replaced

    def current_generation(self, found: Hashable) -> int:
        """Return what `found_generation`, at the time of a search, is compared with. Any thread may ask.

        As long as a process ends, clients that it has answered go on with it, and those that look for the plugin wait
        for the next one.
        """
        is_ending = self.state is ProcessState.STOPPING  # before the generation, which changes before the state
        generation = self.generation
        return generation + 1 if is_ending and found == generation + 1 else generation

    def status(self) -> PluginStatus:
        """Return what is known."""
        run = self._run if self.has_process else None
        return PluginStatus(
            self.config.name,
            self.state,
            None if run is None else run.pid,
            None if run is None else run.started_at,
            max(0, self._starts - 1),
            self.exit,
            () if self._run is None else self._run.last_lines,
            self.config.source,
        )

    def last_failure(self, *, ended: bool) -> str | None:
        """Return why a connection failed, as the predicate of a sentence; None if the process is not the reason.

        Args:
            ended: whether the process with which the connection was made has ended.
        """
        if ended and self.exit is not None:
            return f"{self.exit}{self._outlook()}"
        return self.explanation()

    def explanation(self) -> str | None:
        """Return why it cannot be reached now, as the predicate of a sentence; None if nothing is known."""
        if self.state is ProcessState.STARTING and self._run is not None:
            return self._run.what_is_missing()
        if self.state is ProcessState.STOPPED:
            return "was stopped; start it with Supervisor.start()"
        return None if self.exit is None else f"{self.exit}{self._outlook()}"

    def _outlook(self) -> str:
        if self.state is ProcessState.FAILED:
            return f"; it is not started again until {self.config.source} changes or Supervisor.start() is called"
        return ""

    # --- requests ------------------------------------------------------------------------------------------

    def require_startable(self) -> None:
        """Do nothing if a connection reaches the plugin, or starts it.

        Raises:
            ActivationError: it failed too often, or was stopped.
            SpecError: its process cannot be made as its configuration says.
        """
        if self.state in (ProcessState.FAILED, ProcessState.STOPPED):
            name = self.config.name
            raise ActivationError(f"plugin {name!r} {self.explanation()}", plugin=name, address=self.address)
        if self.state in (ProcessState.IDLE, ProcessState.STOPPING):
            self._new_run().request()

    def open(self) -> None:
        """Be ready: listen for the first connection, or start."""
        if self.config.start == "always":
            self._start()
        else:
            self._listen()

    def configure(self, file: ConfigFile) -> None:
        """Use another configuration, with a new process if it differs."""
        if file.stamp == self.file.stamp:
            return
        is_same = (file.config, file.environment) == (self.config, self.file.environment)
        if is_same and self.state is not ProcessState.FAILED:
            self.file = file
        elif self.state in (ProcessState.STOPPING, ProcessState.STOPPED):
            self._use(file)  # for the next process, if there is to be one
        elif self.has_process:
            self._use(file)
            self._end_process(self._start)
        else:
            self._use(file)
            self._cancel()
            self.open()

    def restore(self, file: ConfigFile) -> None:
        """Use a file that was created while the process of the one that was removed ends."""
        self._use(file)
        self._end_process(self.open)

    def start(self) -> None:
        """Start it, if it does not run."""
        self._policy.reset()
        if self.state is ProcessState.STOPPING:
            self._end_process(self._start)
        elif not self.has_process:
            self._cancel()
            self._start()

    def stop(self) -> None:
        """End its process, and keep it from starting."""
        self._cancel()
        if self.has_process:
            self._end_process(self._rest)
        else:
            self._rest()

    def restart(self) -> None:
        """End its process, if it runs, and start it."""
        self._policy.reset()
        self._cancel()
        if self.has_process:
            self._end_process(self._start)
        else:
            self._start()

    # --- states --------------------------------------------------------------------------------------------

    def _enter(self, state: ProcessState) -> None:
        self.state = state
        self._report()

    def _report(self) -> None:
        self._host.changed()
        write_status(self._host.run, self.status())

    def _cancel(self) -> None:
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None

    def _rest(self) -> None:
        self._remove_socket()
        self._enter(ProcessState.STOPPED)

    def _remove_socket(self) -> None:
        self._release_socket()
        self._socket.remove()

    def _release_socket(self) -> None:
        if self._socket.listening is not None:
            self._host.loop.forget(self._socket.listening)
        self._socket.release()

    def _listen(self) -> None:
        """Wait for the first connection."""
        try:
            listening = self._socket.listening or self._socket.listen()
        except OSError as refused:
            self._wait(f"cannot listen at {self._socket.path}: {refused.strerror}")
            return
        self._host.loop.when_readable(listening, self._start)
        self._enter(ProcessState.IDLE)

    def _wait(self, reason: str) -> None:
        """Try again later: the system had no descriptor, say."""
        self._remove_socket()
        self.exit = ProcessExit(None, 0.0, reason)
        logger.error("plugin %r was not started: %s; it will be tried again", self.config.name, reason)
        self._enter(ProcessState.WAITING)
        self._timer = self._host.loop.later(RETRY_DELAY, self.open)

    def _fail(self, reason: str) -> None:
        self._remove_socket()
        self.exit = ProcessExit(None, 0.0, reason)
        self.generation += 1
        logger.error("plugin %r was not started: %s", self.config.name, reason)
        self._enter(ProcessState.FAILED)

    # --- the process ---------------------------------------------------------------------------------------

    def _new_run(self) -> ProcessRun:
        return ProcessRun(self.key, self.config, self._socket, self._host, self._answered)

    def _start(self) -> None:
        self._timer = None
        run = self._new_run()
        try:
            run.start()
        except ExtframeError as refused:
            self._fail(str(refused))
            return
        except OSError as refused:
            self._wait(str(refused))
            return
        self._run = run
        self._policy.starts()
        self._starts += 1
        self._enter(ProcessState.STARTING)
        run.watch()

    def _answered(self) -> None:
        self._policy.succeeded()
        self._note_running()

    def _note_running(self) -> None:
        """Enter RUNNING once the process has answered and the launcher has reported its id: either may come first."""
        run = self._run
        if self.state is ProcessState.STARTING and self._policy.is_good and run is not None and run.pid is not None:
            run.accepts()
            self._enter(ProcessState.RUNNING)

    def _end_process(self, then: Callable[[], object]) -> None:
        self._after_end = then
        if then == self._rest:
            self._remove_socket()
        elif self.state is not ProcessState.STOPPING or self._socket.listening is None:
            self._release_socket()
            with suppress(OSError):  # connections wait for the next process
                self._socket.listen()
        if self.state is ProcessState.STOPPING:
            return
        self._enter(ProcessState.STOPPING)
        if self._run is not None:
            self._run.terminate(self.config.stop_timeout)

    # --- what the launcher reports -------------------------------------------------------------------------

    def started(self, pid: int) -> None:
        """Note the process id."""
        if self._run is not None:
            self._run.pid = pid
        logger.info("plugin %r was started as process %d", self.config.name, pid)
        self._report()
        self._note_running()

    def ended(self, status: int | None, reason: str) -> None:
        """Note that the process has ended; decide what follows once its last output is read."""
        if self._run is None or not self.has_process or self._run.is_over:
            return
        self._run.finish(lambda uptime: self._ended(None if reason else status, reason, uptime))

    def _ended(self, status: int | None, reason: str, uptime: float) -> None:
        lines = () if self._run is None else self._run.last_lines
        self.generation += 1
        if self.state is ProcessState.STOPPING:
            self.exit = ProcessExit(status, uptime, reason, lines, is_failure=False)
            logger.info("plugin %r was stopped: it %s", self.config.name, self.exit)
            then, self._after_end = self._after_end or self._rest, None
            then()
            return
        verdict = self._policy.ended(status, uptime, monotonic())
        self.exit = ProcessExit(status, uptime, reason, lines, verdict.is_failure)
        log = logger.warning if verdict.is_failure else logger.info
        log("plugin %r %s", self.config.name, self.exit)
        if verdict.gave_up:
            self._remove_socket()
            logger.error("plugin %r is not started again: it failed too often", self.config.name)
            self._enter(ProcessState.FAILED)
        elif verdict.delay:
            self._remove_socket()
            self._enter(ProcessState.WAITING)
            self._timer = self._host.loop.later(verdict.delay, self._start if verdict.restart else self._listen)
        elif verdict.restart:
            self._renew_socket()
            self._start()
        else:
            self._release_socket()
            self._listen()

    def _renew_socket(self) -> None:
        self._release_socket()
        if self.config.socket == "own":
            self._socket.remove()  # clients of a plugin that was active wait until there is a socket again
