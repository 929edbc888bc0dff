"""How an extension point is declared, once for both sides of the wire. Opens no connection."""

from .declarations import Declaration, Interface, declaration, declarations
from .drivers import implements, routes

__all__ = ["Declaration", "Interface", "declaration", "declarations", "implements", "routes"]
