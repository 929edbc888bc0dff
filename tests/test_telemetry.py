"""Traces and metrics with the real SDKs: OpenTelemetry's with exporters in memory, and prometheus_client's registry."""

from __future__ import annotations

import json
import re
import signal
import subprocess
import sys
from functools import partial
from pathlib import Path

import pytest
from event_loops import run
from faultserver import answer, close_after_read, eventually, successively
from opentelemetry.sdk.metrics import MeterProvider
from opentelemetry.sdk.metrics.export import InMemoryMetricReader
from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.sdk.trace.export import SimpleSpanProcessor
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter
from opentelemetry.trace import SpanKind, StatusCode
from prometheus_client import CollectorRegistry, generate_latest

import extframe
from extframe import (
    AsyncClient,
    Breaker,
    Client,
    LocalRegistry,
    OpenTelemetryMiddleware,
    OpenTelemetryObserver,
    PluginManager,
    PrometheusObserver,
)

PAGE = Path(__file__).parent.parent / "docs" / "observability.md"


class Telemetry:
    """Providers whose spans and measurements are kept."""

    def __init__(self):
        self._spans = InMemorySpanExporter()
        self.traces = TracerProvider()
        self.traces.add_span_processor(SimpleSpanProcessor(self._spans))
        self._reader = InMemoryMetricReader()
        self.providers = {"tracer_provider": self.traces, "meter_provider": MeterProvider([self._reader])}
        self.tracer = self.traces.get_tracer("test")

    def spans(self):
        """Return the spans that ended, by name."""
        return {span.name: span for span in self._spans.get_finished_spans()}

    def points(self):
        """Return the points of each histogram, by its name."""
        (resource,) = self._reader.get_metrics_data().resource_metrics
        (scope,) = resource.scope_metrics
        return {metric.name: list(metric.data.data_points) for metric in scope.metrics}


@pytest.fixture
def telemetry():
    return Telemetry()


def test_a_call_is_a_client_span_with_the_standard_attributes(telemetry, fault_server):
    server = fault_server(successively(close_after_read, answer(b'{"Name": "photos"}')), kind="tcp")
    with Client(server.address, plugin="rec", observers=[OpenTelemetryObserver(**telemetry.providers)]) as client:
        with telemetry.tracer.start_as_current_span("backup"):
            client.call("VolumeDriver.Get", idempotent=True)
        client.get("/health?token=s3cret")
    spans = telemetry.spans()
    span = spans["VolumeDriver.Get"]
    assert span.kind is SpanKind.CLIENT
    assert span.parent.span_id == spans["backup"].context.span_id
    assert span.status.status_code is StatusCode.UNSET
    attributes = dict(span.attributes)
    phases = {key: attributes.pop(key) for key in list(attributes) if key.startswith("extframe.phase.")}
    assert list(phases) == [
        f"extframe.phase.{name}" for name in ("earlier", "connect", "send", "wait", "receive", "decode")
    ]
    where = {"server.address": "127.0.0.1", "server.port": server.port, "network.transport": "tcp"}
    result = {"http.response.status_code": 200, "rpc.response.status_code": "200"}
    rpc = {"rpc.system.name": "extframe", "rpc.method": "VolumeDriver.Get", **where}
    assert attributes == {
        **rpc,
        **result,
        "http.request.method": "POST",
        "url.path": "/VolumeDriver.Get",
        "http.request.resend_count": 1,
        "extframe.plugin.name": "rec",
        "extframe.attempt": 2,
    }
    for request in server.requests[:2]:
        traceparent = dict(request.headers)["traceparent"]
        assert traceparent.startswith(f"00-{span.context.trace_id:032x}-{span.context.span_id:016x}-")
    (point,) = telemetry.points()["rpc.client.call.duration"]
    assert dict(point.attributes) == {**rpc, **result}
    assert (point.count, point.explicit_bounds[0]) == (1, 0.005)
    assert point.exemplars[0].span_id == span.context.span_id
    get = dict(spans["GET"].attributes)
    assert get["url.path"] == "/health"
    assert "rpc.method" not in get
    assert "http.client.request.duration" in telemetry.points()


