"""Find the Python interpreter for an environment. Installs none."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys

from ...errors import ExtframeError
from ...text import printable

OLDEST = (3, 10)
_VERSION = re.compile(r"(\d+)\.(\d+)")
_PRINT_VERSION = "import sys; print('%d.%d' % sys.version_info[:2])"


def is_running(wanted: str) -> bool:
    """Return whether a version is that of the running interpreter, which is then used."""
    return wanted == f"{sys.version_info[0]}.{sys.version_info[1]}"


def find_python(wanted: str | None) -> str:
    """Return the path of an interpreter.

    Args:
        wanted: a version such as ``3.13``, or a path; None for the running interpreter.

    Raises:
        ExtframeError: there is none, or it does not work.
    """
    if wanted is None or is_running(wanted):
        return sys.executable
    if "/" in wanted:
        python = os.path.abspath(wanted)
        if not os.access(python, os.X_OK):
            raise ExtframeError(f"{wanted} is not a program that this user can run; expected a Python interpreter")
        return python
    if not _VERSION.fullmatch(wanted):
        raise ExtframeError(f"Python version {printable(wanted)!r} is invalid: expected one such as 3.13, or a path")
    found = shutil.which(f"python{wanted}")
    if found is None:
        raise ExtframeError(
            f"no python{wanted} in PATH: install it, or name its path with --python; with uv (pip install "
            "'extframe[environments]'), extframe downloads it"
        )
    return found


def version_of(python: str) -> str:
    """Return the version of an interpreter, such as ``3.13``.

    Raises:
        ExtframeError: it does not run, or is too old.
    """
    try:
        ended = subprocess.run(
            [python, "-I", "-c", _PRINT_VERSION], stdin=subprocess.DEVNULL, capture_output=True, text=True, check=False
        )
    except OSError as error:
        raise ExtframeError(f"cannot run {python}: {error.strerror}") from error
    found = _VERSION.fullmatch(ended.stdout.strip())
    if ended.returncode or found is None:
        said = printable(ended.stderr.strip()[-300:]) or f"exit status {ended.returncode}"
        raise ExtframeError(f"{python} is not a Python interpreter that works: {said}")
    if (int(found[1]), int(found[2])) < OLDEST:
        raise ExtframeError(f"{python} is Python {found[0]}; extframe needs 3.{OLDEST[1]} or later")
    return found[0]
