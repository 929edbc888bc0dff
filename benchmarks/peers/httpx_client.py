"""httpx with one client."""

from collections.abc import Callable

import httpx

from . import ARGUMENTS, METHOD, path_of


def connect(address: str, ca: str) -> Callable[[], object]:
    """Return a POST of JSON."""
    client = httpx.Client(transport=httpx.HTTPTransport(uds=path_of(address)), base_url="http://plugin")

    def call() -> object:
        response = client.post(f"/{METHOD}", json=ARGUMENTS)
        response.raise_for_status()
        return response.json()

    return call
