"""What a supervisor knows of one plugin, and how it explains a failure. Decides; starts nothing."""

from __future__ import annotations

import signal
from dataclasses import dataclass
from enum import Enum

_SAID_LINES, _SAID_LIMIT = 3, 1000  # of what a process said, in a message


class ProcessState(str, Enum):
    """The state of a plugin that a supervisor starts."""

    IDLE = "idle"
    """It does not run; a connection, or `Supervisor.start`, starts it."""
    STARTING = "starting"
    """It runs and has not answered a handshake."""
    RUNNING = "running"
    """It runs."""
    WAITING = "waiting"
    """It ended, and is started again after a delay."""
    STOPPING = "stopping"
    """It was asked to end."""
    STOPPED = "stopped"
    """`Supervisor.stop` stopped it."""
    FAILED = "failed"
    """It failed too often, or its process cannot be made: it is not started again by itself."""


@dataclass(frozen=True)
class ProcessExit:
    """How a process ended.

    Args:
        status: the exit status; negative for the number of a signal, None if the program was not run.
        uptime: how many seconds it ran.
        reason: why the program was not run; empty if it was.
        last_lines: what it wrote last to stdout and stderr.
        is_failure: whether it ended in an error.
    """

    status: int | None
    uptime: float
    reason: str = ""
    last_lines: tuple[str, ...] = ()
    is_failure: bool = True

    def __str__(self) -> str:
        """Return it as the predicate of a sentence: ``exited with status 3 0.2 s after its start; it said: ...``."""
        return f"{self._what_happened()}{said(self.last_lines)}"

    def _what_happened(self) -> str:
        if self.reason:
            return f"was not started: {self.reason}"
        if self.status is None:
            return f"ended {self.uptime:.1f} s after its start, with the process that starts plugins"
        if self.status < 0:
            return f"was killed by {_signal_name(-self.status)} {self.uptime:.1f} s after its start"
        return f"exited with status {self.status} {self.uptime:.1f} s after its start"


def said(lines: tuple[str, ...]) -> str:
    """Return the end of a message: the last lines of a process."""
    text = " | ".join(lines[-_SAID_LINES:])[-_SAID_LIMIT:]
    return f"; it said: {text}" if text else ""


def _signal_name(number: int) -> str:
    try:
        return signal.Signals(number).name
    except ValueError:
        return f"signal {number}"


@dataclass(frozen=True)
class PluginStatus:
    """A plugin of a supervisor, as `Supervisor.status` returns it.

    Args:
        name: its name.
        state: its state.
        pid: the id of its process; None if it does not run, or is only about to.
        started: when the process started, in seconds since the epoch; None if it does not run.
        restarts: how many times it was started after it had ended.
        exit: how its last process ended; None if none has.
        last_lines: what the current, or the last, process wrote to stdout and stderr.
        source: its configuration file.
    """

    name: str
    state: ProcessState
    pid: int | None
    started: float | None
    restarts: int
    exit: ProcessExit | None
    last_lines: tuple[str, ...]
    source: str
