"""The life of a container's log: a line goes in, and comes back where the plugin reads logs. Needs no container."""

from __future__ import annotations

import os
import shutil
import tempfile
import time
from collections.abc import Iterator
from contextlib import suppress
from io import BytesIO
from secrets import token_hex

from ..errors import ExtframeError
from ..subsystems.log import LogInfo, ReadConfig
from ..subsystems.log_entries import LogEntry, pack_entry, unpack_entries
from .answers import judge_result
from .check import Check
from .line import Line
from .rules import Outcome, failed, passed, skipped
from .trial import Calls, Trial, judge_creation

_LINE = b"a line of extframe check"


class LogLife:
    """A pipe as the engine makes it, and what goes through it. The plugin may keep the line."""

    def __init__(self, line: Line, trial: Trial) -> None:
        self._calls = Calls(line, "LogDriver")
        name = f"extframe-check-{token_hex(8)}"
        self._info = LogInfo(container_id=token_hex(32), container_name=f"/{name}", config=dict(trial.options))
        self._directory = tempfile.mkdtemp(prefix="extframe-check-")
        self._pipe = os.path.join(self._directory, token_hex(32))
        os.mkfifo(self._pipe, 0o700)
        self._end = os.open(self._pipe, os.O_RDWR | os.O_NONBLOCK)  # the engine, too, holds both ends
        self.started = False

    def checks(self) -> Iterator[Check]:
        """Yield what is tried, in its order."""
        yield Check("LogDriver.StartLogging", "created", self._start)
        if self.started:
            yield Check("LogDriver.StopLogging of the new log", "created", self._stop)
            yield Check("LogDriver.ReadLogs of the new log", "log-lines", self._read)

    def clean_up(self) -> None:
        """Let go of the pipe."""
        if self.started:
            with suppress(ExtframeError):
                self._calls.ask("stop_logging", file=self._pipe)
        os.close(self._end)
        shutil.rmtree(self._directory)

    def _start(self, line: Line) -> Outcome:
        self.started = True  # before it is answered: a call that is lost may have been carried out
        method, answer = self._calls.ask("start_logging", file=self._pipe, info=self._info)
        self.started = answer.status == 200
        return judge_creation(method, answer)

    def _stop(self, line: Line) -> Outcome:
        os.write(self._end, pack_entry(LogEntry(source="stdout", time_nano=time.time_ns(), line=_LINE)))
        self.started = False
        return judge_result(*self._calls.ask("stop_logging", file=self._pipe))

    def _read(self, line: Line) -> Outcome:
        if not self._calls.result("capabilities").read_logs:
            return skipped("it says that it does not read logs")
        _, answer = self._calls.ask("read_logs", info=self._info, config=ReadConfig())
        if answer.status != 200:
            return failed(f"status {answer.status}")
        lines = [entry.line for entry in unpack_entries(BytesIO(answer.body))]
        if lines == [_LINE]:
            return failed("the line has no newline at its end: lines run together on the terminal")
        return (
            passed() if lines == [_LINE + b"\n"] else failed(f"what was logged is not what comes back: {lines!r:.80}")
        )
