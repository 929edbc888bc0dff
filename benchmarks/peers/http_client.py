"""http.client of the standard library with one connection. One thread only."""

import http.client
import json
import socket
from collections.abc import Callable

from . import ARGUMENTS, HEADERS, METHOD, path_of


class UnixConnection(http.client.HTTPConnection):
    """An HTTPConnection to a unix socket."""

    def __init__(self, path: str) -> None:
        super().__init__("plugin")
        self._path = path

    def connect(self) -> None:
        """Connect."""
        self.sock = socket.socket(socket.AF_UNIX)
        self.sock.connect(self._path)


def connect(address: str, ca: str) -> Callable[[], object]:
    """Return a POST of JSON."""
    connection = UnixConnection(path_of(address))

    def call() -> object:
        connection.request("POST", f"/{METHOD}", json.dumps(ARGUMENTS), HEADERS)
        response = connection.getresponse()
        if response.status != 200:
            raise RuntimeError(response.status)
        return json.loads(response.read())

    return call
