"""Plugins that close each connection after its response without saying so: their connections are not kept."""

from __future__ import annotations

import logging
from contextlib import suppress

import pytest
from faultserver import answer, in_turn, reply, send_and_close
from served_client import served_clients

from extframe.client.keep_alive import KeepAlive
from extframe.errors import ConnectionLost


@pytest.fixture
def client_of(fault_server):
    yield from served_clients(fault_server)


ONCE = {"opened": 0.0, "last_used": 0.5, "uses": 1}
AGAIN = {"opened": 2.1, "last_used": 2.5, "uses": 1}


@pytest.mark.parametrize(
    ("closes", "keeps"),
    [
        ([(1.0, ONCE)], True),
        ([(1.0, ONCE), (2.0, {**ONCE, "opened": 1.1, "last_used": 1.5})], False),
        # Opened before the first was found closed, as the connections of a plugin that is restarted.
        ([(1.0, ONCE), (1.1, ONCE), (1.2, {**ONCE, "opened": 0.9})], True),
        # Idle for longer than a second.
        ([(1.0, ONCE), (9.0, {**ONCE, "opened": 1.1, "last_used": 7.9})], True),
        # Reused before: the server keeps connections.
        (
            [(1.0, ONCE), (2.0, {**ONCE, "opened": 1.1, "uses": 2}), (3.0, AGAIN)],
            True,
        ),
    ],
)
def test_connections_closed_soon_after_their_first_response_show_that_none_should_be_kept(closes, keeps):
    policy = KeepAlive()
    for now, connection in closes:
        policy.record_close(now, **connection)
    assert policy.keeps is keeps


def test_no_connection_is_kept_where_the_host_says_so(client_of):
    client = client_of(answer(), keep_alive=False)
    for _ in range(3):
        client.call("A.B")
    assert client.server.connections == 3


def test_a_plugin_that_closes_its_connections_is_noticed_and_said_once_at_debug(client_of, caplog):
    caplog.set_level(logging.DEBUG, "extframe.client.base_transport")
    client = client_of(send_and_close(reply()))
    for _ in range(10):
        with suppress(ConnectionLost):  # the end of a kept connection may arrive after the request was sent
            client.call("A.B")
    for _ in range(200):
        client.call("A.B")
    (record,) = caplog.records
    assert "closes its connections after each response" in record.getMessage()
    assert client._transport._idle == []


def test_a_plugin_that_keeps_connections_keeps_its_connection_after_one_was_closed(client_of):
    client = client_of(in_turn(send_and_close(reply()), answer()))
    for _ in range(20):
        client.call("A.B", idempotent=True)
    assert client.server.connections == 2
