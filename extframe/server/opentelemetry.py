"""OpenTelemetryMiddleware: a span and a measurement for each request. Only its instances import opentelemetry."""

from __future__ import annotations

from time import perf_counter
from typing import TYPE_CHECKING, Any

from ..logs import get_logger
from ..protocol import ACTIVATE, CONFIGURE
from ..protocol.telemetry import DURATION_BUCKETS, OTHER_METHOD, RPC_SYSTEM, missing_extra

if TYPE_CHECKING:
    from opentelemetry.metrics import MeterProvider
    from opentelemetry.trace import TracerProvider

    from .asgi import App, Message, Receive, Scope, Send
else:
    from ..concurrency.late_types import late

    MeterProvider = late("opentelemetry.metrics", "MeterProvider")
    TracerProvider = late("opentelemetry.trace", "TracerProvider")
    App = late("extframe.server.asgi", "App")
    Message = late("extframe.server.asgi", "Message")
    Receive = late("extframe.server.asgi", "Receive")
    Scope = late("extframe.server.asgi", "Scope")
    Send = late("extframe.server.asgi", "Send")

logger = get_logger(__name__)


class OpenTelemetryMiddleware:
    """ASGI middleware that makes a server span for each call, continues the host's trace, and measures the call.

    ::

        extframe.serve(Photos(), name="photos", middleware=[extframe.OpenTelemetryMiddleware])

    While a method of the driver runs, in a thread too, the span is the current one: spans that the method makes are its
    children. The span's name is the wire name of the method, ``_OTHER`` for one that the plugin does not have. The
    histogram is ``rpc.server.call.duration``.

    Needs the extra ``opentelemetry`` (``pip install 'extframe[opentelemetry]'``), and in the plugin an SDK.

    Args:
        app: what `asgi_app` returns.
        tracer_provider, meter_provider: the global ones where None.

    Raises:
        ImportError: the extra is not installed.
    """

    def __init__(
        self,
        app: App,
        *,
        tracer_provider: TracerProvider | None = None,
        meter_provider: MeterProvider | None = None,
    ) -> None:
        try:
            from opentelemetry import metrics, propagate, trace
        except ImportError as missing:
            raise missing_extra("opentelemetry", missing) from missing
        self._app = app
        self._methods: frozenset[str] | None = getattr(app, "methods", None)
        self._trace = trace
        self._extract = propagate.extract
        self._tracer = trace.get_tracer("extframe", tracer_provider=tracer_provider)
        self._duration = metrics.get_meter("extframe", meter_provider=meter_provider).create_histogram(
            "rpc.server.call.duration",
            unit="s",
            description="Measures the duration of an incoming Remote Procedure Call (RPC).",
            explicit_bucket_boundaries_advisory=DURATION_BUCKETS,
        )

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer one request, as ASGI 3 defines it."""
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        method = self._method(scope["path"])
        attributes = {"rpc.system.name": RPC_SYSTEM, "rpc.method": method}
        status = 0

        async def observed_send(message: Message) -> None:
            nonlocal status
            if message["type"] == "http.response.start":
                status = message["status"]
            await send(message)

        started = perf_counter()
        with self._tracer.start_as_current_span(
            method,
            context=self._extract(_carrier(scope)),
            kind=self._trace.SpanKind.SERVER,
            attributes={**attributes, **_request_attributes(scope, method)},
        ) as span:
            try:
                await self._app(scope, receive, observed_send)
            finally:
                result = _result(status)
                self._duration.record(perf_counter() - started, {**attributes, **result})
                span.set_attributes(result)
                if "error.type" in result:
                    span.set_status(self._trace.StatusCode.ERROR)

    def _method(self, path: str) -> str:
        method = path.lstrip("/")
        is_known = self._methods is None or method in self._methods or method in (ACTIVATE, CONFIGURE)
        return method if is_known else OTHER_METHOD


def _carrier(scope: Scope) -> dict[str, str]:
    return {name.decode("latin-1"): value.decode("latin-1") for name, value in scope["headers"]}


def _request_attributes(scope: Scope, method: str) -> dict[str, Any]:
    attributes: dict[str, Any] = {"http.request.method": scope["method"], "url.path": scope["path"]}
    if method == OTHER_METHOD:
        attributes["rpc.method_original"] = scope["path"].lstrip("/")
    address, port = scope.get("server") or (None, None)
    if address:
        attributes["server.address"] = address
    if port:
        attributes["server.port"] = port
    return attributes


def _result(status: int) -> dict[str, Any]:
    if not status:
        return {"error.type": OTHER_METHOD}
    result: dict[str, Any] = {"http.response.status_code": status, "rpc.response.status_code": str(status)}
    return {**result, "error.type": str(status)} if status >= 500 else result
