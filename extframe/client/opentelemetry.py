"""OpenTelemetryObserver: a span and a measurement for each call. Only its instances import opentelemetry."""

from __future__ import annotations

from functools import lru_cache
from typing import TYPE_CHECKING, Any

from ..protocol import Address
from ..protocol.telemetry import DURATION_BUCKETS, RPC_SYSTEM, missing_extra

if TYPE_CHECKING:
    from opentelemetry.metrics import MeterProvider
    from opentelemetry.trace import Span, TracerProvider

    from .observation import CallOutcome, ObservedCall
else:
    from ..concurrency.late_types import late

    MeterProvider = late("opentelemetry.metrics", "MeterProvider")
    TracerProvider = late("opentelemetry.trace", "TracerProvider")
    CallOutcome = late("extframe.client.observation", "CallOutcome")
    ObservedCall = late("extframe.client.observation", "ObservedCall")

_GET = "GET "


class OpenTelemetryObserver:
    """An `Observer` that makes a client span for each call, sends its context to the plugin, and measures the call.

    ::

        extframe.PluginManager(observers=[extframe.OpenTelemetryObserver()])

    The span is a child of the current one. It has the attributes of the semantic conventions for RPC and HTTP, and
    ``extframe.plugin.name``, ``extframe.attempt`` and ``extframe.phase.NAME`` in seconds. The context is sent in the
    headers of the global propagator, ``traceparent`` by default. The histogram is ``rpc.client.call.duration``, for GET
    requests ``http.client.request.duration``.

    Needs the extra ``opentelemetry`` (``pip install 'extframe[opentelemetry]'``), and in the application an SDK.

    Args:
        tracer_provider, meter_provider: the global ones where None.

    Raises:
        ImportError: the extra is not installed.
    """

    def __init__(
        self, *, tracer_provider: TracerProvider | None = None, meter_provider: MeterProvider | None = None
    ) -> None:
        try:
            from opentelemetry import metrics, propagate, trace
        except ImportError as missing:
            raise missing_extra("opentelemetry", missing) from missing
        self._trace = trace
        self._inject = propagate.inject
        self._tracer = trace.get_tracer("extframe", tracer_provider=tracer_provider)
        meter = metrics.get_meter("extframe", meter_provider=meter_provider)
        self._rpc_duration = meter.create_histogram(
            "rpc.client.call.duration",
            unit="s",
            description="Measures the duration of an outgoing Remote Procedure Call (RPC).",
            explicit_bucket_boundaries_advisory=DURATION_BUCKETS,
        )
        self._http_duration = meter.create_histogram(
            "http.client.request.duration",
            unit="s",
            description="Duration of HTTP client requests.",
            explicit_bucket_boundaries_advisory=DURATION_BUCKETS,
        )
        self._spans: dict[int, Span] = {}  # by call

    def call_started(self, call: ObservedCall) -> None:
        """Start a span, and have the plugin continue it."""
        name, attributes = _identity(call)
        only_span = {"http.request.method": call.http_method, "url.path": "/" + call.method}
        if call.plugin is not None:
            only_span["extframe.plugin.name"] = call.plugin
        span = self._tracer.start_span(name, kind=self._trace.SpanKind.CLIENT, attributes={**only_span, **attributes})
        self._spans[id(call)] = span
        self._inject(call.headers, context=self._trace.set_span_in_context(span))

    def call_ended(self, call: ObservedCall, outcome: CallOutcome) -> None:
        """End the span, and record the duration."""
        span = self._spans.pop(id(call))
        _, attributes = _identity(call)  # by now with the address of the instance that was called
        result = _result(outcome)
        is_rpc = "rpc.method" in attributes
        if is_rpc and outcome.status is not None:
            result["rpc.response.status_code"] = str(outcome.status)
        (self._rpc_duration if is_rpc else self._http_duration).record(
            outcome.seconds, {**attributes, **result}, context=self._trace.set_span_in_context(span)
        )
        span.set_attributes({**attributes, **result, **_details(outcome)})
        if outcome.error is not None:
            span.set_status(self._trace.StatusCode.ERROR, str(outcome.error))
        span.end()


def _identity(call: ObservedCall) -> tuple[str, dict[str, Any]]:
    """Return the name of a call's span, and the attributes that its measurement has, too."""
    where = _address_attributes(call.address)
    if call.method.startswith(_GET):  # not a call of a plugin's method
        return "GET", {
            "http.request.method": "GET",
            "url.path": call.method.removeprefix(_GET).partition("?")[0],
            **where,
        }
    return call.method, {"rpc.system.name": RPC_SYSTEM, "rpc.method": call.method, **where}


@lru_cache(maxsize=1024)
def _address_attributes(text: str) -> dict[str, str | int]:
    address = Address.parse(text)
    if address.path:
        return {"server.address": address.path, "network.transport": "unix"}
    return {"server.address": address.host, "server.port": address.port, "network.transport": "tcp"}


def _result(outcome: CallOutcome) -> dict[str, Any]:
    result: dict[str, Any] = {}
    if outcome.status is not None:
        result["http.response.status_code"] = outcome.status
    if outcome.error is not None:
        kind = type(outcome.error)
        is_status = outcome.status is not None and outcome.status >= 400
        result["error.type"] = str(outcome.status) if is_status else f"{kind.__module__}.{kind.__qualname__}"
    return result


def _details(outcome: CallOutcome) -> dict[str, Any]:
    details: dict[str, Any] = {f"extframe.phase.{phase}": seconds for phase, seconds in outcome.phases.items()}
    details["extframe.attempt"] = outcome.attempt
    if outcome.attempt > 1:
        details["http.request.resend_count"] = outcome.attempt - 1
    return details
