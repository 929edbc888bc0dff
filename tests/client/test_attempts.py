"""Attempts: what a call does after each failure, by table and by property. Nothing sleeps and nothing is sent."""

from __future__ import annotations

import errno
import math
import os
from itertools import count
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from restarting import Restarting

from extframe import Breaker, CallTimeout, ConnectError, ConnectionLost, PluginUnavailable, ProtocolError, Retry
from extframe.client.attempts import Attempts
from extframe.client.endpoint import PluginEndpoint

FAILURES = {"no connection": ConnectError, "lost": ConnectionLost, "late": CallTimeout, "garbage": ProtocolError}
KINDS = ["refused", *FAILURES]


def endpoint_of(**settings: Any) -> PluginEndpoint:
    return PluginEndpoint("unix:///unused.sock", **settings)


def failure_of(kind: str) -> ConnectError | ConnectionLost | CallTimeout | ProtocolError:
    """Return a new failure, as a transport raises it."""
    if kind == "refused":
        failure = ConnectError("refused")
        failure.__cause__ = ConnectionRefusedError(errno.ECONNREFUSED, os.strerror(errno.ECONNREFUSED))
        return failure
    return FAILURES[kind](kind)


def attempts_of(
    endpoint: PluginEndpoint, kind: str, *, idempotent: bool, seconds: float = 60.0, method: str = "VolumeDriver.Get"
) -> int:
    """Return how many attempts a call makes whose attempts all end with the same failure, at once."""
    now = 100.0
    attempts = Attempts(endpoint, method, seconds, idempotent, now)
    for made in count(1):
        failure = failure_of(kind)
        wait = attempts.wait_after(failure, now)
        if wait is None or not attempts.may_continue(now + wait):
            attempts.give_up(failure, now)
            attempts.abandon()
            return made
        now += wait
    raise AssertionError


@pytest.mark.parametrize(
    ("kind", "idempotent", "was_active", "expected"),
    [
        ("refused", False, False, 1),
        ("refused", False, True, 128),  # 10, 20, 40 and then 80 ms, for 10 s
        ("refused", True, True, 128),
        ("no connection", True, True, 1),
        ("lost", False, True, 1),
        ("lost", True, False, 3),
        ("lost", True, True, 5),
        ("late", True, True, 1),
        ("garbage", True, True, 1),
    ],
)
def test_how_often_a_call_is_attempted(kind, idempotent, was_active, expected):
    listener = Restarting()
    listener.was_active = was_active
    assert attempts_of(endpoint_of(listener=listener), kind, idempotent=idempotent) == expected
    assert len(listener.refused) == (expected if kind == "refused" else 0)


def test_a_handshake_does_not_wait_for_a_restart():
    endpoint = endpoint_of(listener=Restarting())
    assert attempts_of(endpoint, "refused", idempotent=True, method="Plugin.Activate") == 1
    assert attempts_of(endpoint, "refused", idempotent=True, method="/Plugin.Activate") == 1


def test_an_address_that_changed_during_the_attempt_is_tried_at_once_and_not_counted():
    listener = Restarting()
    attempts = Attempts(endpoint_of(listener=listener), "A.B", 60.0, False, 0.0)
    assert attempts.wait_after(failure_of("refused"), 1.0, moved=True) == 0
    assert listener.refused == []
    assert attempts.wait_after(failure_of("lost"), 1.0, moved=True) is None


def test_a_refusal_is_reported_with_the_time_at_which_its_attempt_began():
    listener = Restarting()
    attempts = Attempts(endpoint_of(listener=listener), "A.B", 60.0, False, 5.0)
    attempts.wait_after(failure_of("refused"), 6.0)
    assert attempts.may_continue(7.0)
    attempts.wait_after(failure_of("refused"), 8.0)
    assert listener.refused == [5.0, 7.0]


def test_the_error_says_how_many_attempts_there_were():
    endpoint = endpoint_of(retry=Retry(lost=(1.0,)))
    attempts = Attempts(endpoint, "A.B", 60.0, True, 0.0)
    attempts.wait_after(failure_of("lost"), 0.5)
    last = failure_of("lost")
    assert attempts.wait_after(last, 2.0) is None
    attempts.give_up(last, 2.0)
    assert str(last) == "A.B on unix:///unused.sock: lost; 2 attempts in 2.0 s"


def test_no_attempt_begins_after_the_deadline_however_long_a_wait_took():
    attempts = Attempts(endpoint_of(), "A.B", 1.0, True, 0.0)
    assert attempts.wait_after(failure_of("lost"), 0.5) == 0
    assert attempts.may_continue(0.9)
    assert not attempts.may_continue(1.0)


def test_the_circuit_breaker_opens_after_failed_calls_and_not_for_handshakes():
    endpoint = endpoint_of(breaker=Breaker(failures=2, initial_delay=60, max_delay=60))
    for _ in range(9):
        attempts_of(endpoint, "late", idempotent=False, method="Plugin.Activate")
    assert endpoint.circuit.last_error is None
    for _ in range(2):
        attempts_of(endpoint, "late", idempotent=False)
    with pytest.raises(PluginUnavailable):
        Attempts(endpoint, "A.B", 1.0, False, 0.0)
    Attempts(endpoint, "Plugin.Activate", 1.0, True, 0.0).succeed()
    assert endpoint.circuit.last_error is None
    Attempts(endpoint, "A.B", 1.0, False, 0.0)


@given(
    kinds=st.lists(st.sampled_from(KINDS), min_size=1, max_size=30),
    steps=st.lists(st.floats(0, 2), min_size=30, max_size=30),
    idempotent=st.booleans(),
    was_active=st.booleans(),
    seconds=st.floats(0.001, 30),
)
def test_a_call_is_repeated_only_if_it_can_do_no_harm_and_within_its_deadline(
    kinds, steps, idempotent, was_active, seconds
):
    listener = Restarting()
    listener.was_active = was_active
    attempts = Attempts(endpoint_of(listener=listener), "A.B", seconds, idempotent, 0.0)
    now = 0.0
    for kind, step in zip(kinds, steps, strict=False):
        now += step
        wait = attempts.wait_after(failure_of(kind), now)
        if wait is None:
            break
        assert 0 <= wait < math.inf
        assert kind in ("refused", "no connection") or (idempotent and kind == "lost")
        assert now + wait < attempts.deadline
        now += wait
        if not attempts.may_continue(now):
            break
