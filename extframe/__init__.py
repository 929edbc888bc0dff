"""The public names, each loaded on first use: importing the package is cheap. Knows where they live, no more."""

from importlib import import_module

TYPE_CHECKING = False  # not typing's, which would be imported for it

if TYPE_CHECKING:
    from .errors import (
        ActivationError,
        CallTimeout,
        ConnectError,
        ConnectionLost,
        DoesNotImplement,
        ExtframeError,
        HandlerError,
        PluginNotFound,
        ProtocolError,
        RemoteError,
        SpecError,
        TransportError,
    )
    from .protocol import Manifest, PluginSpec, TLSConfig

# tests/test_public_names.py holds these three lists together: the imports above, __all__ and _HOMES.
__all__ = [
    "ActivationError",
    "CallTimeout",
    "ConnectError",
    "ConnectionLost",
    "DoesNotImplement",
    "ExtframeError",
    "HandlerError",
    "Manifest",
    "PluginNotFound",
    "PluginSpec",
    "ProtocolError",
    "RemoteError",
    "SpecError",
    "TLSConfig",
    "TransportError",
]

_HOMES = {
    "ActivationError": "errors",
    "CallTimeout": "errors",
    "ConnectError": "errors",
    "ConnectionLost": "errors",
    "DoesNotImplement": "errors",
    "ExtframeError": "errors",
    "HandlerError": "errors",
    "Manifest": "protocol",
    "PluginNotFound": "errors",
    "PluginSpec": "protocol",
    "ProtocolError": "errors",
    "RemoteError": "errors",
    "SpecError": "errors",
    "TLSConfig": "protocol",
    "TransportError": "errors",
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
