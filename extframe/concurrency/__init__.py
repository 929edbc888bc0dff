"""Deadlines, an event and threads that survive Ctrl-C. Knows nothing of plugins."""
