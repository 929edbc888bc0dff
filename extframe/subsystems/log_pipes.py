"""Pipes for log entries: a reader for log plugins, and a writer for hosts. Blocks no container."""

from __future__ import annotations

import os
import stat
import threading
from collections.abc import Iterator

from ..concurrency.system import OPEN_AT_ONCE, READABLE, Poll, require_unix
from ..errors import ProtocolError
from ..logs import get_logger
from .log_entries import RECORD_LIMIT, LogEntry, pack_entry, unpack_entries

_FLAGS = os.O_RDWR | OPEN_AT_ONCE | getattr(os, "O_CLOEXEC", 0)
POLL = 0.1  # seconds between looks at whether to stop

logger = get_logger(__name__)


class LogPipeReader:
    """Reads the entries that a container writes to the pipe of ``start_logging``.

    Iterate in a thread of its own, and go on whatever happens to an entry: a container hangs once its pipe is full.
    Bytes that are not entries are dropped and counted; then the pipe is only drained, because the start of the next
    entry cannot be found.

    Args:
        file: the path of the pipe.

    Attributes:
        dropped: how many bytes were dropped.
    """

    def __init__(self, file: str) -> None:
        self.dropped = 0
        # Open for writing as well: otherwise the pipe would seem to end whenever no writer has it open.
        self._descriptor = os.open(file, _FLAGS)
        if not stat.S_ISFIFO(os.fstat(self._descriptor).st_mode):
            os.close(self._descriptor)
            raise ValueError(f"{file} is not a pipe")
        self._poll = Poll()
        self._poll.register(self._descriptor, READABLE)
        self._stopping = threading.Event()
        self._file = file

    def __iter__(self) -> Iterator[LogEntry]:
        """Yield entries as they arrive, until `stop` and the end of what the pipe holds. Then close the pipe."""
        try:
            try:
                yield from unpack_entries(self)  # type: ignore[arg-type]
            except ProtocolError as wrong:
                logger.warning("%s: dropping everything from here on: %s", self._file, wrong)
                self._drain()
        finally:
            os.close(self._descriptor)

    def stop(self) -> None:
        """Let the iteration end when the pipe is empty."""
        self._stopping.set()

    def _drain(self) -> None:
        while data := self.read(64 << 10, whole=False):
            self.dropped += len(data)

    def read(self, size: int, *, whole: bool = True) -> bytes:
        """Return ``size`` bytes, or fewer once the reader stops and the pipe is empty."""
        data = b""
        while len(data) < size:
            # Read before the poll: what was written between that and `stop` is still in the pipe.
            is_stopping = self._stopping.is_set()
            if self._poll.poll(0 if is_stopping else POLL * 1000):
                data += os.read(self._descriptor, size - len(data))
                if not whole:
                    break
            elif is_stopping:
                break
        return data


class LogPipeWriter:
    """Creates a pipe and writes log entries to it, for hosts. A plugin that does not read never blocks the writer.

    Args:
        file: the path of the pipe, which is created with mode 0600.

    Attributes:
        dropped: how many entries were dropped because the pipe was full.
    """

    def __init__(self, file: str) -> None:
        self.dropped = 0
        self.file = file
        self._rest = b""
        require_unix("a named pipe for a log")
        os.mkfifo(file, 0o600)
        self._descriptor = os.open(file, _FLAGS)

    def write(self, entry: LogEntry) -> bool:
        """Write an entry, or drop and count it if the pipe is full. Return whether it was written.

        Raises:
            ValueError: the entry is larger than a record may be.
        """
        data = pack_entry(entry)
        if len(data) - 4 > RECORD_LIMIT:
            raise ValueError(f"the entry has {len(data) - 4} bytes; expected at most {RECORD_LIMIT}")
        self.flush()
        if self._rest:
            self.dropped += 1
            return False
        self._rest = data
        if self.flush() or len(self._rest) < len(data):
            return True  # what is left of it is written before the next one
        self._rest = b""
        self.dropped += 1
        return False

    def flush(self) -> bool:
        """Write what is left of the last entry; return whether nothing is left."""
        try:
            while self._rest:
                self._rest = self._rest[os.write(self._descriptor, self._rest) :]
        except BlockingIOError:
            return False
        return True

    def close(self) -> None:
        """Close and remove the pipe. Call ``stop_logging`` before, so that the plugin has read everything."""
        os.close(self._descriptor)
        os.unlink(self.file)
