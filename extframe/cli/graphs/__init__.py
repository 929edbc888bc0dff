"""Pictures of a running system: its plugins and handlers as a graph, and the formats to write it in."""
