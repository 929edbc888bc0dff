"""How an extension point is declared, once for both ends of the wire. Opens no connection."""

from .declarations import Declaration, Interface, declaration, declarations, implements, routes

__all__ = ["Declaration", "Interface", "declaration", "declarations", "implements", "routes"]
