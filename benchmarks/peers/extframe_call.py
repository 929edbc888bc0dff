"""extframe: ``client.call``, whose reply is a dict."""

from collections.abc import Callable

from extframe import Client, TLSConfig

from . import ARGUMENTS, METHOD


def connect(address: str, ca: str) -> Callable[[], object]:
    """Call with all safeguards that are on by default."""
    client = Client(address, tls=TLSConfig(ca_file=ca) if ca else None)
    return lambda: client.call(METHOD, ARGUMENTS)
