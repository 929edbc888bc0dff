"""End this process, and what it started, once the host that started it is gone. Knows no HTTP and no supervisor."""

from __future__ import annotations

import os
import select
import signal
import stat
import threading
from collections.abc import Iterator
from contextlib import contextmanager, suppress

from ..concurrency.threads import start
from ..concurrency.wake_pipe import WakePipe
from ..protocol import LIFELINE

GRACE = 0.3  # seconds between SIGTERM and SIGKILL, as where the host's launcher ends a plugin


@contextmanager
def ended_with_host() -> Iterator[None]:
    """End this process with its host while the block runs, if the host holds the other end of a pipe.

    The variable EXTFRAME_LIFELINE has the number of the descriptor, and is removed from the environment, so that child
    processes do not use it. Once the other end is closed, this process group gets SIGTERM, and SIGKILL when the block
    has ended or after 0.3 s. On Linux the host's launcher does the same; here it also happens on other systems.
    """
    descriptor = _lifeline()
    if descriptor is None:
        yield
        return
    lifeline = _Lifeline(descriptor)
    try:
        yield
    finally:
        lifeline.close()


def _lifeline() -> int | None:
    """Return a descriptor of this process's own: the program may close or replace the one that it was given."""
    number = os.environ.pop(LIFELINE, "") if hasattr(select, "poll") else ""  # supervisors need a Unix
    with suppress(OSError, ValueError):
        if stat.S_ISFIFO(os.fstat(int(number)).st_mode):
            return os.dup(int(number))
    return None


class _Lifeline:
    def __init__(self, descriptor: int) -> None:
        self._descriptor = descriptor
        self._wake = WakePipe()
        self._closed = threading.Event()
        # A thread, as a plugin whose event loop is blocked must end, too.
        self._thread = threading.Thread(target=self._watch, name="extframe-lifeline", daemon=True)
        start(self._thread)

    def close(self) -> None:
        """Stop watching. If the host is gone, what this process started is killed, and this process with it."""
        self._closed.set()
        self._wake.up()
        self._thread.join()
        self._wake.close()
        os.close(self._descriptor)

    def _watch(self) -> None:
        poll = select.poll()
        gone = select.POLLHUP | select.POLLERR | select.POLLNVAL
        # macOS reports the end of a reader only if something is asked for, and reports it for these.
        poll.register(self._descriptor, select.POLLIN | select.POLLHUP)
        poll.register(self._wake, select.POLLIN)
        while not self._closed.is_set():
            if dict(poll.poll()).get(self._descriptor, 0) & gone:
                if (
                    signal.getsignal(signal.SIGTERM) != signal.SIG_DFL
                ):  # else it ends this process before SIGKILL is sent
                    _signal_group(signal.SIGTERM)
                    self._closed.wait(GRACE)
                _signal_group(signal.SIGKILL)


def _signal_group(number: int) -> None:
    """Signal the process group that the launcher made for this process; this process alone if it has none."""
    with suppress(ProcessLookupError, PermissionError):
        if os.getpgrp() == os.getpid():
            os.killpg(os.getpid(), number)
        else:
            os.kill(os.getpid(), number)
