"""One run of a plugin's process: its launch, whether it accepts connections, its signals and its last output.

Everything here runs in the thread of the event loop. What follows an end is decided elsewhere.
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

from .config import PluginConfig
from .event_loop import EventLoop, Timer
from .handshake_probe import HandshakeProbe
from .launcher import Launcher
from .output import OutputReader, ProcessOutput
from .plugin_socket import PluginSocket
from .process_environment import launch_request, uid_of
from .status import said

FIRST_LOOK, LONGEST_LOOK = 0.002, 0.25  # seconds between two looks whether a process that starts accepts connections
FIRST_RETRY, LONGEST_RETRY = 0.1, 5.0  # seconds before another handshake with a process that has not answered one
OUTPUT_TIMEOUT = 0.1  # seconds to wait for the last output of a process that has ended
OUTPUT_LOOK = 0.002  # seconds between two looks whether it is read


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


class ProcessRun:
    """One process of a plugin, from its start to its end: `start`, `watch`, `terminate`, `finish`.

    Args:
        key: by which the launcher knows the process.
        config: how it is started.
        socket: at which clients reach it.
        host: what it shares with others.
        answered: called when it answers a handshake.
    """

    def __init__(
        self, key: int, config: PluginConfig, socket: PluginSocket, host: ProcessHost, answered: Callable[[], object]
    ) -> None:
        self.pid: int | None = None  # once the launcher reports it
        self.started_at = 0.0
        self.is_over = False  # the process has ended, and its last output is being read
        self._key = key
        self._config = config
        self._socket = socket
        self._host = host
        self._answered = answered
        self._own_directory = os.path.join(host.run, f"{config.name}.d")
        self._own_socket = os.path.join(self._own_directory, "plugin.sock")
        self._started = 0.0
        self._has_accepted = False
        self._output: ProcessOutput | None = None
        self._probe: HandshakeProbe | None = None
        self._retry: Timer | None = None  # the next handshake, after one that failed
        self._pause = FIRST_RETRY
        self._timer: Timer | None = None  # the next look, or the end of the time to stop

    @property
    def last_lines(self) -> tuple[str, ...]:
        """The last lines of its output."""
        return () if self._output is None else tuple(self._output.filter.last)

    def what_is_missing(self) -> str:
        """Return what the process has not done yet, as the predicate of a sentence."""
        since = f"{monotonic() - self._started:.1f} s after its start"
        if self._has_accepted:
            return f"runs as process {self.pid}, and has not answered a handshake {since}{said(self.last_lines)}"
        advice = 'the socket that it inherits (LISTEN_FDS); if it makes its socket itself, write socket = "own"'
        if self._config.socket == "own":
            advice = "its socket, whose path {socket} in 'command' stands for"
        expected = f"expected it to accept at {advice}"
        return (
            f"runs as process {self.pid}, and has not accepted a connection {since}: {expected}{said(self.last_lines)}"
        )

    # --- start ---------------------------------------------------------------------------------------------

    def request(self) -> dict[str, Any]:
        """Return what the launcher is asked for.

        Raises:
            SpecError: the process cannot be made as its configuration says.
        """
        return launch_request(
            self._config, socket=self._own_socket, environments=self._host.environments, python=self._host.python
        )

    def start(self) -> None:
        """Ask the launcher for the process, and read its output.

        Raises:
            ExtframeError: the process cannot be made as its configuration says, or the launcher cannot be started.
            OSError: the system has no descriptor, say.
        """
        request, launcher = self.request(), self._host.launcher()
        descriptors, ends = self._prepare()
        launcher.start(self._key, request, descriptors)
        os.close(ends[1])
        path = os.path.join(self._host.run, f"{self._config.name}.log")
        self._output = ProcessOutput(self._config.name, ends[0], path, self._host.echo)
        self._host.output.add(self._output)
        self._started, self.started_at = monotonic(), time.time()

    def _prepare(self) -> tuple[list[int], tuple[int, int]]:
        """Return the descriptors for the process, and both ends of the pipe for its output."""
        is_own = self._config.socket == "own"
        if is_own:
            self._make_own_directory()
        elif self._socket.listening is None:
            self._socket.listen()
        ends = os.pipe()
        listening = self._socket.listening
        if listening is not None:
            self._host.loop.forget(listening)
        return [ends[1]] if is_own or listening is None else [ends[1], listening.fileno()], ends

    def _make_own_directory(self) -> None:
        os.makedirs(self._own_directory, 0o700, exist_ok=True)
        if os.geteuid() == 0:
            os.chown(self._own_directory, uid_of(self._config), -1)
        with suppress(FileNotFoundError):
            os.unlink(self._own_socket)

    # --- whether it accepts connections --------------------------------------------------------------------

    def watch(self) -> None:
        """Find out when it accepts connections and answers a handshake."""
        if self._config.socket == "inherited":
            self._shake_hands()
        self._timer = self._host.loop.later(FIRST_LOOK, self._look)

    def _shake_hands(self) -> None:
        self._retry = None
        self._probe = HandshakeProbe(self._socket.path, self._host.loop, self._answered, self._shake_hands_later)

    def _shake_hands_later(self) -> None:
        """Make another handshake after a while: the process may answer with an error until it is ready."""
        self._retry = self._host.loop.later(self._pause, self._shake_hands)
        self._pause = min(2 * self._pause, LONGEST_RETRY)

    def _look(self) -> None:
        self._timer = None
        if self._config.socket == "own":
            with suppress(OSError):
                if self._socket.adopt(self._own_socket):
                    self.accepts()
                    self._shake_hands()
        elif not self._socket.is_waited_for() and self.pid is not None:
            self.accepts()
        if not self._has_accepted:
            pause = min(max(FIRST_LOOK, (monotonic() - self._started) / 10), LONGEST_LOOK)
            self._timer = self._host.loop.later(pause, self._look)

    def accepts(self) -> None:
        """Note that it accepts connections."""
        # From now on the socket is the process's alone: when it dies, connections that wait end at once.
        self._cancel()
        self._socket.release()
        self._has_accepted = True

    def _cancel(self) -> None:
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None

    def _cancel_retry(self) -> None:
        if self._retry is not None:
            self._retry.cancel()
            self._retry = None

    # --- end -----------------------------------------------------------------------------------------------

    def terminate(self, timeout: float) -> None:
        """Ask it to end, and kill it after ``timeout`` seconds."""
        self._cancel()
        self._cancel_retry()
        if not self.is_over:
            self._signal(signal.SIGTERM)
            self._timer = self._host.loop.later(timeout, lambda: self._signal(signal.SIGKILL))

    def _signal(self, number: int) -> None:
        self._host.launcher().signal(self._key, number)

    def finish(self, then: Callable[[float], object]) -> None:
        """Note that the process has ended; call ``then`` with its uptime in seconds once its last output is read."""
        self.is_over = True
        uptime = monotonic() - self._started
        self._cancel()
        self._cancel_retry()
        if self._probe is not None:
            self._probe.close()
        self._await_output(round(OUTPUT_TIMEOUT / OUTPUT_LOOK), lambda: then(uptime))

    def _await_output(self, looks: int, then: Callable[[], object]) -> None:
        # Looks are counted, not seconds: after a stall of the machine the thread that reads gets its turns, too.
        if self._output is None or self._output.ended.is_set() or looks <= 0:
            then()
        else:
            self._host.loop.later(OUTPUT_LOOK, lambda: self._await_output(looks - 1, then))