def test_an_error_is_recorded_and_an_async_call_is_as_any_other(telemetry, fault_server):
    server = fault_server(successively(close_after_read, answer(b'{"Err": "full"}', status="507 Full")))

    async def main():
        async with AsyncClient(server.address, observers=[OpenTelemetryObserver(**telemetry.providers)]) as client:
            for method in ("A.Lost", "A.Full"):
                with telemetry.tracer.start_as_current_span("parent"), pytest.raises(extframe.ExtframeError):
                    await client.call(method)

    run(main)
    lost, full = (telemetry.spans()[name] for name in ("A.Lost", "A.Full"))
    assert lost.attributes["error.type"] == "extframe.errors.ConnectionLost"
    assert "http.response.status_code" not in lost.attributes
    assert full.attributes["error.type"] == full.attributes["rpc.response.status_code"] == "507"
    assert full.attributes["server.address"] == server.address.removeprefix("unix://")
    assert full.status.status_code is StatusCode.ERROR
    assert "full" in full.status.description
    assert full.parent is not None


def test_the_plugin_continues_the_trace_in_threads_and_in_its_event_loop(telemetry):
    plugin = Telemetry()

    class Photos(extframe.VolumeDriver):
        def list(self):
            with plugin.tracer.start_as_current_span("in a thread"):
                return []

        def get(self, name):
            raise RuntimeError("the disk is gone")

    class Logs(extframe.AsyncMetricsCollector):
        async def start_metrics(self):
            with plugin.tracer.start_as_current_span("in the loop"):
                pass

        async def stop_metrics(self):
            pass

    middleware = [partial(OpenTelemetryMiddleware, **plugin.providers)]
    observers = [OpenTelemetryObserver(**telemetry.providers)]
    with (
        extframe.serving(Photos(), Logs(), name="photos", middleware=middleware) as served,
        PluginManager(LocalRegistry(served.directory), observers=observers) as pm,
    ):
        pm.driver("photos", extframe.VolumeDriver).list()
        pm.driver("photos", extframe.MetricsCollector).start_metrics()
        client = pm.get("photos").client
        for method in ("VolumeDriver.Get", "VolumeDriver.Nope"):
            with pytest.raises(extframe.RemoteError):
                client.call(method, {"Name": "x"})
    sent, received = telemetry.spans(), plugin.spans()
    for inner, method in (("in a thread", "VolumeDriver.List"), ("in the loop", "MetricsCollector.StartMetrics")):
        assert received[method].kind is SpanKind.SERVER
        assert received[method].parent.span_id == sent[method].context.span_id
        assert received[inner].parent.span_id == received[method].context.span_id
        assert received[inner].context.trace_id == sent[method].context.trace_id
    assert dict(received["VolumeDriver.List"].attributes) == {
        "rpc.system.name": "extframe",
        "rpc.method": "VolumeDriver.List",
        "rpc.response.status_code": "200",
        "http.request.method": "POST",
        "http.response.status_code": 200,
        "url.path": "/VolumeDriver.List",
    }
    assert received["VolumeDriver.Get"].attributes["error.type"] == "500"
    assert received["VolumeDriver.Get"].status.status_code is StatusCode.ERROR
    assert received["_OTHER"].attributes["rpc.method_original"] == "VolumeDriver.Nope"
    assert received["_OTHER"].status.status_code is StatusCode.UNSET
    assert "Plugin.Activate" in received
    measured = {point.attributes["rpc.method"] for point in plugin.points()["rpc.server.call.duration"]}
    assert measured >= {"VolumeDriver.List", "VolumeDriver.Get", "_OTHER", "Plugin.Activate"}


