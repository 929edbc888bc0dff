"""Python programs in processes of their own, to be sent signals and killed. Knows no extframe."""

from __future__ import annotations

import os
import subprocess
import sys
import textwrap
from pathlib import Path
from types import TracebackType


class Program:
    """A Python program that runs ``source``, from the directory of the tests.

    ``measured=False`` keeps coverage out of it: where signals come at any moment, they come inside coverage too.
    """

    def __init__(self, source: str, *arguments: object, measured: bool = True, **options: object) -> None:
        environment = {name: value for name, value in os.environ.items() if measured or "COVERAGE" not in name}
        self.process = subprocess.Popen(
            [sys.executable, "-c", textwrap.dedent(source), *map(str, arguments)],
            cwd=Path(__file__).parent,
            env={**environment, "PYTHONPATH": str(Path(__file__).parent)},
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            **options,  # type: ignore[call-overload]
        )

    def stop(self, number: int, timeout: float = 60.0) -> tuple[int, str]:
        """Send a signal and return with which code the program ended, and what it has said."""
        self.process.send_signal(number)
        said, _ = self.process.communicate(timeout=timeout)
        return self.process.returncode, said

    def end(self, timeout: float = 60.0) -> tuple[int, str]:
        """Wait for its end and return its code, and what it has said."""
        said, _ = self.process.communicate(timeout=timeout)
        return self.process.returncode, said

    def __enter__(self) -> Program:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.process.kill()
        self.process.communicate()
