"""StreamRules: the deadlines of streams and what they say about a plugin, by table and by property. Nothing sleeps."""

from __future__ import annotations

import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from extframe import Breaker, CallTimeout, ConnectionLost, PluginUnavailable
from extframe.client.attempts import Attempts
from extframe.client.endpoint import PluginEndpoint
from extframe.client.stream_rules import StreamRules


@pytest.mark.parametrize(
    ("options", "headers", "body", "error_body"),
    [
        ({"whole": True}, 60, 60, 60),
        ({"whole": False}, 60, math.inf, 60),
        ({"whole": True, "follow": True}, math.inf, math.inf, 500 + 10),
        ({"whole": False, "follow": True}, math.inf, math.inf, 500 + 10),
    ],
)
def test_deadlines(options, headers, body, error_body):
    rules = StreamRules(60, 10, **options)
    assert rules.headers_deadline == headers
    assert rules.body_deadline(200, now=500) == body
    assert rules.body_deadline(500, now=500) == error_body


def stream_of(endpoint: PluginEndpoint, now: float, *, follow: bool) -> StreamRules:
    attempts = Attempts(endpoint, "LogDriver.ReadLogs", 10, False, now)
    return StreamRules(attempts.deadline, 10, whole=False, follow=follow, attempts=attempts)


def time_out(endpoint: PluginEndpoint, now: float) -> None:
    """Make a call that runs into its deadline without a byte from the plugin."""
    attempts = Attempts(endpoint, "A.B", 1, False, now)
    attempts.give_up(CallTimeout("late", phase="status line"), now + 1)
    attempts.abandon()


def is_open(endpoint: PluginEndpoint) -> bool:
    return endpoint.circuit.next_try is not None


def endpoint_of(failures: int = 2) -> PluginEndpoint:
    return PluginEndpoint("unix:///unused.sock", breaker=Breaker(failures=failures, initial_delay=5, max_delay=60))


def test_a_stream_that_waits_counts_neither_for_nor_against_the_plugin():
    endpoint = endpoint_of()
    time_out(endpoint, 0)
    for _ in range(9):
        stream_of(endpoint, 1, follow=True).record_sent()
    assert endpoint.circuit.failures == 1
    time_out(endpoint, 2)
    assert is_open(endpoint)


def test_the_first_byte_of_a_stream_counts_as_a_response():
    endpoint = endpoint_of()
    stream = stream_of(endpoint, 0, follow=True)
    stream.record_sent()
    time_out(endpoint, 0)
    stream.record_data()
    assert endpoint.circuit.failures == 0


def test_a_call_does_not_count_as_failed_if_bytes_of_a_stream_arrived_meanwhile():
    endpoint = endpoint_of(failures=1)
    stream = stream_of(endpoint, 0, follow=False)
    stream.record_sent()
    call = Attempts(endpoint, "A.Slow", 1, False, 1)
    stream.record_data()
    call.give_up(CallTimeout("late", phase="status line"), 2)
    assert not is_open(endpoint)


def test_streams_that_wait_and_are_lost_together_count_once():
    endpoint = endpoint_of(failures=2)
    streams = [stream_of(endpoint, now, follow=True) for now in range(5)]
    for stream in streams:
        stream.record_sent()
    for stream in streams:
        stream.record_failure(ConnectionLost("lost"), 10_000)
    assert endpoint.circuit.failures == 1


def test_a_stream_that_is_lost_after_it_began_is_not_a_failure():
    endpoint = endpoint_of(failures=1)
    for follow in (True, False):
        stream = stream_of(endpoint, 0, follow=follow)
        stream.record_sent()
        stream.record_data()
        stream.record_failure(ConnectionLost("lost"), 5)
    assert not is_open(endpoint)


def test_a_stream_that_waits_is_not_a_probe():
    endpoint = endpoint_of(failures=1)
    time_out(endpoint, 0)
    stream_of(endpoint, 20, follow=True).record_sent()
    probe = Attempts(endpoint, "A.B", 1, False, 20)  # admitted although the stream still waits
    with pytest.raises(PluginUnavailable):
        Attempts(endpoint, "A.B", 1, False, 20)
    probe.succeed()
    assert not is_open(endpoint)


def test_a_stream_that_was_a_probe_and_is_lost_later_does_not_prolong_the_delay():
    endpoint = endpoint_of(failures=1)
    time_out(endpoint, 0)
    next_try = endpoint.circuit.next_try
    stream = stream_of(endpoint, 20, follow=True)
    stream.record_sent()
    stream.record_failure(ConnectionLost("lost"), 3600)
    assert (endpoint.circuit.failures, endpoint.circuit.next_try) == (2, next_try)


@given(events=st.lists(st.sampled_from(["wait", "data", "lost", "late"]), max_size=30))
def test_the_circuit_opens_only_for_consecutive_failures_without_a_byte_between_them(events):
    endpoint, now, failures = endpoint_of(failures=3), 0.0, 0
    for event in events:
        now += 10
        if is_open(endpoint):
            break
        if event == "late":
            time_out(endpoint, now)
        else:
            stream = stream_of(endpoint, now, follow=True)
            stream.record_sent()
            if event == "data":
                stream.record_data()
            elif event == "lost":
                stream.record_failure(ConnectionLost("lost"), now + 1)
        failures = 0 if event == "data" else failures + (event in ("lost", "late"))
        assert is_open(endpoint) == (failures >= 3)
