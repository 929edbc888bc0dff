"""Find the process that listens on a unix socket. Sends nothing over it."""

from __future__ import annotations

import contextlib
import os
import socket
import struct
from pathlib import Path

_CREDENTIALS = struct.Struct("3i")  # struct ucred of unix(7): process, user, group


def socket_owner(path: str) -> str:
    """Return the process that listens at ``path``, such as ``process 12 (rclone)``; empty if that is not known."""
    process = _process(path) if path else 0
    if process <= 0:  # 0 for a process of another PID namespace
        return ""
    with contextlib.suppress(OSError):
        return f"process {process} ({Path(f'/proc/{process}/comm').read_text().strip()})"
    return ""


def _process(path: str) -> int:
    if not hasattr(socket, "SO_PEERCRED"):  # only on Linux
        return 0
    with contextlib.suppress(OSError), socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as probe:
        probe.setblocking(False)
        probe.connect(os.fsencode(path))
        credentials = probe.getsockopt(socket.SOL_SOCKET, socket.SO_PEERCRED, _CREDENTIALS.size)
        return int(_CREDENTIALS.unpack(credentials)[0])
    return 0
