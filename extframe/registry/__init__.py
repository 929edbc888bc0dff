"""Sources of plugins: which plugins exist and where they listen. Calls no plugin."""
