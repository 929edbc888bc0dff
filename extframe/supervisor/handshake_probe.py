"""Find out whether a process that was started answers a handshake. Runs in the event loop; never waits."""

from __future__ import annotations

import socket
from collections.abc import Callable
from contextlib import suppress

from ..protocol import ACTIVATE
from .event_loop import EventLoop

_REQUEST = (
    f"POST /{ACTIVATE} HTTP/1.1\r\n"
    "Host: plugin\r\n"
    "Accept: application/vnd.docker.plugins.v1.2+json\r\n"
    "Content-Length: 0\r\n"
    "Connection: close\r\n\r\n"
).encode()


class HandshakeProbe:
    """One handshake. Any HTTP response but a server error counts: plugins without a handshake exist.

    Args:
        path: the plugin's socket.
        loop: calls ``succeeded`` when there is a response, or ``failed`` if there will be none that counts.
    """

    def __init__(
        self, path: str, loop: EventLoop, succeeded: Callable[[], object], failed: Callable[[], object]
    ) -> None:
        self._loop = loop
        self._succeeded = succeeded
        self._failed = failed
        self._socket: socket.socket | None = None
        try:
            self._socket = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
            self._socket.setblocking(False)
            self._socket.connect(path)
            self._socket.sendall(_REQUEST)
        except OSError:  # its backlog is full, or no descriptor is left
            self.close()
            failed()
        else:
            loop.when_readable(self._socket, self._read)

    def _read(self) -> None:
        response = b""
        if self._socket is not None:
            with suppress(OSError):
                response = self._socket.recv(65536)
        self.close()
        counts = response.startswith(b"HTTP/1.") and response[9:10] in (b"2", b"3", b"4")
        (self._succeeded if counts else self._failed)()

    def close(self) -> None:
        """End it."""
        if self._socket is not None:
            self._loop.forget(self._socket)
            self._socket.close()
            self._socket = None
