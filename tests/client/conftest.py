"""Fixtures for tests of AsyncClient: an event loop of each kind, and a check that no connection is left open."""

from __future__ import annotations

import pytest
from event_loops import NEW_LOOP, open_sockets, run_in
from faultserver import eventually


@pytest.fixture
def fault_server(fault_server):
    """`fault_server` that remembers the servers it made."""

    def make(*arguments, **options):
        make.made.append(fault_server(*arguments, **options))
        return make.made[-1]

    make.made = []
    return make


@pytest.fixture
def ends_of_servers(fault_server):
    """Return the sockets that belong to servers, as `open_sockets` names them."""

    def ends():
        return {name for server in fault_server.made for name in server.open_sockets()}

    return ends


@pytest.fixture(params=NEW_LOOP)
def loop_kind(request: pytest.FixtureRequest) -> str:
    return request.param


@pytest.fixture
def run(loop_kind, ends_of_servers):
    """Run a coroutine function in a new event loop; nothing is left behind, no connection either."""

    def run(main):
        before = open_sockets()
        result = run_in(loop_kind, main)
        assert eventually(lambda: not open_sockets() - before - ends_of_servers())
        return result

    return run
