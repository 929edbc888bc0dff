"""PrometheusObserver: metrics of calls, activations and circuits. Only its instances import prometheus_client."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from ..protocol import ACTIVATE
from ..protocol.telemetry import DURATION_BUCKETS, missing_extra

if TYPE_CHECKING:
    from prometheus_client import CollectorRegistry

    from .observation import CallOutcome, ObservedCall
else:
    from ..concurrency.late_types import late

    CollectorRegistry = late("prometheus_client", "CollectorRegistry")
    CallOutcome = late("extframe.client.observation", "CallOutcome")
    ObservedCall = late("extframe.client.observation", "ObservedCall")


class PrometheusObserver:
    """An `Observer` that counts and measures calls, in the default registry of prometheus_client or another.

    ::

        prometheus_client.start_http_server(9100)
        extframe.PluginManager(observers=[extframe.PrometheusObserver()])

    =============================================  =============================================================
    ``extframe_calls_total``                       by ``plugin``, ``method`` and ``outcome``: ``ok``, or the name of
                                                   the exception
    ``extframe_call_duration_seconds``             a histogram, by ``plugin`` and ``method``
    ``extframe_calls_in_progress``                 by ``plugin``; streams that are open are among them
    ``extframe_call_retries_total``                by ``plugin`` and ``method``
    ``extframe_sent_bytes_total``,                 by ``plugin``; heads included
    ``extframe_received_bytes_total``
    ``extframe_activations_total``                 handshakes, by ``plugin`` and ``outcome``
    ``extframe_activation_duration_seconds``       a histogram of handshakes, by ``plugin``
    ``extframe_circuit_open``                      by ``plugin``: 1 while its circuit breaker is open
    =============================================  =============================================================

    The label ``plugin`` is the plugin's name, or its address if it has none. Handshakes are not among the calls. Create
    one observer for each registry.

    Needs the extra ``prometheus`` (``pip install 'extframe[prometheus]'``).

    Args:
        registry: where the metrics are; the default registry where None.
        buckets: of the histograms, in seconds.

    Raises:
        ImportError: the extra is not installed.
        ValueError: the registry has such metrics already.
    """

    def __init__(
        self, registry: CollectorRegistry | None = None, *, buckets: Sequence[float] = DURATION_BUCKETS
    ) -> None:
        try:
            from prometheus_client import REGISTRY, Counter, Gauge, Histogram
        except ImportError as missing:
            raise missing_extra("prometheus", missing) from missing
        there = REGISTRY if registry is None else registry
        call = ("plugin", "method")
        self._calls = Counter("extframe_calls", "Calls that have ended.", (*call, "outcome"), registry=there)
        self._duration = Histogram(
            "extframe_call_duration_seconds", "Duration of calls.", call, buckets=buckets, registry=there
        )
        self._in_progress = Gauge("extframe_calls_in_progress", "Calls and open streams.", ("plugin",), registry=there)
        self._retries = Counter("extframe_call_retries", "Attempts after the first.", call, registry=there)
        self._sent = Counter("extframe_sent_bytes", "Bytes of requests.", ("plugin",), registry=there)
        self._received = Counter("extframe_received_bytes", "Bytes of responses.", ("plugin",), registry=there)
        self._activations = Counter("extframe_activations", "Handshakes.", ("plugin", "outcome"), registry=there)
        self._activation_duration = Histogram(
            "extframe_activation_duration_seconds",
            "Duration of handshakes.",
            ("plugin",),
            buckets=buckets,
            registry=there,
        )
        self._circuit = Gauge(
            "extframe_circuit_open", "Whether the circuit breaker is open.", ("plugin",), registry=there
        )
        self._plugins: dict[int, str] = {}  # by call, whose address may be another one at its end

    def call_started(self, call: ObservedCall) -> None:
        """Count a call in progress."""
        plugin = self._plugins[id(call)] = call.plugin or call.address
        self._in_progress.labels(plugin).inc()

    def call_ended(self, call: ObservedCall, outcome: CallOutcome) -> None:
        """Count and measure a call."""
        plugin = self._plugins.pop(id(call))
        result = "ok" if outcome.error is None else type(outcome.error).__name__
        self._in_progress.labels(plugin).dec()
        self._sent.labels(plugin).inc(outcome.bytes_sent)
        self._received.labels(plugin).inc(outcome.bytes_received)
        self._circuit.labels(plugin).set(outcome.is_circuit_open)
        if call.method == ACTIVATE:
            self._activations.labels(plugin, result).inc()
            self._activation_duration.labels(plugin).observe(outcome.seconds)
            return
        self._calls.labels(plugin, call.method, result).inc()
        self._duration.labels(plugin, call.method).observe(outcome.seconds)
        if outcome.attempt > 1:
            self._retries.labels(plugin, call.method).inc(outcome.attempt - 1)
