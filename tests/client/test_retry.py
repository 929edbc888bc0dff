"""The table of waits: Docker's schedule to the number, and what may be sent again at all."""

from __future__ import annotations

import dataclasses
import errno
import itertools
import math

import pytest

from extframe.client.retry import Retry
from extframe.errors import CallTimeout, ConnectError, ConnectionLost, ProtocolError, RemoteError

REFUSED, LOST = ConnectError("refused"), ConnectionLost("lost")


def because(cause: OSError) -> ConnectError:
    failure = ConnectError("no connection")
    failure.__cause__ = cause
    return failure


def starts(
    retry: Retry, failure: Exception, *, each: float = 0.0, idempotent: bool = True, was_active: bool = False
) -> list[float]:
    """Return when attempts begin that take ``each`` seconds and end with ``failure``."""
    now, times = 0.0, []
    for attempts in itertools.count(1):
        times.append(now)
        now += each
        wait = retry.wait_after(failure, attempts, now, idempotent=idempotent, was_active=was_active)
        if wait is None:
            return times
        now += wait


@pytest.mark.parametrize("failure", [REFUSED, LOST])
def test_the_engines_attempts_that_fail_at_once_are_made_at_0_1_3_7_and_15_seconds(failure):
    assert starts(Retry.engine(), failure) == [0, 1, 3, 7, 15]


@pytest.mark.parametrize(
    ("each", "times"),
    [(1, [0, 2, 5, 10, 19]), (5, [0, 6, 13, 22]), (13.9, [0, 14.9]), (28.9, [0, 29.9]), (29, [0]), (40, [0])],
)
def test_the_engine_gives_up_where_time_and_next_wait_come_to_30_seconds(each, times):
    assert starts(Retry.engine(), REFUSED, each=each) == pytest.approx(times)


def test_the_default_tries_a_refused_connection_once():
    assert starts(Retry(), REFUSED) == [0]


def test_the_default_tries_an_idempotent_call_whose_connection_was_lost_three_times_at_once():
    assert starts(Retry(), LOST) == [0, 0, 0]


def test_where_a_plugin_was_active_an_idempotent_call_that_was_lost_outlasts_its_end():
    assert starts(Retry(), LOST, was_active=True) == pytest.approx([0, 0, 0, 0.05, 0.25])
    assert starts(Retry(restart=0), LOST, was_active=True) == [0, 0, 0]
    assert starts(Retry(), LOST, was_active=True, idempotent=False) == [0]


@pytest.mark.parametrize("retry", [Retry(), Retry.engine()])
def test_a_call_that_is_not_idempotent_is_not_sent_again_after_a_lost_connection(retry):
    assert starts(retry, LOST, idempotent=False) == [0]


def test_a_call_that_is_not_idempotent_is_sent_again_after_a_refused_connection():
    assert starts(Retry.engine(), REFUSED, idempotent=False) == [0, 1, 3, 7, 15]


NOBODY = [because(kind()) for kind in (ConnectionRefusedError, FileNotFoundError, ConnectionResetError)]


@pytest.mark.parametrize("idempotent", [True, False])
@pytest.mark.parametrize("failure", NOBODY, ids=repr)
def test_where_a_plugin_was_active_and_nothing_listens_a_call_goes_on_trying_for_10_seconds(failure, idempotent):
    times = starts(Retry(), failure, idempotent=idempotent, was_active=True)
    assert times[:5] == pytest.approx([0, 0.01, 0.03, 0.07, 0.15])
    assert max(later - sooner for sooner, later in itertools.pairwise(times)) <= 0.0801
    assert 9.9 < times[-1] <= 10


@pytest.mark.parametrize("failure", [because(PermissionError()), because(OSError(errno.EMFILE, "")), REFUSED])
def test_what_no_restart_explains_is_not_taken_for_one(failure):
    assert starts(Retry(), failure, was_active=True) == [0]


def test_waiting_for_a_restart_can_be_shortened_turned_off_and_replaced():
    assert starts(Retry(restart=0.1), NOBODY[0], was_active=True) == pytest.approx([0, 0.01, 0.03, 0.07])
    assert starts(Retry(restart=0), NOBODY[0], was_active=True) == [0]
    assert starts(Retry(refused=(1.0,)), NOBODY[0], was_active=True) == [0, 1]


def test_an_idempotent_call_whose_new_connection_was_closed_at_once_counts_as_lost():
    assert starts(Retry(), because(ConnectionResetError())) == [0, 0, 0]
    assert starts(Retry(), because(ConnectionResetError()), idempotent=False) == [0]


@pytest.mark.parametrize("failure", [CallTimeout(), ProtocolError(), RemoteError(status=503)])
def test_no_other_failure_is_sent_again(failure):
    assert starts(Retry(refused=(0.0,) * 9, lost=(0.0,) * 9), failure) == [0]


def test_a_retry_is_a_value():
    assert Retry.engine() == Retry.engine() != Retry()
    with pytest.raises(dataclasses.FrozenInstanceError):
        Retry().budget = 1.0


def test_a_restart_may_be_waited_for_without_end():
    waits = [
        Retry(restart=math.inf).wait_after(NOBODY[0], attempts, 0.0, idempotent=False, was_active=True)
        for attempts in (1, 2, 3, 4, 1_000_000)
    ]
    assert waits == [0.01, 0.02, 0.04, 0.08, 0.08]
