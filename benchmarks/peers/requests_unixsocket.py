"""requests-unixsocket as in its documentation, with one session."""

from __future__ import annotations

from collections.abc import Callable
from urllib.parse import quote

import requests_unixsocket

from . import ARGUMENTS, METHOD, path_of


def connect(address: str, ca: str) -> Callable[[], object]:
    """Return a POST of JSON."""
    session = requests_unixsocket.Session()
    url = f"http+unix://{quote(path_of(address), safe='')}/{METHOD}"

    def call() -> object:
        response = session.post(url, json=ARGUMENTS)
        response.raise_for_status()
        return response.json()

    return call
