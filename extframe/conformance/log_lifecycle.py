"""Lifecycle checks of a container's log: write a line, and read it if the plugin reads logs. Needs no container."""

from __future__ import annotations

import os
import shutil
import tempfile
import time
from collections.abc import Iterator
from contextlib import suppress
from io import BytesIO
from secrets import token_hex

from ..concurrency.system import OPEN_AT_ONCE, require_unix
from ..errors import ExtframeError
from ..subsystems.log import LogInfo, ReadConfig
from ..subsystems.log_entries import LogEntry, pack_entry, unpack_entries
from .check import Check
from .driver_calls import DriverCalls, assess_creation
from .options import LifecycleOptions
from .raw_client import RawClient
from .responses import assess_result
from .rules import Outcome, failed, passed, skipped

_LINE = b"a line of extframe check"


class LogLifecycle:
    """Makes a named pipe as the engine does and writes a line. The plugin may keep the line."""

    def __init__(self, client: RawClient, options: LifecycleOptions) -> None:
        require_unix("a log driver's lifecycle check")
        self._calls = DriverCalls(client, "LogDriver")
        name = f"extframe-check-{token_hex(8)}"
        self._info = LogInfo(container_id=token_hex(32), container_name=f"/{name}", config=dict(options.options))
        self._directory = tempfile.mkdtemp(prefix="extframe-check-")
        self._pipe = os.path.join(self._directory, token_hex(32))
        os.mkfifo(self._pipe, 0o700)
        self._end = os.open(self._pipe, os.O_RDWR | OPEN_AT_ONCE)  # the engine holds both ends, too
        self.started = False

    def checks(self) -> Iterator[Check]:
        """Yield the checks in their order."""
        yield Check("LogDriver.StartLogging", "created", self._start)
        if self.started:
            yield Check("LogDriver.StopLogging of the new log", "created", self._stop)
            yield Check("LogDriver.ReadLogs of the new log", "log-lines", self._read)

    def clean_up(self) -> None:
        """Stop logging and remove the pipe."""
        if self.started:
            with suppress(ExtframeError):
                self._calls.call("stop_logging", file=self._pipe)
        os.close(self._end)
        shutil.rmtree(self._directory)

    def _start(self, client: RawClient) -> Outcome:
        self.started = True  # before the response: a call that is lost may have been executed
        method, response = self._calls.call("start_logging", file=self._pipe, info=self._info)
        self.started = response.status == 200
        return assess_creation(method, response)

    def _stop(self, client: RawClient) -> Outcome:
        os.write(self._end, pack_entry(LogEntry(source="stdout", time_nano=time.time_ns(), line=_LINE)))
        self.started = False
        return assess_result(*self._calls.call("stop_logging", file=self._pipe))

    def _read(self, client: RawClient) -> Outcome:
        if not self._calls.result("capabilities").read_logs:
            return skipped("its Capabilities say that it does not read logs")
        _, response = self._calls.call("read_logs", info=self._info, config=ReadConfig())
        if response.status != 200:
            return failed(f"status {response.status}")
        lines = [entry.line for entry in unpack_entries(BytesIO(response.body))]
        if lines == [_LINE]:
            return failed("the line does not end in a newline: docker logs prints all lines as one")
        if lines == [_LINE + b"\n"]:
            return passed()
        return failed(f"expected the line that was logged, got {lines!r:.80}")
