"""Try extension points out: make something, use it, and take it away again, whatever happens."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from typing import Protocol

from .check import Check
from .line import Line
from .log_life import LogLife
from .network_life import NetworkLife
from .pool_life import PoolLife
from .rules import Result
from .trial import Trial
from .volume_life import VolumeLife


class Life(Protocol):
    """What is made of an extension point."""

    def checks(self) -> Iterator[Check]:
        """Yield what is tried, in its order. What comes after a check may hang on what it came to."""
        raise NotImplementedError

    def clean_up(self) -> None:
        """Take away what is left."""
        raise NotImplementedError


_LIVES: Mapping[str, Callable[[Line, Trial], Life]] = {
    "VolumeDriver": VolumeLife,
    "IpamDriver": PoolLife,
    "NetworkDriver": NetworkLife,
    "LogDriver": LogLife,
}


def try_out(line: Line, point: str, trial: Trial) -> Iterator[Result]:
    """Try an extension point out, and leave nothing behind."""
    if point not in _LIVES:
        return
    life = _LIVES[point](line, trial)
    try:
        for check in life.checks():
            yield check.run(line)
    finally:
        life.clean_up()
