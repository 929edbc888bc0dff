"""The public names, each imported on first use: importing the package is cheap."""

from importlib import import_module

# The only list of public names: module -> its names. Type checkers read __init__.pyi, which is generated from it: run
# `python tests/make_stub.py` after a change.
_PUBLIC = {
    "client.async_client": "AsyncClient",
    "client.choice": "Choice LeastOutstanding RoundRobin SameZoneFirst",
    "client.circuit_breaker": "Breaker",
    "client.client": "Client",
    "client.http1": "Limits",
    "client.observation": "CallOutcome ObservedCall",
    "client.observers": "Observer",
    "client.opentelemetry": "OpenTelemetryObserver",
    "client.prometheus": "PrometheusObserver",
    "client.retry": "Retry",
    "client.transport": "ConnectionPool",
    "errors": (
        "ActivationError ActivationVetoed CallTimeout ConnectError ConnectionLost DoesNotImplement ExtframeError "
        "HandlerError PluginBlocked PluginLoadWarning PluginNotFound PluginsMissing PluginUnavailable ProtocolError "
        "RemoteError SpecError TransportError"
    ),
    "handlers.failures": "Failure",
    "handlers.hooks": "ExtensionPoints LifecycleHooks hookimpl hookspec",
    "handlers.plugin_events": "PluginEvent",
    "host.async_manager": "AsyncPluginManager",
    "host.async_plugin": "AsyncPlugin",
    "handlers.handler_rows": "Description",
    "host.outcomes": "Outcomes",
    "host.async_watch": "AsyncWatch",
    "host.lifecycle": "State",
    "host.manager": "PluginManager",
    "host.plugin": "Plugin",
    "host.watch": "Watch",
    "interface.async_interface": "AsyncInterface",
    "interface.declarations": "Interface",
    "interface.drivers": "implements",
    "interface.markers": "Key StreamCodec rpc",
    "interface.driver_version": "version_of",
    "interface.openapi": "openapi",
    "interface.messages": "Message format_time parse_time",
    "interface.remote": "remote",
    "interface.records": "closing",
    "protocol": "Address Endpoint Manifest PluginSpec TLSConfig",
    "registry.base": "Registry",
    "registry.chain": "RegistryChain",
    "registry.dns_registry": "DNSRegistry",
    "registry.docker_plugins": "DockerPlugins",
    "registry.etcd_registrar": "EtcdRegistrar",
    "registry.etcd_registry": "EtcdRegistry",
    "registry.registrar": "Registrar",
    "registry.local": "LocalRegistry",
    "server": "Served ServerTLS asgi_app caller_gone serve serving",
    "server.opentelemetry": "OpenTelemetryMiddleware",
    "supervisor.status": "PluginStatus ProcessExit ProcessState",
    "supervisor.supervisor": "Supervisor",
    "subsystems.async_authz": "AsyncAuthz",
    "subsystems.authz": "Authz AuthzChain AuthzRequest AuthzResponse",
    "subsystems.async_ipam": "AsyncIpamDriver",
    "subsystems.ipam": "AddressSpaces IpamAddress IpamCapability IpamDriver IpamPool",
    "subsystems.async_log": "AsyncLogDriver",
    "subsystems.log": "LogCapability LogDriver LogInfo ReadConfig",
    "subsystems.log_entries": "LogEntry PartialLogMetadata",
    "subsystems.async_metrics": "AsyncMetricsCollector",
    "subsystems.metrics": "MetricsCollector",
    "subsystems.async_network": "AsyncNetworkDriver",
    "subsystems.network": (
        "EndpointInterface GatewayAllocation IPAMData InterfaceName JoinInfo NetworkCapability NetworkDriver "
        "StaticRoute"
    ),
    "subsystems.async_secret": "AsyncSecretProvider",
    "subsystems.secret": "EndpointSpec PortConfig Secret SecretProvider",
    "subsystems.async_volume": "AsyncVolumeDriver",
    "subsystems.volume": "Volume VolumeCapability VolumeDriver",
}
_HOMES = {name: module for module, names in _PUBLIC.items() for name in names.split()}

__all__ = sorted(_HOMES)


def __getattr__(name: str) -> object:
    home = _HOMES.get(name)
    if home is None:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    try:
        value = getattr(import_module(f"{__name__}.{home}"), name)
    except OSError as error:  # such as "too many open files"
        from .errors import ExtframeError

        raise ExtframeError(f"cannot import extframe.{name}: {error}; free file descriptors or memory") from error
    globals()[name] = value  # the next use finds it without this function
    return value


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
