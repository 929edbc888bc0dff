"""Clients with a server of their own, each of which behaves in some way. Knows what a client's arguments are."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager

from faultserver import FaultServer, answer

from extframe.client.client import Client

ANSWER = answer()


class ServedClient(Client):
    """A client whose ``server`` tells what came."""

    server: FaultServer


def served_clients(fault_server: Callable[..., FaultServer]) -> Iterator[Callable[..., ServedClient]]:
    """Yield a function that makes a server and its client, and close the clients; the body of a fixture.

    The function takes a behaviour and any argument of Client, and for the server ``kind`` and ``server_tls``.
    """
    with ExitStack() as clients:

        def make(behaviour=ANSWER, *, kind: str = "unix", server_tls=None, **options) -> ServedClient:
            server = fault_server(behaviour, kind=kind, tls=server_tls)
            address = server.address.replace("127.0.0.1", "localhost")
            client = clients.enter_context(ServedClient(address, **{"timeout": 10, "plugin": "rec", **options}))
            client.server = server
            return client

        yield make


@contextmanager
def ends_within(seconds: float) -> Iterator[None]:
    """Fail where the block takes longer."""
    started = time.monotonic()
    yield
    assert time.monotonic() - started < seconds