def test_middleware_of_a_plugin_wraps_in_order():
    passed = []

    def wrap(name, app):
        async def wrapped(scope, receive, send):
            passed.append(name)
            await app(scope, receive, send)

        return wrapped

    middleware = [partial(wrap, "outer"), partial(wrap, "inner")]
    with (
        extframe.serving(extframe.MetricsCollector(), middleware=middleware) as served,
        Client(served.address) as client,
    ):
        client.call("Plugin.Activate")
    assert passed == ["outer", "inner"]


def test_prometheus_counts_calls_activations_bytes_and_open_circuits(tmp_path, fault_server):
    registry = CollectorRegistry()
    observer = PrometheusObserver(registry, buckets=[0.5, 60.0])

    def value(name, **labels):
        return registry.get_sample_value(f"extframe_{name}", labels)

    manifest = answer(b'{"Implements": ["VolumeDriver"], "Volumes": []}')
    server = fault_server(successively(manifest, close_after_read, manifest))
    (tmp_path / "photos.spec").write_text(server.address)
    breaker = Breaker(failures=1, initial_delay=0.01, max_delay=60)
    options = {"observers": [observer], "breaker": breaker, "keep_alive": False}
    with PluginManager(LocalRegistry(tmp_path), **options) as pm:
        client = pm.get("photos").client
        labels = {"plugin": "photos"}
        assert value("activations_total", **labels, outcome="ok") == 1
        assert value("activation_duration_seconds_count", **labels) == 1
        with pytest.raises(extframe.ConnectionLost):
            client.call("A.B")
        assert value("circuit_open", **labels) == 1
        assert eventually(lambda: is_available(client))
        assert value("circuit_open", **labels) == 0
        assert value("calls_total", **labels, method="A.B", outcome="ok") == 1
        assert value("calls_total", **labels, method="A.B", outcome="ConnectionLost") == 1
        assert value("calls_in_progress", **labels) == 0
        with client.stream("A.B"):
            assert value("calls_in_progress", **labels) == 1
        behaviours = [close_after_read, manifest]
        server.behaviour = lambda peer: behaviours.pop(0)(peer)
        client.call("A.C", idempotent=True)
        assert value("call_retries_total", **labels, method="A.C") == 1
        assert value("call_duration_seconds_bucket", **labels, method="A.C", le="60.0") == 1
    sent = sum(len(request.head + request.body) for request in server.requests)
    assert value("sent_bytes_total", **labels) == sent
    assert value("received_bytes_total", **labels) > 0
    assert b"# HELP extframe_calls_total" in generate_latest(registry)


def test_of_several_instances_the_span_has_the_one_called_and_metrics_one_label(telemetry, tmp_path, fault_server):
    registry = CollectorRegistry()
    gone = f"unix://{tmp_path}/gone.sock"
    server = fault_server(answer(b'{"Implements": ["VolumeDriver"]}'), kind="tcp")
    endpoints = [extframe.Endpoint(gone), extframe.Endpoint(server.address)]
    observers = [PrometheusObserver(registry), OpenTelemetryObserver(**telemetry.providers)]
    with Client(gone, endpoints=endpoints, observers=observers) as client:
        client.handshake(30)
        client.call("VolumeDriver.List")
    where = {"server.address": "127.0.0.1", "server.port": server.port, "network.transport": "tcp"}
    assert where.items() <= dict(telemetry.spans()["VolumeDriver.List"].attributes).items()
    measured = [dict(each.attributes) for each in telemetry.points()["rpc.client.call.duration"]]
    assert any(where.items() <= each.items() and each["rpc.method"] == "VolumeDriver.List" for each in measured)
    assert registry.get_sample_value("extframe_calls_in_progress", {"plugin": gone}) == 0
    assert registry.get_sample_value("extframe_calls_in_progress", {"plugin": server.address}) is None


def is_available(client):
    try:
        client.call("A.B")
    except extframe.PluginUnavailable:
        return False
    return True


