"""Virtual environments for Python plugins, one per plugin: resolved, locked, built and replaced. Starts no plugin."""
