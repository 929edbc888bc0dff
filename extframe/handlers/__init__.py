"""Hooks and handlers: pluggy, entry points, and the call of each handler exactly once."""
