"""The ``extframe`` command: starts it, or says what to install. Imports nothing before that, and knows no command."""

from __future__ import annotations

import sys

_EXTRA = ("click", "rich")  # what the extra `cli` brings


def main() -> None:
    """Run the command line, and leave with its exit code."""
    try:
        from .program import program

        program.main(prog_name="extframe")
    except ModuleNotFoundError as missing:
        package = (missing.name or "").partition(".")[0]
        if package not in _EXTRA:
            raise
        sys.exit(f"extframe: the command needs {package}, which is not installed: pip install 'extframe[cli]'")
    except KeyboardInterrupt:  # before the program could answer it
        sys.exit(130)
