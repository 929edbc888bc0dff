"""The plugin author's half: drivers become an ASGI application, and listen where hosts look. Knows no pluggy."""

from .app import PluginApp, asgi_app
from .caller import caller_gone
from .places import Place, ServerTLS
from .run import Served, serve, serving

__all__ = ["Place", "PluginApp", "Served", "ServerTLS", "asgi_app", "caller_gone", "serve", "serving"]
