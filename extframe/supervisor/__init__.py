"""Start plugin processes, keep them running and stop them. Nothing of it is imported by programs that do not use it."""
