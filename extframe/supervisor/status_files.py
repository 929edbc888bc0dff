"""The state of each plugin of a running host, as a file in its run directory: other programs read it."""

from __future__ import annotations

import os
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass

import msgspec

from .run_directory import live_directories
from .status import PluginStatus

_EXTENSION = ".status"


@dataclass(frozen=True)
class HostReport:
    """What a running host reports about one of its plugins.

    Args:
        status: its state.
        socket: the path at which the host's clients reach it.
    """

    status: PluginStatus
    socket: str


def write_status(directory: str, status: PluginStatus) -> None:
    """Replace the file of a plugin. It is for people: if it cannot be written, nothing else fails."""
    path = os.path.join(directory, status.name + _EXTENSION)
    with suppress(OSError):
        descriptor = os.open(f"{path}.new", os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_NOFOLLOW, 0o600)
        try:
            os.write(descriptor, msgspec.json.encode(status))
        finally:
            os.close(descriptor)
        os.replace(f"{path}.new", path)


class RunningHosts:
    """The hosts that run now.

    Args:
        base: the directory of all hosts' run directories.
        configuration: only hosts with this directory of configuration; all if None.
    """

    def __init__(self, base: str, configuration: str | None = None) -> None:
        self._base = base
        self._configuration = configuration

    def directories(self) -> Sequence[str]:
        """Return their run directories, that of the host that started last first."""
        return live_directories(self._base, self._configuration)

    def report(self, name: str) -> HostReport | None:
        """Return what the host that started last reports about a plugin; None if no host has used it so far."""
        for directory in self.directories():
            with suppress(OSError, msgspec.DecodeError), open(os.path.join(directory, name + _EXTENSION), "rb") as file:
                status = msgspec.json.decode(file.read(), type=PluginStatus)
                return HostReport(status, os.path.join(directory, f"{name}.sock"))
        return None
