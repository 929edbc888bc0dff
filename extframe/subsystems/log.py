"""LogDriver: plugins that keep what containers write. Knows their messages; no transport and no pipes."""

# ruff: noqa: RUF012 - a default declares what is sent; nothing changes one

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

ENTRIES = StreamCodec(unpack=unpack_entries, pack=pack_entry)
"""The form of the streams of log entries, in the pipe of ``start_logging`` and in the reply of ``read_logs``."""


class LogInfo(Message, frozen=True):
    """The container that writes.

    Args:
        config: the user's log options.
        container_id: 64 hexadecimal digits.
        container_name: with a slash before it.
        container_entrypoint: the program.
        container_args: its arguments; None when there are none.
        container_image_id: ``sha256:`` and 64 hexadecimal digits.
        container_image_name: as the user gave it.
        container_created: when, RFC 3339.
        container_env: ``NAME=value`` each; None when there are none.
        container_labels: its labels.
        log_path: a file for the log, "" where the plugin is to choose.
        daemon_name: the host, ``docker``.
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
        """``container_created`` as a time, None where it is none."""
        return parse_time(self.container_created)


class ReadConfig(Message, frozen=True):
    """Which entries of a log are wanted. `format_time` writes times.

    Args:
        since: the first time, RFC 3339; `ZERO_TIME` for no bound.
        until: the last time, RFC 3339; `ZERO_TIME` for no bound.
        tail: how many of the last entries, -1 for all.
        follow: go on with what is written from now on, until the host closes the stream.
    """

    since: str = ZERO_TIME
    until: str = ZERO_TIME
    tail: int = -1
    follow: bool = False


class LogCapability(Message, frozen=True):
    """What a log plugin can do.

    Args:
        read_logs: give back what it keeps.
    """

    read_logs: bool = False


def _reads_nothing(error: ProtocolError | RemoteError) -> LogCapability:
    return LogCapability()


class LogDriver(Interface, implements="LogDriver"):
    """Logs of containers. Docker sets no deadlines here; ours are the client's, until a stream begins."""

    @rpc("Capabilities", returns="Cap", idempotent=True, optional=True, fallback=_reads_nothing)
    def capabilities(self) -> LogCapability:
        """Return what the plugin can do; one that does not answer this cannot read logs."""
        raise NotImplementedError

    @rpc("StartLogging")
    def start_logging(self, file: str, info: LogInfo) -> None:
        """Begin to keep a container's log; an error stops the container from starting.

        Args:
            file: a pipe, from which the plugin reads `ENTRIES`. The host has made it and keeps it open.
            info: the container.
        """
        raise NotImplementedError

    @rpc("StopLogging")
    def stop_logging(self, file: str) -> None:
        """Read what is left in the pipe, then let go of it.

        The host closes and removes the pipe once this is answered.
        """
        raise NotImplementedError

    @rpc("ReadLogs", optional=True, stream=ENTRIES)
    def read_logs(
        self,
        info: LogInfo,
        config: Annotated[ReadConfig, Key("Config")] = ReadConfig(),  # noqa: B008 - it is frozen
    ) -> Iterator[LogEntry]:
        """Yield a container's entries, each line with a newline at its end.

        Each read of the stream waits for as long as the plugin pleases. The remote driver's iterator is a
        generator: ``close()``, or letting go of it, ends the stream.

        Args:
            info: the container.
            config: which entries.
        """
        raise NotImplementedError
