"""What plugin processes write to stdout and stderr: read line by line, cleaned, limited and logged."""

from __future__ import annotations

import logging
import os
import re
import select
import threading
import weakref
from collections import deque
from collections.abc import Callable
from contextlib import suppress
from datetime import datetime
from time import monotonic

from ..concurrency.event import Event
from ..concurrency.system import after_fork
from ..concurrency.threads import start
from ..concurrency.wake_pipe import WakePipe
from ..logs import get_logger

LINE_LIMIT = 8192  # bytes of one line; the rest of a longer line is left out
LINES_PER_SECOND = 2000
LAST_LINES = 20
LOG_FILE_LIMIT = 512 * 1024  # bytes, of which there are at most two files
CHUNK = 65536

_SEQUENCE = re.compile(r"\x1b(?:\[[0-?]*[ -/]*[@-~]|\][^\x07\x1b]*(?:\x07|\x1b\\)?|[@-Z\\-_])")

logger = get_logger(__name__)


def clean(line: bytes) -> str:
    r"""Return a line as text: bytes that are not UTF-8 are escaped, terminal sequences and control characters removed.

    >>> clean(b"\x1b[31mred\x1b[0m \xff\x07")
    'red \\xff'
    """
    text = line.decode("utf-8", "backslashreplace").rstrip()
    if text.isprintable():
        return text
    return "".join(each for each in _SEQUENCE.sub("", text) if each.isprintable() or each == "\t")


class LineFilter:
    """Splits bytes into lines and drops what is over the limit. Does no I/O, and reads no clock."""

    def __init__(self) -> None:
        self.last: deque[str] = deque(maxlen=LAST_LINES)
        self._partial = b""
        self._is_cut = False  # the rest of the partial line is left out
        self._second = 0.0
        self._count = 0
        self._dropped = 0

    def feed(self, data: bytes, now: float) -> list[str]:
        """Return the lines to log, which end in ``data``."""
        passed = self.tick(now)
        if self._is_cut:
            _, newline, data = data.partition(b"\n")
            self._is_cut = not newline
        *allowed, rest = (self._partial + data).split(b"\n", max(0, LINES_PER_SECOND - self._count))
        self._count += len(allowed)
        passed += self._take(allowed)
        dropped = rest.count(b"\n")  # counted, and only the last ones split: a flood must not take the host's time
        if dropped:
            self._dropped += dropped
            *last, rest = rest.rsplit(b"\n", LAST_LINES + 1)
            self._take(last[-LAST_LINES:])
        self._partial = rest
        if len(self._partial) > LINE_LIMIT:
            passed += self._take([self._partial])
            self._partial, self._is_cut = b"", True
        return passed

    def tick(self, now: float) -> list[str]:
        """Return the line that says how many were dropped, once the second in which they came is over."""
        if now - self._second < 1.0:
            return []
        self._second, self._count = now, 0
        dropped, self._dropped = self._dropped, 0
        return [f"({dropped} lines were dropped: more than {LINES_PER_SECOND} in a second)"] if dropped else []

    @property
    def has_dropped(self) -> bool:
        """Whether lines were dropped that no line has reported."""
        return self._dropped > 0

    def end(self) -> list[str]:
        """Return what is left at the end of the data."""
        rest = [] if self._is_cut or not self._partial else self._take([self._partial])
        self._partial = b""
        return rest + self.tick(self._second + 1.0)

    def _take(self, lines: list[bytes]) -> list[str]:
        taken = [clean(line) if len(line) <= LINE_LIMIT else clean(line[:LINE_LIMIT]) + " ..." for line in lines]
        taken = [line for line in taken if line]
        self.last.extend(taken)
        return taken


