"""Programs in processes of their own, and those of them that are built with Go. Knows nothing of what they do."""

from __future__ import annotations

import json
import os
import select
import shutil
import subprocess
from pathlib import Path
from typing import Any

DEBIAN_SOURCES = Path("/usr/share/gocode")  # of golang-github-docker-docker-dev


class MissingError(Exception):
    """Something that is not on this machine, and why it is wanted."""


class Child:
    """A process that says JSON, a line for each line that it is sent. It ends when its input does."""

    def __init__(self, command: list[str], **environment: str) -> None:
        self.process = subprocess.Popen(
            command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, env={**os.environ, **environment}
        )

    def line(self, timeout: float | None = None) -> str:
        """Return the next line that it says.

        Raises:
            TimeoutError: it has said nothing for ``timeout`` seconds.
        """
        if timeout is not None and not select.select([self.process.stdout], [], [], timeout)[0]:
            raise TimeoutError(f"{self.process.args} has said nothing for {timeout} s")
        line = self.process.stdout.readline()  # type: ignore[union-attr]
        if not line:
            raise RuntimeError(f"{self.process.args} ended with {self.process.wait()}")
        return line.strip()

    def ask(self, *, within: float | None = None, **question: Any) -> dict[str, Any]:
        """Send a line and return the answer.

        Raises:
            TimeoutError: there is none ``within`` so many seconds.
        """
        self.process.stdin.write(json.dumps(question) + "\n")  # type: ignore[union-attr]
        self.process.stdin.flush()  # type: ignore[union-attr]
        answer: dict[str, Any] = json.loads(self.line(within))
        return answer

    def close(self, patience: float = 10.0) -> None:
        """End it."""
        self.process.stdin.close()  # type: ignore[union-attr]
        try:
            self.process.wait(timeout=patience)
        except subprocess.TimeoutExpired:
            self.process.kill()
            self.process.wait()
        self.process.stdout.close()  # type: ignore[union-attr]


def build(source: Path, target: Path, *, moby: bool = False) -> Path:
    """Build a Go program, offline, and return it.

    Args:
        source: its one file.
        target: where the executable is made.
        moby: whether it is made with moby's sources, which Debian packages.

    Raises:
        MissingError: it cannot be built here.
    """
    go = shutil.which("go")
    if go is None:
        raise MissingError("needs Go (Debian: golang-go)")
    if moby and not (DEBIAN_SOURCES / "src/github.com/docker/docker/pkg/plugins").is_dir():
        raise MissingError("needs moby's sources (Debian: golang-github-docker-docker-dev)")
    cache = os.environ.get("GOCACHE") or str(Path.home() / ".cache/go-build")
    settings = {"GOPATH": str(DEBIAN_SOURCES), "GO111MODULE": "off", "GOFLAGS": "", "GOCACHE": cache}
    subprocess.run([go, "build", "-o", target, source], env={**os.environ, **settings}, check=True, timeout=300)
    return target
