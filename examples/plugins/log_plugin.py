"""A log plugin: writes the lines of a container to a file, as a line of JSON each, and reads them back.

python log_plugin.py /var/log/containers --name files
docker run --log-driver files alpine echo hello
docker logs CONTAINER
"""

from __future__ import annotations

import argparse
import json
import logging
import os
import threading
import time
from collections import deque
from collections.abc import Iterator
from itertools import chain
from pathlib import Path
from typing import Any, BinaryIO

from extframe import parse_time
from extframe.errors import RemoteError
from extframe.server import caller_gone, serve
from extframe.subsystems.log import LogCapability, LogDriver, LogInfo, LogPipeReader, ReadConfig
from extframe.subsystems.log_entries import LogEntry

PAUSE = 0.2  # seconds between looks at a log that is followed

logger = logging.getLogger("files")


class FileLogs(LogDriver):
    """Logs as files: ``ROOT/CONTAINER_ID.log``."""

    def __init__(self, root: Path) -> None:
        root.mkdir(parents=True, exist_ok=True)
        self.root = root
        self._copies: dict[str, Copy] = {}  # by pipe
        self._lock = threading.Lock()

    def capabilities(self) -> LogCapability:
        """Return that logs can be read back."""
        return LogCapability(read_logs=True)

    def start_logging(self, file: str, info: LogInfo) -> None:
        """Copy what comes through a pipe until ``stop_logging``."""
        with self._lock:
            if file in self._copies:
                raise RemoteError(f"{file} is being read already")
            self._copies[file] = Copy(file, self._log(info))

    def stop_logging(self, file: str) -> None:
        """Copy what the pipe still holds, and close it."""
        with self._lock:
            copy = self._copies.get(file)
        if copy is not None:
            copy.stop()
            with self._lock:
                self._copies.pop(file, None)

    def read_logs(self, info: LogInfo, config: ReadConfig = ReadConfig()) -> Iterator[LogEntry]:  # noqa: B008
        """Yield a container's entries."""
        since, until = parse_time(config.since), parse_time(config.until)
        with self._log(info).open("rb") as log:
            entries: Any = _entries(log)
            if config.tail >= 0:
                entries = deque(entries, config.tail)
            for entry in chain(entries, self._follow(log)) if config.follow else entries:
                if until is not None and entry.time > until:
                    return
                if since is None or entry.time >= since:
                    yield entry

    def _follow(self, log: BinaryIO) -> Iterator[LogEntry]:
        """Yield what is written from now on. The engine leaves it to the plugin to end when the container does."""
        written = True
        while written and not caller_gone():
            time.sleep(PAUSE)
            with self._lock:
                written = any(str(copy.log) == log.name for copy in self._copies.values())
            yield from _entries(log)

    def _log(self, info: LogInfo) -> Path:
        if not info.container_id.isalnum():  # it becomes a file's name
            raise RemoteError(f"{info.container_id!r} is not a container ID")
        return self.root / f"{info.container_id}.log"


class Copy:
    """A thread that copies a pipe to a log.

    It goes on reading whatever happens, because a container hangs once its pipe is full. ``dropped`` counts the entries
    that could not be written.
    """

    def __init__(self, pipe: str, log: Path) -> None:
        self.log = log
        self.dropped = 0
        log.touch()  # an error here stops the container from starting
        self._pipe = LogPipeReader(pipe)
        self._thread = threading.Thread(target=self._run, name=f"copy to {log.name}", daemon=True)
        self._thread.start()

    def stop(self) -> None:
        """Copy what the pipe holds, then end."""
        self._pipe.stop()
        self._thread.join()

    def _run(self) -> None:
        for entry in self._pipe:
            self._write(entry)
        if self.dropped or self._pipe.dropped:
            logger.warning("%s: dropped %d entries, %d bytes", self.log, self.dropped, self._pipe.dropped)

    def _write(self, entry: LogEntry) -> None:
        try:
            with self.log.open("ab") as output:
                output.write(_to_line(entry))
        except OSError as failed:
            self.dropped += 1
            if self.dropped == 1:
                logger.warning("%s cannot be written, dropping entries: %s", self.log, failed)


def _to_line(entry: LogEntry) -> bytes:
    text = entry.line.decode(errors="surrogateescape")
    # A piece of a long line has no end of line; its last piece, and every whole line, has one.
    whole = not entry.partial or (entry.partial_log_metadata is not None and entry.partial_log_metadata.last)
    line = {"time": entry.time_nano, "source": entry.source, "line": text + "\n" if whole else text}
    return json.dumps(line).encode() + b"\n"


def _entries(log: BinaryIO) -> Iterator[LogEntry]:
    while line := log.readline():
        if not line.endswith(b"\n"):  # it is being written
            log.seek(-len(line), os.SEEK_CUR)
            return
        found = json.loads(line)
        text = found["line"].encode(errors="surrogateescape")
        yield LogEntry(source=found["source"], time_nano=found["time"], line=text)


def main() -> None:
    """Serve logs in a directory."""
    parser = argparse.ArgumentParser(description="A log plugin whose logs are files.")
    parser.add_argument("root", type=Path, help="where the logs are")
    parser.add_argument("--name", default="files", help="the plugin's name")
    parser.add_argument("--directory", default="/run/docker/plugins", help="where its socket is made")
    options = parser.parse_args()
    serve(FileLogs(options.root), name=options.name, directory=options.directory)


if __name__ == "__main__":
    main()
