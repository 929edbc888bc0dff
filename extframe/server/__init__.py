"""The plugin author's half: drivers become an ASGI application that listens where hosts look. Knows no pluggy."""

from .app import PluginApp, asgi_app
from .disconnect import caller_gone
from .listeners import ListenOptions
from .run import Served, ServeOptions, serve, serving
from .tls import ServerTLS

__all__ = [
    "ListenOptions",
    "PluginApp",
    "ServeOptions",
    "Served",
    "ServerTLS",
    "asgi_app",
    "caller_gone",
    "serve",
    "serving",
]
