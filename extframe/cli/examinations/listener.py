"""Which process holds a unix socket. Sends nothing over it."""

from __future__ import annotations

import contextlib
import os
import socket
import struct
from pathlib import Path

_CREDENTIALS = struct.Struct("3i")  # struct ucred of unix(7): process, user, group


def listener(path: str) -> str:
    """Return who listens at ``path``, as the end of a sentence, or nothing where that cannot be told."""
    process = _process(path) if path else 0
    if process <= 0:  # one of another container has no number here
        return ""
    with contextlib.suppress(OSError):
        return f"; process {process} ({Path(f'/proc/{process}/comm').read_text().strip()}) holds its socket"
    return ""


def _process(path: str) -> int:
    if not hasattr(socket, "SO_PEERCRED"):  # Linux alone
        return 0
    with contextlib.suppress(OSError), socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as probe:
        probe.setblocking(False)
        probe.connect(os.fsencode(path))
        credentials = probe.getsockopt(socket.SOL_SOCKET, socket.SO_PEERCRED, _CREDENTIALS.size)
        return int(_CREDENTIALS.unpack(credentials)[0])
    return 0