class ProcessOutput:
    """The output of one process.

    Args:
        name: the plugin's; the lines go to the logger ``extframe.plugin.NAME``.
        descriptor: the read end of its pipe.
        path: the file to which lines are written, too.
        echo: called with each line, if given.
    """

    def __init__(self, name: str, descriptor: int, path: str, echo: Callable[[str, str], object] | None = None) -> None:
        os.set_blocking(descriptor, False)
        self.descriptor = descriptor
        self.ended = Event()
        self.filter = LineFilter()
        self._name = name
        self._logger = logging.getLogger(f"extframe.plugin.{name}")
        self._path = path
        self._echo = echo

    def read(self, now: float) -> bool:
        """Read and log what there is; return whether there may be more."""
        try:
            data = os.read(self.descriptor, CHUNK)
        except BlockingIOError:
            return True
        self._log(self.filter.feed(data, now) if data else self.filter.end())
        return bool(data)

    def tick(self, now: float) -> None:
        """Report lines that were dropped."""
        self._log(self.filter.tick(now))

    def close(self) -> None:
        """Close the pipe."""
        os.close(self.descriptor)
        self.ended.set()

    def _log(self, lines: list[str]) -> None:
        if not lines:
            return
        for line in lines:
            try:
                self._logger.info("%s", line)
                if self._echo is not None:
                    self._echo(self._name, line)
            except Exception:  # noqa: PERF203 - of a log handler of the host's, for one line
                with suppress(Exception):
                    logger.exception("a line of plugin %r could not be logged", self._name)
        with suppress(OSError):
            append_lines(self._path, lines)


def append_lines(path: str, lines: list[str]) -> None:
    """Append lines with the time to a log file, of which one older part is kept."""
    when = datetime.now().astimezone().isoformat(timespec="milliseconds")
    content = "".join(f"{when} {line}\n" for line in lines).encode("utf-8", "backslashreplace")
    descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_APPEND | os.O_NOFOLLOW, 0o600)
    try:
        size = os.fstat(descriptor).st_size
        os.write(descriptor, content)
    finally:
        os.close(descriptor)
    if size + len(content) > LOG_FILE_LIMIT:
        os.replace(path, f"{path}.1")


class OutputReader:
    """A thread that reads the output of all processes: a host's slow log handlers must not delay their control."""

    def __init__(self) -> None:
        self._wake = WakePipe()
        self._new: deque[ProcessOutput] = deque()
        self._outputs: dict[int, ProcessOutput] = {}
        self._closing = False
        self._poll = select.poll()
        self._poll.register(self._wake.descriptor, select.POLLIN)
        self._thread = threading.Thread(target=self._run, name="extframe plugin output", daemon=True)
        _readers.add(self)
        try:
            start(self._thread)
        except BaseException:
            self._closing = True  # Ctrl-C may have come after its start
            self._wake.up()
            raise

    def add(self, output: ProcessOutput) -> None:
        """Read an output until its end."""
        self._new.append(output)
        self._wake.up()

    def close(self, timeout: float) -> None:
        """Stop reading."""
        self._closing = True
        self._wake.up()
        self._thread.join(timeout)

    def forget(self) -> None:
        """Close the pipes in a process that the host forked, whose end the plugins would otherwise wait for."""
        for output in [*self._outputs.values(), *self._new]:
            with suppress(OSError):
                os.close(output.descriptor)

    def _run(self) -> None:
        try:
            while not self._closing:
                self._turn()
        finally:
            self._new.extend(self._outputs.values())
            self._outputs.clear()
            while self._new:
                output = self._new[0]
                with suppress(OSError):
                    output.read(monotonic())
                self._new.popleft()  # first: `forget` must not close another file with its number
                output.close()
            self._wake.close()

    def _turn(self) -> None:
        has_dropped = any(output.filter.has_dropped for output in self._outputs.values())
        ready = self._poll.poll(1000 if has_dropped else None)
        self._wake.drain()
        now = monotonic()
        for descriptor, _ in ready:
            output = self._outputs.get(descriptor)
            if output is not None and not output.read(now):
                self._poll.unregister(descriptor)
                del self._outputs[descriptor]
                output.close()
        for output in self._outputs.values() if has_dropped else ():
            output.tick(now)
        while self._new:
            output = self._new.popleft()
            self._outputs[output.descriptor] = output
            self._poll.register(output.descriptor, select.POLLIN)


_readers: weakref.WeakSet[OutputReader] = weakref.WeakSet()


def _forget() -> None:
    for reader in list(_readers):
        reader.forget()
        _readers.discard(reader)


after_fork(_forget)
