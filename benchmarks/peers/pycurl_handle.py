"""pycurl with one handle. One thread only."""

import io
import json
from collections.abc import Callable

import pycurl

from . import ARGUMENTS, METHOD, path_of


def connect(address: str, ca: str) -> Callable[[], object]:
    """Return a POST of JSON."""
    handle = pycurl.Curl()
    handle.setopt(pycurl.UNIX_SOCKET_PATH, path_of(address))
    handle.setopt(pycurl.URL, f"http://plugin/{METHOD}")
    handle.setopt(pycurl.HTTPHEADER, ["Content-Type: application/json"])

    def call() -> object:
        answer = io.BytesIO()
        handle.setopt(pycurl.POSTFIELDS, json.dumps(ARGUMENTS))
        handle.setopt(pycurl.WRITEDATA, answer)
        handle.perform()
        if handle.getinfo(pycurl.RESPONSE_CODE) != 200:
            raise RuntimeError(answer.getvalue())
        return json.loads(answer.getvalue())

    return call
