"""The public names, each imported on first use: importing the package is cheap."""

from importlib import import_module

# The only list of public names: module -> its names. Type checkers read __init__.pyi, which is generated from it: run
# `python tests/make_stub.py` after a change.
_PUBLIC = {
    "client.circuit_breaker": "Breaker",
    "client.client": "Client",
    "client.http1": "Limits",
    "client.retry": "Retry",
    "client.transport": "ConnectionPool",
    "errors": (
        "ActivationError CallTimeout ConnectError ConnectionLost DoesNotImplement ExtframeError HandlerError "
        "PluginNotFound PluginUnavailable ProtocolError RemoteError SpecError TransportError"
    ),
    "handlers.failures": "Failure",
    "handlers.hooks": "hookimpl hookspec",
    "host.lifecycle": "State",
    "host.manager": "PluginManager",
    "host.plugin": "Plugin",
    "host.watch": "Watch",
    "interface.declarations": "Interface",
    "interface.drivers": "implements",
    "interface.markers": "Key StreamCodec rpc",
    "interface.messages": "Message format_time parse_time",
    "protocol": "Address Manifest PluginSpec TLSConfig",
    "registry.local": "LocalRegistry Registry",
    "server": "Served ServerTLS asgi_app caller_gone serve serving",
    "subsystems.authz": "Authz AuthzChain AuthzRequest AuthzResponse",
    "subsystems.ipam": "AddressSpaces IpamAddress IpamCapability IpamDriver IpamPool",
    "subsystems.log": "LogCapability LogDriver LogInfo ReadConfig",
    "subsystems.log_entries": "LogEntry PartialLogMetadata",
    "subsystems.metrics": "MetricsCollector",
    "subsystems.network": (
        "EndpointInterface GatewayAllocation IPAMData InterfaceName JoinInfo NetworkCapability NetworkDriver "
        "StaticRoute"
    ),
    "subsystems.secret": "EndpointSpec PortConfig Secret SecretProvider",
    "subsystems.volume": "Volume VolumeCapability VolumeDriver",
}
_HOMES = {name: module for module, names in _PUBLIC.items() for name in names.split()}

__all__ = sorted(_HOMES)


def __getattr__(name: str) -> object:
    home = _HOMES.get(name)
    if home is None:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    value = getattr(import_module(f"{__name__}.{home}"), name)
    globals()[name] = value  # the next use finds it without this function
    return value


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
