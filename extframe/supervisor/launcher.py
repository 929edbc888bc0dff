"""The host's end of the launcher: starts it, sends requests and receives how processes ended."""

from __future__ import annotations

import marshal
import os
import socket
import subprocess
import sys
import weakref
from typing import Any

from ..concurrency.locks import signal_safe_lock
from ..concurrency.system import after_fork, delay_forks
from ..errors import ExtframeError
from . import launcher_main

_HEADER = launcher_main.HEADER
_PROGRAM = (
    "import sys; sys.path.insert(0, sys.argv[1]); import launcher_main; del sys.path[0]; "
    "launcher_main.main(int(sys.argv[2]), int(sys.argv[3]))"
)
_STOP_TIMEOUT = 5.0  # seconds

_launchers: weakref.WeakSet[Launcher] = weakref.WeakSet()

_starting = signal_safe_lock()
"""Held while a launcher starts. A process that was forked meanwhile would keep ends of its sockets and pipes open, for
whose end `subprocess` and the launcher wait."""
delay_forks(_starting)


class Launcher:
    """A running launcher. The thread that creates it must live as long as the launcher: its end ends the launcher.

    Args:
        python: the interpreter that runs it.

    Raises:
        ExtframeError: it cannot be started.
    """

    def __init__(self, python: str) -> None:
        self._received = b""
        with _starting:
            self._control, theirs = socket.socketpair()
            _launchers.add(self)
            with theirs:
                self._process = self._started(python, theirs.fileno())

    def _started(self, python: str, control: int) -> subprocess.Popen[bytes]:
        directory = os.path.dirname(launcher_main.__file__)
        try:
            return subprocess.Popen(
                [python, "-I", "-S", "-c", _PROGRAM, directory, str(control), str(os.getpid())],
                pass_fds=[control],
                stdin=subprocess.DEVNULL,
                stdout=subprocess.DEVNULL,
                cwd="/",
                env={},
                start_new_session=True,  # Ctrl-C is for the host, which then stops its plugins
            )
        except OSError as refused:
            self._control.close()
            raise ExtframeError(f"cannot start plugins: {python}: {refused.strerror}") from refused

    @property
    def pid(self) -> int:
        """Its process id."""
        return self._process.pid

    def fileno(self) -> int:
        """Return the descriptor that is readable when there is something to receive."""
        return self._control.fileno()

    def start(self, key: int, request: dict[str, Any], descriptors: list[int]) -> None:
        """Start a process. The descriptors become its output and, if there is a second one, its socket."""
        self._send({**request, "key": key, "descriptors": len(descriptors)}, descriptors)

    def signal(self, key: int, number: int) -> None:
        """Send a signal to a process and to its group. One that has ended is ignored."""
        self._send({"key": key, "signal": int(number)}, [])

    def receive(self) -> list[dict[str, Any]] | None:
        """Return what it reports; None once it is gone.

        ``{"key", "pid"}``: started. ``{"key", "exited", "failed"}``: ended with that status, negative for a signal;
        where ``failed`` is not empty, it says why the program was not run.
        """
        try:
            data = self._control.recv(65536)
        except OSError:
            return None
        self._received += data
        messages = []
        while len(self._received) >= _HEADER:
            end = _HEADER + int.from_bytes(self._received[:_HEADER], "big")
            if len(self._received) < end:
                break
            messages.append(marshal.loads(self._received[_HEADER:end]))
            self._received = self._received[end:]
        return messages if data else None

    def close(self) -> None:
        """End it, and with it everything that it started."""
        self._control.close()
        try:
            self._process.wait(_STOP_TIMEOUT)
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.wait()

    def _send(self, message: dict[str, Any], descriptors: list[int]) -> None:
        content = marshal.dumps(message, 2)
        data = len(content).to_bytes(_HEADER, "big") + content
        try:
            sent = socket.send_fds(self._control, [data], descriptors) if descriptors else 0
            self._control.sendall(data[sent:])
        except OSError:
            pass  # it is gone, which `receive` reports


def default_python() -> str:
    """Return the interpreter of this program.

    Raises:
        ExtframeError: the program has none, as it was frozen.
    """
    if getattr(sys, "frozen", False) or not sys.executable:
        raise ExtframeError("this program has no Python interpreter of its own: name one, Supervisor(..., python=PATH)")
    return sys.executable


def _forget() -> None:
    """Close the launchers of the parent in a process that it forked, which would keep them alive."""
    for launcher in _launchers:
        launcher._control.close()


after_fork(_forget)
