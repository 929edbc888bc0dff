"""One plugin of a supervisor: its socket, its process, and what follows when the process ends.

Everything here runs in the thread of the event loop, except where it says otherwise.
"""

from __future__ import annotations

import os
import signal
import time
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass
from time import monotonic
from typing import Any

from ..errors import ActivationError, ExtframeError
from ..logs import get_logger
from .config import PluginConfig
from .config_files import ConfigFile
from .event_loop import EventLoop, Timer
from .handshake_probe import HandshakeProbe
from .launcher import Launcher
from .output import OutputReader, ProcessOutput
from .plugin_socket import PluginSocket
from .process_environment import launch_request, uid_of
from .restart_policy import RestartPolicy
from .status import PluginStatus, ProcessExit, ProcessState, said
from .status_files import write_status

FIRST_LOOK, LONGEST_LOOK = 0.002, 0.25  # seconds between two looks whether a process that starts accepts connections
RETRY_DELAY = 1.0  # seconds until a process is started again for which the system had no descriptor
OUTPUT_TIMEOUT = 0.1  # seconds to wait for the last output of a process that has ended

logger = get_logger(__name__)


@dataclass(frozen=True)
class ProcessHost:
    """What plugins share: where and through what they are started.

    Args:
        loop: the thread.
        launcher: returns the launcher, started if it is not running.
        output: reads what processes write.
        run: the directory of sockets.
        environments: the directory of the environments of Python plugins.
        python: the interpreter of the host.
        changed: called after each change of a state.
        echo: called with name and line of each line of output, if given.
    """

    loop: EventLoop
    launcher: Callable[[], Launcher]
    output: OutputReader
    run: str
    environments: str
    python: str
    changed: Callable[[], object]
    echo: Callable[[str, str], object] | None


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
        self._pid: int | None = None
        self._started_at = 0.0
        self._started = 0.0
        self._starts = 0
        self._output: ProcessOutput | None = None
        self._probe: HandshakeProbe | None = None
        self._has_accepted = False  # the current process
        self._is_over = False  # the process has ended, and its last output is being read
        self._timer: Timer | None = None
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

    def status(self) -> PluginStatus:
        """Return what is known."""
        runs = self.has_process
        return PluginStatus(
            self.config.name,
            self.state,
            self._pid if runs else None,
            self._started_at if runs else None,
            max(0, self._starts - 1),
            self.exit,
            tuple(self._output.filter.last) if self._output is not None else (),
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
        if self.state is ProcessState.STARTING:
            return self._what_is_missing()
        if self.state is ProcessState.STOPPED:
            return "was stopped; start it with Supervisor.start()"
        return None if self.exit is None else f"{self.exit}{self._outlook()}"

    def _what_is_missing(self) -> str:
        lines = tuple(self._output.filter.last) if self._output is not None else ()
        since = f"{monotonic() - self._started:.1f} s after its start"
        if self._has_accepted:
            return f"runs as process {self._pid}, and has not answered a handshake {since}{said(lines)}"
        advice = 'the socket that it inherits (LISTEN_FDS); if it makes its socket itself, write socket = "own"'
        if self.config.socket == "own":
            advice = "its socket, whose path {socket} in 'command' stands for"
        expected = f"expected it to accept at {advice}"
        return f"runs as process {self._pid}, and has not accepted a connection {since}: {expected}{said(lines)}"

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
            self._request()

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
        elif self.has_process:
            self._use(file)
            self._end_process(self._start)
        else:
            self._use(file)
            if self.state is not ProcessState.STOPPED:
                self._cancel()
                self.open()

    def start(self) -> None:
        """Start it, if it does not run."""
        self._policy.reset()
        if self.state is ProcessState.STOPPING:
            self._after_end = self._start
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

    def _request(self) -> dict[str, Any]:
        own = self._own_directory()
        return launch_request(
            self.config,
            socket=os.path.join(own, "plugin.sock"),
            environments=self._host.environments,
            python=self._host.python,
        )

    def _own_directory(self) -> str:
        return os.path.join(self._host.run, f"{self.config.name}.d")

    def _make_own_directory(self) -> None:
        own = self._own_directory()
        os.makedirs(own, 0o700, exist_ok=True)
        if os.geteuid() == 0:
            os.chown(own, uid_of(self.config), -1)
        with suppress(FileNotFoundError):
            os.unlink(os.path.join(own, "plugin.sock"))

    def _start(self) -> None:
        self._timer = None
        try:
            request, launcher = self._request(), self._host.launcher()
            descriptors, ends = self._prepare()
        except ExtframeError as refused:
            self._fail(str(refused))
            return
        except OSError as refused:
            self._wait(str(refused))
            return
        launcher.start(self.key, request, descriptors)
        os.close(ends[1])
        path = os.path.join(self._host.run, f"{self.config.name}.log")
        self._output = ProcessOutput(self.config.name, ends[0], path, self._host.echo)
        self._host.output.add(self._output)
        self._policy.starts()
        self._is_over = self._has_accepted = False
        self._pid, self._started, self._started_at = None, monotonic(), time.time()
        self._starts += 1
        self._enter(ProcessState.STARTING)
        if self.config.socket == "inherited":
            self._shake_hands()
        self._timer = self._host.loop.later(FIRST_LOOK, self._look)

    def _prepare(self) -> tuple[list[int], tuple[int, int]]:
        """Return the descriptors for the process, and both ends of the pipe for its output."""
        is_own = self.config.socket == "own"
        if is_own:
            self._make_own_directory()
        elif self._socket.listening is None:
            self._socket.listen()
        ends = os.pipe()
        listening = self._socket.listening
        if listening is not None:
            self._host.loop.forget(listening)
        return [ends[1]] if is_own or listening is None else [ends[1], listening.fileno()], ends

    def _shake_hands(self) -> None:
        self._probe = HandshakeProbe(self._socket.path, self._host.loop, self._answered)

    def _answered(self) -> None:
        self._policy.succeeded()
        if self.state is ProcessState.STARTING:
            self._accepts()
            self._enter(ProcessState.RUNNING)

    def _look(self) -> None:
        """See whether the process that starts accepts connections by now."""
        self._timer = None
        if self.config.socket == "own":
            with suppress(OSError):
                if self._socket.adopt(os.path.join(self._own_directory(), "plugin.sock")):
                    self._accepts()
                    self._shake_hands()
        elif not self._socket.is_waited_for() and self._pid is not None:
            self._accepts()
        if self.state is ProcessState.STARTING and not self._has_accepted:
            pause = min(max(FIRST_LOOK, (monotonic() - self._started) / 10), LONGEST_LOOK)
            self._timer = self._host.loop.later(pause, self._look)

    def _accepts(self) -> None:
        # From now on the socket is the process's alone: when it dies, connections that wait end at once.
        self._cancel()
        self._socket.release()
        self._has_accepted = True

    def _end_process(self, then: Callable[[], object]) -> None:
        self._after_end = then
        if self.state is ProcessState.STOPPING:
            return
        self._cancel()
        self._release_socket()
        if then == self._rest:
            self._socket.remove()
        else:
            with suppress(OSError):  # connections wait for the next process
                self._socket.listen()
        self._enter(ProcessState.STOPPING)
        if not self._is_over:
            self._signal(signal.SIGTERM)
            self._timer = self._host.loop.later(self.config.stop_timeout, lambda: self._signal(signal.SIGKILL))

    def _signal(self, number: int) -> None:
        self._host.launcher().signal(self.key, number)

    # --- what the launcher reports -------------------------------------------------------------------------

    def started(self, pid: int) -> None:
        """Note the process id."""
        self._pid = pid
        logger.info("plugin %r was started as process %d", self.config.name, pid)
        self._report()

    def ended(self, status: int | None, reason: str) -> None:
        """Note that the process has ended; decide what follows once its last output is read."""
        if not self.has_process or self._is_over:
            return
        self._is_over = True
        uptime = monotonic() - self._started
        self._cancel()
        if self._probe is not None:
            self._probe.close()
        deadline = monotonic() + OUTPUT_TIMEOUT
        self._await_output(deadline, lambda: self._ended(None if reason else status, reason, uptime))

    def _await_output(self, deadline: float, then: Callable[[], object]) -> None:
        if self._output is None or self._output.ended.is_set() or monotonic() > deadline:
            then()
        else:
            self._host.loop.later(0.002, lambda: self._await_output(deadline, then))

    def _ended(self, status: int | None, reason: str, uptime: float) -> None:
        lines = tuple(self._output.filter.last) if self._output is not None else ()
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
