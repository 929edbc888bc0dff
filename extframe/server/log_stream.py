"""Write log lines without blocking: a plugin must not stop because no process reads its stderr."""

from __future__ import annotations

import logging
import os
import sys
import threading
import time
from collections import deque
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from typing import TextIO

from ..concurrency.threads import start

LINES_LIMIT = 1000
BYTES_LIMIT = 1 << 20
FLUSH_TIMEOUT = 1.0  # seconds, at the end


class LogStream:
    """A text stream whose thread writes to ``stream``'s descriptor. What does not fit is dropped and counted."""

    def __init__(self, stream: TextIO) -> None:
        self._descriptor = stream.fileno()
        self._encoding = getattr(stream, "encoding", None) or "utf-8"
        self._texts: deque[bytes] = deque()
        self._size = 0
        self._dropped = 0
        self._closing = False
        self._changed = threading.Condition()
        self._thread = threading.Thread(target=self._run, name="extframe-log", daemon=True)
        start(self._thread)

    def write(self, text: str) -> int:
        """Queue ``text``."""
        data = text.encode(self._encoding, errors="backslashreplace")
        with self._changed:
            if len(self._texts) >= LINES_LIMIT or self._size + len(data) > BYTES_LIMIT:
                self._dropped += 1
            else:
                self._texts.append(data)
                self._size += len(data)
                self._changed.notify()
        return len(text)

    def flush(self) -> None:
        """Do nothing: the thread writes as fast as it can."""

    def close(self) -> None:
        """Wait until everything is written, for a moment."""
        with self._changed:
            self._closing = True
            self._changed.notify()
        self._thread.join(FLUSH_TIMEOUT)

    def _run(self) -> None:
        while (data := self._next()) is not None:
            with suppress(OSError):  # no process reads any more
                while data:
                    data = data[os.write(self._descriptor, data) :]

    def _next(self) -> bytes | None:
        with self._changed:
            while not self._texts:
                if self._closing:
                    return None
                self._changed.wait()
            data = self._texts.popleft()
            self._size -= len(data)
            dropped = 0
            if not self._texts:
                dropped, self._dropped = self._dropped, 0
        if dropped:
            when = time.strftime("%Y-%m-%d %H:%M:%S")
            data += f"{when} WARNING extframe.server: {dropped} log lines were dropped: stderr was blocked\n".encode()
        return data


@contextmanager
def without_blocking() -> Iterator[None]:
    """Let log handlers that write to stderr or stdout do so through a `LogStream` while the block runs."""
    streams: dict[int, LogStream] = {}
    replaced: list[tuple[logging.StreamHandler[TextIO], TextIO]] = []
    for logger in (logging.getLogger(), logging.getLogger("extframe")):
        for handler in logger.handlers:
            stream = getattr(handler, "stream", None)
            if isinstance(handler, logging.StreamHandler) and stream in (sys.stderr, sys.stdout):
                with suppress(OSError, ValueError):  # it has no descriptor
                    descriptor = stream.fileno()
                    if descriptor not in streams:
                        streams[descriptor] = LogStream(stream)
                    handler.setStream(streams[descriptor])
                    replaced.append((handler, stream))
    try:
        yield
    finally:
        for handler, stream in replaced:  # first: a thread that logs after the end must not write to what is closed
            handler.setStream(stream)
        for background in streams.values():
            background.close()