class Places(extframe.Message, frozen=True):
    bucket: str


class Backup(extframe.Interface, implements="Backup", settings=Places):
    @extframe.rpc("Start")
    def start(self) -> None:
        raise NotImplementedError


def test_methods_of_a_plugin_that_takes_settings_have_spans_of_their_names():
    class Driver(Backup):
        def configure(self, settings):
            pass

        def start(self):
            pass

    plugin = Telemetry()
    middleware = [partial(OpenTelemetryMiddleware, **plugin.providers)]
    with extframe.serving(Driver(), middleware=middleware) as served, Client(served.address) as client:
        client.call("Plugin.Configure", {"Settings": {"bucket": "photos"}})
        client.call("Backup.Start")
    assert plugin.spans().keys() == {"Plugin.Configure", "Backup.Start"}


@pytest.mark.parametrize(
    ("make", "module"),
    [
        (OpenTelemetryObserver, "opentelemetry"),
        (lambda: OpenTelemetryMiddleware(None), "opentelemetry"),
        (PrometheusObserver, "prometheus_client"),
    ],
)
def test_without_the_extra_the_error_says_what_to_install(monkeypatch, make, module):
    monkeypatch.setitem(sys.modules, module, None)
    with pytest.raises(ImportError, match=r"pip install 'extframe\[(opentelemetry|prometheus)\]'"):
        make()


# --- the recipes of the page --------------------------------------------------------------------------

RECIPE = re.compile(r"^## (.*?)\n|^```python\n(.*?)^```", re.DOTALL | re.MULTILINE)


def recipes():
    """Return the Python blocks of the page below each heading."""
    found, heading = {}, ""
    for title, block in RECIPE.findall(PAGE.read_text()):
        heading = title or heading
        if block:
            found.setdefault(heading, []).append(block)
    return found


def test_the_recipes_of_the_page_run(short_path):
    """The plugin of the page serves, and one host runs all the others; traces are read from what they print."""
    blocks = recipes()
    assert set(blocks) == {"Log each call", "Observe calls", "Traces with OpenTelemetry", "Metrics with Prometheus"}
    host, plugin = blocks["Traces with OpenTelemetry"]
    start = f"import extframe\ndirectory = {str(short_path)!r}\nregistry = extframe.LocalRegistry(directory)\n"
    command = [sys.executable, "-W", "error", "-c"]
    serving = subprocess.Popen([*command, start + plugin], stdout=subprocess.PIPE, text=True)
    try:
        wait = "with extframe.PluginManager(registry) as pm:\n    pm.get('photos', wait=60, timeout=60)\n"
        others = [*blocks["Log each call"], *blocks["Observe calls"], *blocks["Metrics with Prometheus"]]
        program = "\n".join([start, wait, *others, host]).replace("9464", "0")
        printed = subprocess.run([*command, program], capture_output=True, text=True, timeout=120, check=False)
        assert printed.returncode == 0, printed.stderr
        serving.send_signal(signal.SIGTERM)
        spans = spans_in(serving.communicate(timeout=60)[0])
    finally:
        serving.kill()
    assert "extframe_calls_total{" in printed.stdout
    assert ": status 200, " in printed.stderr
    sent = spans_in(printed.stdout)
    assert sent["VolumeDriver.List"]["parent_id"] == sent["backup"]["context"]["span_id"]
    assert spans["VolumeDriver.List"]["parent_id"] == sent["VolumeDriver.List"]["context"]["span_id"]
    assert spans["read the disk"]["parent_id"] == spans["VolumeDriver.List"]["context"]["span_id"]


def spans_in(printed):
    """Return the spans that a ConsoleSpanExporter printed, the last of each name."""
    decoder, found, position = json.JSONDecoder(), {}, printed.find("{\n")
    while position >= 0:
        span, end = decoder.raw_decode(printed, position)
        found[span["name"]] = span
        position = printed.find("{\n", end)
    return found
