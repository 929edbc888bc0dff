"""Run the programs that build environments, and report their errors in one line. Knows none of them."""

from __future__ import annotations

import os
import re
import subprocess
import tempfile
from collections.abc import Callable, Sequence

from ...errors import ExtframeError
from ...text import cut, printable

_LIMIT = 800  # characters of an error message of pip or uv
_INTERRUPT_TIMEOUT = 5.0  # seconds
# They change where and what pip installs, or which modules the interpreters find.
_DROPPED = ("PYTHONPATH", "PYTHONHOME", "PIP_TARGET", "PIP_PREFIX", "PIP_ROOT", "PIP_REQUIREMENT", "PIP_CONSTRAINT")


class Commands:
    """Runs programs one after the other.

    Args:
        inherited: a descriptor that they inherit: a lock that is held until they have ended.
    """

    def __init__(self, inherited: int) -> None:
        self._inherited = inherited

    def run(
        self, command: Sequence[str], act: str, *, text: str = "", line: Callable[[str], None] = lambda line: None
    ) -> str:
        """Run a program and return what it writes to stdout.

        Args:
            command: the program and its arguments.
            act: what it does, for the error message: ``resolve acme-photos``.
            text: its standard input.
            line: is called with each line that it writes, while it runs.

        Raises:
            ExtframeError: it cannot be started, or failed; the message has its own last words.
        """
        with tempfile.TemporaryFile("w+") as given, tempfile.TemporaryFile("w+", errors="replace") as errors:
            given.write(text)
            given.seek(0)
            try:
                process = subprocess.Popen(
                    command,
                    stdin=given,
                    stdout=subprocess.PIPE,
                    stderr=errors,
                    text=True,
                    errors="replace",
                    env=_environment(),
                    pass_fds=(self._inherited,),
                    umask=0o022,  # the plugin may run as another user
                )
            except OSError as error:
                raise ExtframeError(f"cannot {act}: cannot run {command[0]}: {error.strerror}") from error
            with process:
                try:
                    written = "".join(_each(process, line))
                except BaseException:
                    _wait_for_end(process)
                    raise
            if process.returncode:
                errors.seek(0)
                raise ExtframeError(f"cannot {act}: {_last_words(errors.read(), process.returncode)}")
        return written


def _environment() -> dict[str, str]:
    kept = {key: each for key, each in os.environ.items() if key not in _DROPPED}
    return {"PIP_RETRIES": "2", **kept, "PIP_USER": "0"}


def _each(process: subprocess.Popen[str], line: Callable[[str], None]) -> Sequence[str]:
    lines = []
    assert process.stdout is not None
    for each in process.stdout:
        line(each)
        lines.append(each)
    return lines


def _wait_for_end(process: subprocess.Popen[str]) -> None:
    """Wait for the end of a program that Ctrl-C interrupts, too: the caller removes the directory that it writes to."""
    try:
        process.wait(_INTERRUPT_TIMEOUT)
    except subprocess.TimeoutExpired:
        process.kill()
        process.wait()


def _last_words(said: str, status: int) -> str:
    """Return the error messages among what pip or uv wrote to stderr."""
    lines = [re.sub(r"^\W+", "", each).strip() for each in said.splitlines()]  # uv draws trees
    errors = [each.removeprefix("ERROR:").strip() for each in lines if each.startswith("ERROR:")]
    words = " ".join(errors or [each for each in lines if each and not each.startswith(("WARNING:", "warning:"))])
    if unreachable := [each for each in lines if "connection broken by" in each]:
        words += f" (the package index could not be reached: {unreachable[-1].partition('connection broken by ')[2]})"
    return cut(printable(words), _LIMIT) if words else f"exit status {status}"
