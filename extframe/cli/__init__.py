"""The ``extframe`` command. Imports the command line on use, and says what to install where that is missing."""

from __future__ import annotations

import sys

_EXTRA = ("click", "rich")  # the packages of the extra `cli`


def main() -> None:
    """Run the command line and exit with its exit code."""
    try:
        from .program import program

        program.main(prog_name="extframe")
    except ModuleNotFoundError as missing:
        package = (missing.name or "").partition(".")[0]
        if package not in _EXTRA:
            raise
        sys.exit(f"extframe: the command needs {package}, which is not installed: pip install 'extframe[cli]'")
    except KeyboardInterrupt:  # Ctrl-C during the imports
        sys.exit(130)
