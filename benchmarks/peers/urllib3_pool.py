"""urllib3, a pool of connections to a unix socket."""

import json
from collections.abc import Callable

import urllib3

from . import ARGUMENTS, HEADERS, METHOD, path_of
from .http_client import UnixConnection


class UnixPool(urllib3.HTTPConnectionPool):
    """A pool whose connections go to a unix socket."""

    def __init__(self, path: str) -> None:
        super().__init__("plugin", maxsize=8)
        self._path = path

    def _new_conn(self) -> urllib3.connection.HTTPConnection:
        connection = _Connection("plugin")
        connection.path = self._path
        return connection


class _Connection(urllib3.connection.HTTPConnection):
    path = ""

    def connect(self) -> None:
        unix = UnixConnection(self.path)
        unix.connect()
        self.sock = unix.sock


def connect(address: str, ca: str) -> Callable[[], object]:
    """Return a POST of JSON."""
    pool = UnixPool(path_of(address))

    def call() -> object:
        response = pool.request("POST", f"/{METHOD}", body=json.dumps(ARGUMENTS), headers=HEADERS)
        if response.status != 200:
            raise RuntimeError(response.status)
        return json.loads(response.data)

    return call
