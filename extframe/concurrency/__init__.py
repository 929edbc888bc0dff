"""Deadlines, events and threads, none of which Ctrl-C can leave locked. Knows nothing about plugins."""
