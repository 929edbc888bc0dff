"""The public names, each loaded on first use: importing the package is cheap. Knows where they live, no more."""

from importlib import import_module

TYPE_CHECKING = False  # not typing's, which would be imported for it

if TYPE_CHECKING:
    from .client.circuit_breaker import Breaker
    from .client.client import Client
    from .client.http1 import Limits
    from .client.retry import Retry
    from .client.transport import ConnectionPool
    from .errors import (
        ActivationError,
        CallTimeout,
        ConnectError,
        ConnectionLost,
        DoesNotImplement,
        ExtframeError,
        HandlerError,
        PluginNotFound,
        PluginUnavailable,
        ProtocolError,
        RemoteError,
        SpecError,
        TransportError,
    )
    from .handlers.failures import Failure
    from .handlers.hooks import hookimpl, hookspec
    from .host.lifecycle import State
    from .host.manager import PluginManager
    from .host.plugin import Plugin
    from .host.watch import Watch
    from .interface.declarations import Interface
    from .interface.drivers import implements
    from .interface.markers import Key, rpc
    from .interface.messages import Message, format_time, parse_time
    from .protocol import Address, Manifest, PluginSpec, TLSConfig
    from .registry.local import LocalRegistry, Registry
    from .server import Served, ServerTLS, asgi_app, caller_gone, serve, serving
    from .subsystems.authz import Authz, AuthzChain, AuthzRequest, AuthzResponse
    from .subsystems.ipam import AddressSpaces, IpamAddress, IpamCapability, IpamDriver, IpamPool
    from .subsystems.log import LogCapability, LogDriver, LogInfo, ReadConfig
    from .subsystems.log_entries import LogEntry, PartialLogMetadata
    from .subsystems.metrics import MetricsCollector
    from .subsystems.network import (
        EndpointInterface,
        GatewayAllocation,
        InterfaceName,
        IPAMData,
        JoinInfo,
        NetworkCapability,
        NetworkDriver,
        StaticRoute,
    )
    from .subsystems.secret import EndpointSpec, PortConfig, Secret, SecretProvider
    from .subsystems.volume import Volume, VolumeCapability, VolumeDriver

# tests/test_public_names.py holds these three lists together: the imports above, __all__ and _HOMES.
__all__ = [
    "ActivationError",
    "Address",
    "AddressSpaces",
    "Authz",
    "AuthzChain",
    "AuthzRequest",
    "AuthzResponse",
    "Breaker",
    "CallTimeout",
    "Client",
    "ConnectError",
    "ConnectionLost",
    "ConnectionPool",
    "DoesNotImplement",
    "EndpointInterface",
    "EndpointSpec",
    "ExtframeError",
    "Failure",
    "GatewayAllocation",
    "HandlerError",
    "IPAMData",
    "Interface",
    "InterfaceName",
    "IpamAddress",
    "IpamCapability",
    "IpamDriver",
    "IpamPool",
    "JoinInfo",
    "Key",
    "Limits",
    "LocalRegistry",
    "LogCapability",
    "LogDriver",
    "LogEntry",
    "LogInfo",
    "Manifest",
    "Message",
    "MetricsCollector",
    "NetworkCapability",
    "NetworkDriver",
    "PartialLogMetadata",
    "Plugin",
    "PluginManager",
    "PluginNotFound",
    "PluginSpec",
    "PluginUnavailable",
    "PortConfig",
    "ProtocolError",
    "ReadConfig",
    "Registry",
    "RemoteError",
    "Retry",
    "Secret",
    "SecretProvider",
    "Served",
    "ServerTLS",
    "SpecError",
    "State",
    "StaticRoute",
    "TLSConfig",
    "TransportError",
    "Volume",
    "VolumeCapability",
    "VolumeDriver",
    "Watch",
    "asgi_app",
    "caller_gone",
    "format_time",
    "hookimpl",
    "hookspec",
    "implements",
    "parse_time",
    "rpc",
    "serve",
    "serving",
]

_HOMES = {
    "ActivationError": "errors",
    "Address": "protocol",
    "AddressSpaces": "subsystems.ipam",
    "Authz": "subsystems.authz",
    "AuthzChain": "subsystems.authz",
    "AuthzRequest": "subsystems.authz",
    "AuthzResponse": "subsystems.authz",
    "Breaker": "client.circuit_breaker",
    "CallTimeout": "errors",
    "Client": "client.client",
    "ConnectError": "errors",
    "ConnectionLost": "errors",
    "ConnectionPool": "client.transport",
    "DoesNotImplement": "errors",
    "EndpointInterface": "subsystems.network",
    "EndpointSpec": "subsystems.secret",
    "ExtframeError": "errors",
    "Failure": "handlers.failures",
    "GatewayAllocation": "subsystems.network",
    "HandlerError": "errors",
    "IPAMData": "subsystems.network",
    "Interface": "interface.declarations",
    "InterfaceName": "subsystems.network",
    "IpamAddress": "subsystems.ipam",
    "IpamCapability": "subsystems.ipam",
    "IpamDriver": "subsystems.ipam",
    "IpamPool": "subsystems.ipam",
    "JoinInfo": "subsystems.network",
    "Key": "interface.markers",
    "Limits": "client.http1",
    "LocalRegistry": "registry.local",
    "LogCapability": "subsystems.log",
    "LogDriver": "subsystems.log",
    "LogEntry": "subsystems.log_entries",
    "LogInfo": "subsystems.log",
    "Manifest": "protocol",
    "Message": "interface.messages",
    "MetricsCollector": "subsystems.metrics",
    "NetworkCapability": "subsystems.network",
    "NetworkDriver": "subsystems.network",
    "PartialLogMetadata": "subsystems.log_entries",
    "Plugin": "host.plugin",
    "PluginManager": "host.manager",
    "PluginNotFound": "errors",
    "PluginSpec": "protocol",
    "PluginUnavailable": "errors",
    "PortConfig": "subsystems.secret",
    "ProtocolError": "errors",
    "ReadConfig": "subsystems.log",
    "Registry": "registry.local",
    "RemoteError": "errors",
    "Retry": "client.retry",
    "Secret": "subsystems.secret",
    "SecretProvider": "subsystems.secret",
    "Served": "server",
    "ServerTLS": "server",
    "SpecError": "errors",
    "State": "host.lifecycle",
    "StaticRoute": "subsystems.network",
    "TLSConfig": "protocol",
    "TransportError": "errors",
    "Volume": "subsystems.volume",
    "VolumeCapability": "subsystems.volume",
    "VolumeDriver": "subsystems.volume",
    "Watch": "host.watch",
    "asgi_app": "server",
    "caller_gone": "server",
    "format_time": "interface.messages",
    "hookimpl": "handlers.hooks",
    "hookspec": "handlers.hooks",
    "implements": "interface.drivers",
    "parse_time": "interface.messages",
    "rpc": "interface.markers",
    "serve": "server",
    "serving": "server",
}

# Hidden from type checkers: to them a module with __getattr__ has every name.
if not TYPE_CHECKING:

    def __getattr__(name):
        home = _HOMES.get(name)
        if home is None:
            raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
        value = getattr(import_module(f"{__name__}.{home}"), name)
        globals()[name] = value  # the next use finds it without this function
        return value

    def __dir__():
        return sorted({*globals(), *__all__})
