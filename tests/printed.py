"""Documents that print files and commands: what they hold, and a shell to run it in. Runs nothing itself."""

from __future__ import annotations

import contextlib
import os
import re
import signal
import subprocess
from pathlib import Path

from environments import Environment

CHECKOUT = Path(__file__).parent.parent
README = CHECKOUT / "README.md"
FILE = re.compile(r"`([\w./-]+\.\w+)`:\n\n```\w+\n(.*?)^```$", re.DOTALL | re.MULTILINE)
CONSOLE = re.compile(r"^```console\n(.*?)^```$", re.DOTALL | re.MULTILINE)

PROGRAMS = {
    # Without network, and with the setuptools that is there.
    "pip": 'command="$1"; shift; set -- -m pip "$command" --no-index --no-build-isolation "$@"',
    "extframe": 'set -- -m extframe.cli "$@"',
}
"""What .venv/bin has beside Python: how each makes Python's arguments of its own, in sh."""


def write_files(directory: Path, text: str) -> None:
    """Write the files that a text names before their contents."""
    for name, contents in FILE.findall(text):
        path = directory / name
        path.parent.mkdir(exist_ok=True)
        path.write_text(contents)


def console(command: str) -> str:
    """Return the console block of README.md that has a line with ``command``."""
    (block,) = [block for block in CONSOLE.findall(README.read_text()) if command in block]
    return str(block)


def commands(block: str) -> list[str]:
    return [line.removeprefix("$ ") for line in block.splitlines() if line.startswith("$ ")]


def output(block: str) -> str:
    """Return what a block shows below its commands."""
    return "".join(line for line in block.splitlines(keepends=True) if not line.startswith("$ "))


def add_environment(directory: Path) -> None:
    """Make ``.venv`` with the packages of the running environment, the extframe that is tested among them."""
    made = Environment(directory / ".venv", fallback="import site; site.addsitedir({!r})")
    for program, arguments in PROGRAMS.items():
        path = made.scripts / program
        path.write_text(f'#!/bin/sh\n{arguments}\nexec "$(dirname "$0")/python" "$@"\n')
        path.chmod(0o755)


def run(directory: Path, lines: list[str], **environment: str) -> str:
    """Run a block's commands in one shell, end what they left in the background, and return what they print."""
    printed = directory / "printed.txt"
    with printed.open("wb") as file:
        shell = subprocess.Popen(
            ["bash", "-euo", "pipefail", "-c", "\n".join(lines)],
            cwd=directory,
            env={**os.environ, **environment},
            stdin=subprocess.DEVNULL,
            stdout=file,
            start_new_session=True,  # a group of its own, to be ended as one
        )
    try:
        assert shell.wait(timeout=120) == 0, printed.read_text()
    finally:
        with contextlib.suppress(ProcessLookupError):  # nothing is left of it
            os.killpg(shell.pid, signal.SIGTERM)
        shell.wait()
    return printed.read_text()
