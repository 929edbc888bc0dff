"""The connection pool: which idle connections are kept, and for how long."""

from __future__ import annotations

import math
import resource
import socket
import time

import pytest

from extframe.client.connection import Connection
from extframe.client.connection_pool import ConnectionPool, IdleConnections


class FakeConnection:
    """Takes no file descriptor: there are not enough for a real test of ten thousand."""

    closed = False
    uses = 0
    idle_since = math.inf

    def close(self):
        self.closed = True


@pytest.fixture
def connection():
    """Make connections; the peer of each is kept in ``peers``."""
    peers = []

    def make(pool: ConnectionPool, idle_list: IdleConnections) -> Connection:
        ours, theirs = socket.socketpair()
        peers.append(theirs)
        made = Connection(ours)
        pool.add(idle_list, made)
        return made

    yield make
    for peer in peers:
        peer.close()


def test_the_connection_that_was_used_last_is_taken_first(connection):
    pool, idle_list, other = ConnectionPool(), IdleConnections(), IdleConnections()
    first, second, foreign = connection(pool, idle_list), connection(pool, idle_list), connection(pool, other)
    for made, where in ((first, idle_list), (second, idle_list), (foreign, other)):
        pool.put(where, made)
    assert [pool.take(idle_list), pool.take(idle_list), pool.take(idle_list)] == [second, first, None]


def test_of_too_many_connections_those_that_were_idle_longest_are_closed(connection):
    pool, lists = ConnectionPool(limit=3), [IdleConnections() for _ in range(5)]
    made = []
    for idle_list in lists:
        made.append(connection(pool, idle_list))
        pool.put(idle_list, made[-1])
    assert [one.closed for one in made] == [True, True, False, False, False]
    assert [pool.take(idle_list) for idle_list in lists] == [None, None, *made[2:]]


def test_connections_that_are_in_use_are_not_closed_for_others(connection):
    pool, idle_list = ConnectionPool(limit=1), IdleConnections()
    made = [connection(pool, idle_list) for _ in range(5)]
    assert not any(one.closed for one in made)


def test_ten_thousand_connections_in_use_are_counted_in_linear_time():
    """By the number of connections that are looked at, not by a clock."""
    looked_at = 0

    class CountingPool(ConnectionPool):
        def _by_last_use(self):
            nonlocal looked_at
            found = super()._by_last_use()
            looked_at += len(found)
            return found

    pool, idle_list = CountingPool(limit=100), IdleConnections()
    made = [FakeConnection() for _ in range(10_000)]
    for one in made:
        pool.add(idle_list, one)
    assert looked_at < 20 * len(made)
    for one in made:
        pool.put(idle_list, one)
    assert looked_at < 40 * len(made)
    assert len(idle_list) <= 150
    assert sum(not one.closed for one in made) == len(idle_list)


def test_connections_that_are_gone_do_not_count(connection):
    pool, idle_list = ConnectionPool(limit=2), IdleConnections()
    kept = connection(pool, idle_list)
    pool.put(idle_list, kept)
    for _ in range(5):
        connection(pool, IdleConnections()).close()
    assert pool.take(idle_list) is kept


def test_connections_that_were_idle_for_too_long_are_closed_when_any_is_taken(connection, monkeypatch):
    pool, idle_list, other = ConnectionPool(idle_timeout=60), IdleConnections(), IdleConnections()
    old, young = connection(pool, idle_list), connection(pool, idle_list)
    pool.put(idle_list, old)
    start = time.monotonic()
    monkeypatch.setattr("extframe.client.connection_pool.monotonic", lambda: start + 50)
    pool.put(idle_list, young)
    monkeypatch.setattr("extframe.client.connection_pool.monotonic", lambda: start + 70)
    assert pool.take(other) is None
    assert [old.closed, young.closed] == [True, False]
    assert [pool.take(idle_list), pool.take(idle_list)] == [young, None]


def test_a_closed_list_keeps_nothing(connection):
    pool, idle_list = ConnectionPool(), IdleConnections()
    idle, used = connection(pool, idle_list), connection(pool, idle_list)
    pool.put(idle_list, idle)
    pool.close(idle_list)
    assert [idle.closed, used.closed] == [True, False]
    pool.put(idle_list, used)
    assert used.closed


def test_a_connection_is_closed_with_the_last_reference_to_it():
    pool, idle_list = ConnectionPool(), IdleConnections()
    ours, theirs = socket.socketpair()
    made = Connection(ours)
    pool.add(idle_list, made)
    pool.put(idle_list, made)
    with theirs:
        theirs.setblocking(False)
        with pytest.raises(BlockingIOError):
            theirs.recv(1)
        del ours, made, pool, idle_list
        assert theirs.recv(1) == b""


@pytest.mark.parametrize(("descriptors", "connections"), [(20, 16), (300, 100), (1024, 341), (20_000, 1024)])
def test_the_limit_is_what_the_program_can_afford(descriptors, connections):
    before = resource.getrlimit(resource.RLIMIT_NOFILE)
    if before[1] != resource.RLIM_INFINITY and before[1] < descriptors:
        pytest.skip(f"the system allows {before[1]} descriptors")
    try:
        resource.setrlimit(resource.RLIMIT_NOFILE, (descriptors, before[1]))
        assert ConnectionPool().limit == connections
    finally:
        resource.setrlimit(resource.RLIMIT_NOFILE, before)
