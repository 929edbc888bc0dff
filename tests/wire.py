"""Speak HTTP to a plugin, byte by byte where a test wants it. Knows no extframe."""

from __future__ import annotations

import http.client
import json
import socket
import ssl
from types import TracebackType
from typing import Any, NamedTuple
from urllib.parse import urlsplit


class Answer(NamedTuple):
    """What came back: the status, the headers with their names in lower case, and the body."""

    status: int
    headers: dict[str, str]
    body: bytes

    @property
    def json(self) -> Any:
        return json.loads(self.body)


class Wire(http.client.HTTPConnection):
    """A connection to an address such as ``unix:///path``, kept open between requests."""

    def __init__(self, address: str, *, tls: ssl.SSLContext | None = None, timeout: float = 30.0) -> None:
        parts = urlsplit(address)
        super().__init__(parts.hostname or "localhost", parts.port or 80, timeout=timeout)
        self._path = parts.path if parts.scheme == "unix" else ""
        self._tls = tls

    def connect(self) -> None:
        if self._path:
            self.sock = socket.socket(socket.AF_UNIX)
            self.sock.settimeout(self.timeout)
            self.sock.connect(self._path)
        else:
            super().connect()
        if self._tls is not None:
            self.sock = self._tls.wrap_socket(self.sock, server_hostname=self.host)

    def post(self, method: str, arguments: object = None, **headers: str) -> Answer:
        """Make a call as Docker's engine does. ``arguments`` that are bytes go as they are."""
        body = arguments if isinstance(arguments, bytes) else b"" if arguments is None else json.dumps(arguments)
        self.request("POST", f"/{method}", body, {"Accept": "application/vnd.docker.plugins.v1.2+json", **headers})
        return self.answer()

    def answer(self) -> Answer:
        reply = self.getresponse()
        return Answer(reply.status, {name.lower(): value for name, value in reply.getheaders()}, reply.read())

    def send_bytes(self, data: bytes) -> bytes:
        """Send these bytes and return all that comes back until the plugin closes, or is silent."""
        self.write(data)
        return self.read_until_closed()

    def write(self, data: bytes) -> None:
        if self.sock is None:
            self.connect()
        self.sock.sendall(data)

    def read_until_closed(self, silence: float = 5.0) -> bytes:
        self.sock.settimeout(silence)
        received = b""
        try:
            while data := self.sock.recv(65536):
                received += data
        except (TimeoutError, ConnectionResetError):
            pass
        return received

    def __enter__(self) -> Wire:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()


def post(address: str, method: str, arguments: object = None, *, timeout: float = 30.0) -> Answer:
    """Make one call on a connection of its own."""
    with Wire(address, timeout=timeout) as wire:
        return wire.post(method, arguments)
