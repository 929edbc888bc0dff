"""Reach one plugin: at its socket, through the host that runs it, or, without such a host, started for one command."""

from __future__ import annotations

import time
from collections.abc import Iterator
from contextlib import closing, contextmanager
from typing import TYPE_CHECKING

from ..errors import ActivationError, CallTimeout
from .location import Location, find_target
from .output import note

if TYPE_CHECKING:
    from ..protocol import PluginSpec
    from ..supervisor.supervisor import Supervisor

POLL = 0.01  # seconds between two looks whether a plugin that was started answers


@contextmanager
def reached_plugin(location: Location, name: str, timeout: float) -> Iterator[PluginSpec]:
    """Yield where a plugin listens. One that no running host has used is started, and stopped at the end of the block.

    Args:
        location: of the plugin.
        name: its name.
        timeout: seconds for its start.

    Raises:
        PluginNotFound: a plugin of this name does not exist.
        SpecError: its source, configuration or environment cannot be used.
        ActivationError: it cannot be started.
        click.BadParameter: the name is invalid.
    """
    from ..protocol import PluginSpec

    found = find_target(location, name)
    if isinstance(found, PluginSpec):
        yield found
        return
    if found.error is not None:
        raise found.error
    spec = found.spec
    if spec is not None:
        yield spec
        return
    note(f"no running host has started {name!r}: it is started for this command")
    with closing(location.supervisor()) as supervisor:  # its context manager starts what is always to run
        yield _started(supervisor, name, timeout)


def _started(supervisor: Supervisor, name: str, timeout: float) -> PluginSpec:
    from ..supervisor.status import ProcessState

    supervisor.start(name)
    deadline = time.monotonic() + timeout
    while (status := supervisor.status(name)).state is ProcessState.STARTING and time.monotonic() < deadline:
        time.sleep(POLL)
    if status.state is ProcessState.RUNNING:
        return supervisor.find(name)
    if status.state is not ProcessState.STARTING:
        raise ActivationError(f"plugin {name!r} {status.exit}", plugin=name)
    late = CallTimeout(f"timed out after {timeout:g} s", plugin=name)
    reason = supervisor.why(supervisor.find(name), late)
    raise ActivationError(f"plugin {name!r} {reason or late.message}", plugin=name) from late
