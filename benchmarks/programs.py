"""Child processes, and programs built with Go. Does not know what they do."""

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
    """Something that this machine lacks, and what it is needed for."""


class Child:
    """A process that replies to each line of JSON with one. It exits at the end of its input."""

    def __init__(self, command: list[str], **environment: str) -> None:
        self.process = subprocess.Popen(
            command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, env={**os.environ, **environment}
        )

    def line(self, timeout: float | None = None) -> str:
        """Return the next line of its output.

        Raises:
            TimeoutError: there was no output for ``timeout`` seconds.
        """
        if timeout is not None and not select.select([self.process.stdout], [], [], timeout)[0]:
            raise TimeoutError(f"{self.process.args} wrote nothing for {timeout} s")
        line = self.process.stdout.readline()  # type: ignore[union-attr]
        if not line:
            raise RuntimeError(f"{self.process.args} exited with status {self.process.wait()}")
        return line.strip()

    def ask(self, *, within: float | None = None, **question: Any) -> dict[str, Any]:
        """Send a line and return the reply.

        Raises:
            TimeoutError: there was no reply ``within`` so many seconds.
        """
        self.process.stdin.write(json.dumps(question) + "\n")  # type: ignore[union-attr]
        self.process.stdin.flush()  # type: ignore[union-attr]
        answer: dict[str, Any] = json.loads(self.line(within))
        return answer

    def close(self, patience: float = 10.0) -> None:
        """Close its input, and kill it if it has not exited after ``patience`` seconds."""
        self.process.stdin.close()  # type: ignore[union-attr]
        try:
            self.process.wait(timeout=patience)
        except subprocess.TimeoutExpired:
            self.process.kill()
            self.process.wait()
        self.process.stdout.close()  # type: ignore[union-attr]


def build(source: Path, target: Path, *, moby: bool = False) -> Path:
    """Build a Go program offline and return its path.

    Args:
        source: its only file.
        target: the path of the executable.
        moby: whether it imports moby's packages, which Debian provides.

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
