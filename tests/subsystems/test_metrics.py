"""MetricsCollector: two calls with nothing in them, of whose replies only the status counts."""

from __future__ import annotations

import pytest
from scripted_client import DriverClient, ScriptedClient

from extframe.errors import RemoteError
from extframe.subsystems.metrics import MetricsCollector


@pytest.mark.parametrize(("method", "wire"), [("start_metrics", "StartMetrics"), ("stop_metrics", "StopMetrics")])
def test_a_request_is_empty_and_its_reply_is_not_read(method, wire):
    for reply in ({"Err": ""}, {"Err": "unseen by Docker"}, b"", b"<html>"):
        client = ScriptedClient(reply)
        assert getattr(MetricsCollector.remote(client), method)() is None
        assert (client.last.method, client.last.body) == (f"MetricsCollector.{wire}", b"")


def test_a_status_other_than_200_is_an_error():
    with pytest.raises(RemoteError, match="no socket"):
        MetricsCollector.remote(ScriptedClient({"Err": "no socket"}, status=500)).start_metrics()


class Collector(MetricsCollector):
    running = False

    def start_metrics(self) -> None:
        self.running = True

    def stop_metrics(self) -> None:
        self.running = False


def test_both_ends_understand_each_other():
    collector = Collector()
    metrics = MetricsCollector.remote(DriverClient(collector))
    metrics.start_metrics()
    assert collector.running
    metrics.stop_metrics()
    assert not collector.running
