"""The public names, each loaded on first use: importing the package is cheap. Knows where they live, no more."""

from importlib import import_module

TYPE_CHECKING = False  # not typing's, which would be imported for it

if TYPE_CHECKING:
    from .breaker import Breaker
    from .client import Client
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
    from .failures import Failure
    from .hooks import hookimpl, hookspec
    from .http1 import Limits
    from .interface import Interface, implements
    from .manager import PluginManager
    from .messages import Message
    from .methods import Key, rpc
    from .plugin import Plugin, State
    from .protocol import Address, Manifest, PluginSpec, TLSConfig
    from .registry import LocalRegistry, Registry
    from .retry import Retry
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
    from .transport import ConnectionPool
    from .watch import Watch

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
    "hookimpl",
    "hookspec",
    "implements",
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
    "Breaker": "breaker",
    "CallTimeout": "errors",
    "Client": "client",
    "ConnectError": "errors",
    "ConnectionLost": "errors",
    "ConnectionPool": "transport",
    "DoesNotImplement": "errors",
    "EndpointInterface": "subsystems.network",
    "EndpointSpec": "subsystems.secret",
    "ExtframeError": "errors",
    "Failure": "failures",
    "GatewayAllocation": "subsystems.network",
    "HandlerError": "errors",
    "IPAMData": "subsystems.network",
    "Interface": "interface",
    "InterfaceName": "subsystems.network",
    "IpamAddress": "subsystems.ipam",
    "IpamCapability": "subsystems.ipam",
    "IpamDriver": "subsystems.ipam",
    "IpamPool": "subsystems.ipam",
    "JoinInfo": "subsystems.network",
    "Key": "methods",
    "Limits": "http1",
    "LocalRegistry": "registry",
    "LogCapability": "subsystems.log",
    "LogDriver": "subsystems.log",
    "LogEntry": "subsystems.log_entries",
    "LogInfo": "subsystems.log",
    "Manifest": "protocol",
    "Message": "messages",
    "MetricsCollector": "subsystems.metrics",
    "NetworkCapability": "subsystems.network",
    "NetworkDriver": "subsystems.network",
    "PartialLogMetadata": "subsystems.log_entries",
    "Plugin": "plugin",
    "PluginManager": "manager",
    "PluginNotFound": "errors",
    "PluginSpec": "protocol",
    "PluginUnavailable": "errors",
    "PortConfig": "subsystems.secret",
    "ProtocolError": "errors",
    "ReadConfig": "subsystems.log",
    "Registry": "registry",
    "RemoteError": "errors",
    "Retry": "retry",
    "Secret": "subsystems.secret",
    "SecretProvider": "subsystems.secret",
    "Served": "server",
    "ServerTLS": "server",
    "SpecError": "errors",
    "State": "plugin",
    "StaticRoute": "subsystems.network",
    "TLSConfig": "protocol",
    "TransportError": "errors",
    "Volume": "subsystems.volume",
    "VolumeCapability": "subsystems.volume",
    "VolumeDriver": "subsystems.volume",
    "Watch": "watch",
    "asgi_app": "server",
    "caller_gone": "server",
    "hookimpl": "hooks",
    "hookspec": "hooks",
    "implements": "interface",
    "rpc": "methods",
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
