"""MetricsCollector: plugins that collect the host's metrics. The two calls; no transport, no metrics."""

from __future__ import annotations

from ..interface.declarations import Interface
from ..interface.methods import rpc


class MetricsCollector(Interface, implements="MetricsCollector", lenient=True):
    """Collectors of the host's metrics: ``GET /metrics`` on a unix socket, in Prometheus' text format.

    Docker mounts its socket at ``/run/docker/metrics.sock`` in a managed plugin. A plugin that Docker discovers
    by its socket must not list this extension point: its activation would never finish. The body of a reply is
    ignored, so errors need a status other than 200.
    """

    __mirror__ = "extframe.subsystems.async_metrics:AsyncMetricsCollector"

    @rpc("StartMetrics", ignore_reply=True)
    def start_metrics(self) -> None:
        """Start collecting; called when the plugin is activated."""
        raise NotImplementedError

    @rpc("StopMetrics", ignore_reply=True)
    def stop_metrics(self) -> None:
        """Stop collecting; called when the host shuts down."""
        raise NotImplementedError
