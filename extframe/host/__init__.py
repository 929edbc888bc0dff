"""The host's half: plugins, their activation and dispatch, live discovery and the plugin manager."""
