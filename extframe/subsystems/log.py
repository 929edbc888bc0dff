"""LogDriver: plugins that store the logs of containers. The messages and the interface; no transport, no pipes."""

# ruff: noqa: RUF012 - defaults are declarations and are never mutated

from __future__ import annotations

from collections.abc import Iterator
from datetime import datetime
from typing import Annotated

import msgspec

from ..errors import ProtocolError, RemoteError
from ..interface.declarations import Interface
from ..interface.messages import ZERO_TIME, Message, parse_time
from ..interface.methods import Key, StreamCodec, rpc
from .log_entries import LogEntry, pack_entry, unpack_entries
from .log_pipes import LogPipeReader as LogPipeReader
from .log_pipes import LogPipeWriter as LogPipeWriter

ENTRIES = StreamCodec(unpack=unpack_entries, pack=pack_entry)
"""The encoding of log entries, in the pipe of ``start_logging`` and in the reply of ``read_logs``."""


class LogInfo(Message, frozen=True):
    """The container whose log it is.

    Args:
        config: the user's log options.
        container_id: 64 hexadecimal digits.
        container_name: the container's name with a leading slash.
        container_entrypoint: the program.
        container_args: the program's arguments; None if there are none.
        container_image_id: ``sha256:`` and 64 hexadecimal digits.
        container_image_name: the image's name as the user wrote it.
        container_created: the creation time, RFC 3339.
        container_env: environment variables, each ``NAME=value``; None if there are none.
        container_labels: the container's labels.
        log_path: the log file to write; "" if the plugin chooses.
        daemon_name: the host's name, ``docker``.
    """

    config: dict[str, str] = {}
    container_id: str = msgspec.field(default="", name="ContainerID")
    container_name: str = ""
    container_entrypoint: str = ""
    container_args: list[str] | None = None
    container_image_id: str = msgspec.field(default="", name="ContainerImageID")
    container_image_name: str = ""
    container_created: str = ZERO_TIME
    container_env: list[str] | None = None
    container_labels: dict[str, str] = {}
    log_path: str = ""
    daemon_name: str = ""

    @property
    def created(self) -> datetime | None:
        """``container_created`` as a time; None if it is not one."""
        return parse_time(self.container_created)


class ReadConfig(Message, frozen=True):
    """Which entries of a log to read. `format_time` formats times.

    Args:
        since: the earliest time, RFC 3339; `ZERO_TIME` for no bound.
        until: the latest time, RFC 3339; `ZERO_TIME` for no bound.
        tail: the number of last entries to read; -1 for all.
        follow: continue with new entries until the host closes the stream.
    """

    since: str = ZERO_TIME
    until: str = ZERO_TIME
    tail: int = -1
    follow: bool = False


class LogCapability(Message, frozen=True):
    """The capabilities of a log plugin.

    Args:
        read_logs: the plugin can read back stored logs.
    """

    read_logs: bool = False


def _reads_nothing(error: ProtocolError | RemoteError) -> LogCapability:
    return LogCapability()


class LogDriver(Interface, implements="LogDriver", lenient=True):
    """Logs of containers. Docker sets no deadlines for these calls; the client's apply, until a stream begins."""

    __mirror__ = "extframe.subsystems.async_log:AsyncLogDriver"

    @rpc("Capabilities", returns="Cap", idempotent=True, optional=True, fallback=_reads_nothing)
    def capabilities(self) -> LogCapability:
        """Return the plugin's capabilities. A plugin that does not answer this call cannot read logs."""
        raise NotImplementedError

    @rpc("StartLogging")
    def start_logging(self, file: str, info: LogInfo) -> None:
        """Start storing a container's log. If this fails, the container does not start.

        Args:
            file: the path of a named pipe from which the plugin reads `ENTRIES`. The host creates it and keeps it
                open.
            info: the container.
        """
        raise NotImplementedError

    @rpc("StopLogging")
    def stop_logging(self, file: str) -> None:
        """Read the rest of the pipe, then close it.

        The host closes and removes the pipe after the reply.
        """
        raise NotImplementedError

    @rpc("ReadLogs", optional=True, stream=ENTRIES, follows="config.follow")
    def read_logs(
        self,
        info: LogInfo,
        config: Annotated[ReadConfig, Key("Config")] = ReadConfig(),  # noqa: B008 - it is frozen
    ) -> Iterator[LogEntry]:
        """Yield a container's log entries; every line ends with a newline.

        Waiting for an entry has no deadline. Plugins often send nothing before the first entry: with
        ``config.follow`` the timeout covers connecting and sending only, the call returns then, and iterating raises
        what the plugin answered. The iterator of a remote driver has ``close()``, which any thread may call at any
        time and which ends the iteration at once; deleting the iterator ends the stream, too.

        Args:
            info: the container.
            config: which entries to read.
        """
        raise NotImplementedError
