"""MetricsCollector: plugins that read the host's metrics. Knows the two calls; no transport and no metrics."""

from __future__ import annotations

from ..interface.declarations import Interface
from ..interface.methods import rpc


class MetricsCollector(Interface, implements="MetricsCollector"):
    """Readers of the host's metrics: ``GET /metrics`` on a unix socket, in the text form of Prometheus.

    Docker binds its socket to ``/run/docker/metrics.sock`` in a managed plugin. A plugin that Docker finds by
    its socket must not list this extension point: its activation would never end. The body of a reply is not
    read, so an error has a status other than 200.
    """

    @rpc("StartMetrics", ignore_reply=True)
    def start_metrics(self) -> None:
        """Begin to read; called when the plugin is activated."""
        raise NotImplementedError

    @rpc("StopMetrics", ignore_reply=True)
    def stop_metrics(self) -> None:
        """Cease to read; called when the host ends."""
        raise NotImplementedError
