"""Idle connections: what is kept, for how long, and by whom."""

from __future__ import annotations

import resource
import socket
import time

import pytest

from extframe.client.connection import Connection
from extframe.client.connection_pool import ConnectionPool, IdleConnections


@pytest.fixture
def connection():
    """Make connections; the peer of each is kept in ``peers``."""
    peers = []

    def make(pool: ConnectionPool, shelf: IdleConnections) -> Connection:
        ours, theirs = socket.socketpair()
        peers.append(theirs)
        made = Connection(ours)
        pool.add(shelf, made)
        return made

    yield make
    for peer in peers:
        peer.close()


def test_the_connection_that_was_used_last_is_taken_first(connection):
    pool, shelf, other = ConnectionPool(), IdleConnections(), IdleConnections()
    first, second, foreign = connection(pool, shelf), connection(pool, shelf), connection(pool, other)
    for made, where in ((first, shelf), (second, shelf), (foreign, other)):
        pool.put(where, made)
    assert [pool.take(shelf), pool.take(shelf), pool.take(shelf)] == [second, first, None]


def test_of_too_many_connections_those_that_were_idle_longest_are_closed(connection):
    pool, shelves = ConnectionPool(limit=3), [IdleConnections() for _ in range(5)]
    made = []
    for shelf in shelves:
        made.append(connection(pool, shelf))
        pool.put(shelf, made[-1])
    assert [one.closed for one in made] == [True, True, False, False, False]
    assert [pool.take(shelf) for shelf in shelves] == [None, None, *made[2:]]


def test_connections_that_are_in_use_are_not_closed_for_others(connection):
    pool, shelf = ConnectionPool(limit=1), IdleConnections()
    made = [connection(pool, shelf) for _ in range(5)]
    assert not any(one.closed for one in made)


def test_connections_that_are_gone_do_not_count(connection):
    pool, shelf = ConnectionPool(limit=2), IdleConnections()
    kept = connection(pool, shelf)
    pool.put(shelf, kept)
    for _ in range(5):
        connection(pool, IdleConnections()).close()
    assert pool.take(shelf) is kept


def test_connections_that_were_idle_for_too_long_are_closed_when_any_is_taken(connection, monkeypatch):
    pool, shelf, other = ConnectionPool(idle_timeout=60), IdleConnections(), IdleConnections()
    old, young = connection(pool, shelf), connection(pool, shelf)
    pool.put(shelf, old)
    start = time.monotonic()
    monkeypatch.setattr("extframe.client.connection_pool.monotonic", lambda: start + 50)
    pool.put(shelf, young)
    monkeypatch.setattr("extframe.client.connection_pool.monotonic", lambda: start + 70)
    assert pool.take(other) is None
    assert [old.closed, young.closed] == [True, False]
    assert [pool.take(shelf), pool.take(shelf)] == [young, None]


def test_a_shelf_that_is_closed_keeps_nothing(connection):
    pool, shelf = ConnectionPool(), IdleConnections()
    idle, used = connection(pool, shelf), connection(pool, shelf)
    pool.put(shelf, idle)
    pool.close(shelf)
    assert [idle.closed, used.closed] == [True, False]
    pool.put(shelf, used)
    assert used.closed


def test_a_connection_is_closed_with_the_last_reference_to_it():
    pool, shelf = ConnectionPool(), IdleConnections()
    ours, theirs = socket.socketpair()
    made = Connection(ours)
    pool.add(shelf, made)
    pool.put(shelf, made)
    with theirs:
        theirs.setblocking(False)
        with pytest.raises(BlockingIOError):
            theirs.recv(1)
        del ours, made, pool, shelf
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
