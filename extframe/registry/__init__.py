"""Service discovery: which plugins exist and where they listen. Opens no connection."""
