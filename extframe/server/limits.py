"""What a server accepts from its clients."""

from __future__ import annotations

from dataclasses import dataclass, field

from ..concurrency.system import descriptor_limit
from .app import BODY_LIMIT


def _default_connections() -> int:
    limit = descriptor_limit()
    return 1024 if limit is None else max(1, min(1024, limit * 3 // 4))


@dataclass(frozen=True, kw_only=True)
class ServerLimits:
    """Limits of a server. ``serve`` takes each as a keyword argument of the same name.

    Args:
        head_limit: bytes of a request head.
        limit: bytes of a request body.
        request_timeout: seconds for receiving a whole request, and for the first one of a connection to start.
        keep_alive: seconds that a connection may be idle between requests.
        connections: at a time. When all are taken, idle connections and unfinished requests make room for new ones.
        buffer: bytes of all requests and responses together that are held in memory.
        write_timeout: seconds without progress after which a client that does not read is disconnected; ten times
            as long for streams, whose readers may pause.
    """

    head_limit: int = 64 << 10
    limit: int = BODY_LIMIT
    request_timeout: float = 30.0
    # An hour: a Docker engine whose idle connection is closed under it may send a call without its body.
    keep_alive: float = 3600.0
    connections: int = field(default_factory=_default_connections)
    buffer: int = 24 << 20
    write_timeout: float = 30.0

    def __post_init__(self) -> None:
        for name, value in vars(self).items():
            if not isinstance(value, int | float):
                raise TypeError(f"{name} is {value!r}; expected a number")
            if not value > 0:
                raise ValueError(f"{name} is {value!r}; expected more than 0")
