"""Docker's engine with directories of its own, and plugins for it in processes of their own."""

from __future__ import annotations

import contextlib
import json
import os
import shutil
import signal
import subprocess
import sys
import tempfile
import uuid
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from faultserver import eventually
from wire import post

HERE = Path(__file__).parent
EXAMPLES = HERE.parent / "examples" / "plugins"
SOCKETS = Path("/run/docker/plugins")  # no option of the engine changes it


# The engine's own mounts, those of its plugins included, and its own /run/docker.
_PRIVATELY = """
mount --make-rprivate / && mkdir -p /run/docker && mount -t tmpfs -o mode=0711 tmpfs /run/docker && exec "$@"
"""


class Engine:
    """A dockerd that nobody else uses. What it keeps is below one directory and goes away at the end.

    Args:
        options: of dockerd.
        private: whether it has a mount namespace of its own, with a /run/docker of its own: see `inside`.
    """

    def __init__(self, *options: str, private: bool = False) -> None:
        self._options = options
        self._namespace = ["unshare", "--mount", "sh", "-c", _PRIVATELY, "sh"] if private else []
        self.directory = Path(tempfile.mkdtemp(prefix="dockerd-"))
        self.address = f"unix://{self.directory}/api.sock"

    def start(self, *options: str) -> None:
        """Start it, and wait until it answers."""
        keeps = {"data-root": "data", "exec-root": "exec", "pidfile": "pid"}
        self._log = (self.directory / "log").open("ab")
        self._process = subprocess.Popen(
            [
                *self._namespace,
                "dockerd",
                *(f"--{option}={self.directory / name}" for option, name in keeps.items()),
                f"--host={self.address}",
                "--iptables=false",
                "--ip-forward=false",
                "--bridge=none",
                "--storage-driver=vfs",
                *self._options,
                *options,
            ],
            stdin=subprocess.DEVNULL,
            stdout=self._log,
            stderr=subprocess.STDOUT,
        )
        started = eventually(lambda: self._process.poll() is not None or self._answers(), timeout=120)
        assert started, self.log
        assert self._process.poll() is None, self.log

    def _answers(self) -> bool:
        ask = ["docker", "--host", self.address, "version", "--format", "{{.Server.Version}}"]
        answer = subprocess.run(ask, capture_output=True, text=True)
        # One that is up and asks an authorization plugin may say no; that is an answer too.
        return answer.returncode == 0 or "authorization denied" in answer.stderr

    def inside(self, *command: str | Path) -> list[str]:
        """Return a command that runs ``command`` in the engine's mount namespace."""
        return ["nsenter", f"--target={self._process.pid}", "--mount", "--", *map(str, command)]

    @property
    def log(self) -> str:
        return (self.directory / "log").read_text()

    def docker(self, *arguments: str, timeout: float = 180.0) -> subprocess.CompletedProcess[str]:
        """Run the command line."""
        command = ["docker", "--host", self.address, *arguments]
        return subprocess.run(command, capture_output=True, text=True, timeout=timeout, stdin=subprocess.DEVNULL)

    def __call__(self, *arguments: str, timeout: float = 180.0) -> str:
        """Run the command line, which must succeed, and return what it said."""
        done = self.docker(*arguments, timeout=timeout)
        assert done.returncode == 0, f"docker {' '.join(arguments)}: {done.stderr}\n{self.log[-3000:]}"
        return done.stdout.strip()

    def json(self, *arguments: str) -> Any:
        return json.loads(self(*arguments))

    def run(self, *arguments: str, **options: Any) -> str:
        """Run a container of the image ``box``, without network."""
        return self("run", "--network=none", *arguments, **options)

    def load(self, box: Path) -> None:
        """Make the image ``box``."""
        self("import", str(box), "box:latest")

    def stop(self) -> None:
        """End it and its containers, as a shutdown of the machine does."""
        self._process.terminate()
        try:
            self._process.wait(timeout=30)
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.wait()
        self._log.close()

    def restart(self, *options: str) -> None:
        self.stop()
        self.start(*options)

    def remove(self) -> None:
        """End it and remove all that it kept."""
        self.stop()
        for line in Path("/proc/self/mounts").read_text().splitlines():
            if line.split()[1].startswith(str(self.directory)):
                subprocess.run(["umount", "--lazy", line.split()[1]], check=False, capture_output=True)
        shutil.rmtree(self.directory, ignore_errors=True)


class PluginProcess:
    """A plugin in a process of its own, under a name that nobody else uses."""

    def __init__(self, *command: str | Path, sockets: Path = SOCKETS, name: str | None = None) -> None:
        self.name = name or f"ef-{uuid.uuid4().hex[:10]}"
        self.socket = sockets / f"{self.name}.sock"
        self._command = [sys.executable, *map(str, command), "--name", self.name, "--directory", str(sockets)]
        self._said = tempfile.TemporaryFile("w+")  # noqa: SIM115 - closed at the end

    def start(self) -> PluginProcess:
        """Start it, and wait until it answers."""
        self._process = subprocess.Popen(
            self._command, env={**os.environ, "PYTHONPATH": str(HERE)}, stdout=self._said, stderr=self._said
        )
        assert eventually(self._answers, timeout=60), self.said
        return self

    def _answers(self) -> bool:
        with contextlib.suppress(OSError):
            return post(f"unix://{self.socket}", "Plugin.Activate").status == 200
        return False

    @property
    def said(self) -> str:
        """What it has said: its log."""
        self._said.seek(0)
        return self._said.read()

    def stop(self, number: int = signal.SIGTERM) -> int:
        """End it by a signal and return how it ended."""
        self._process.send_signal(number)
        return self._process.wait(timeout=60)

    def __enter__(self) -> PluginProcess:
        return self.start()

    def __exit__(self, *error: object) -> None:
        if self._process.poll() is None:
            self._process.kill()
            self._process.wait()
        with contextlib.suppress(FileNotFoundError):
            self.socket.unlink()
        self._said.close()


@contextlib.contextmanager
def running(engine: Engine, *options: str) -> Iterator[Engine]:
    """An engine while the block runs."""
    try:
        engine.start(*options)
        yield engine
    finally:
        engine.remove()


def build_static(go: str, name: str, directory: Path) -> Path:
    """Build ``peers/go/NAME`` without network, as ``DIRECTORY/NAME``, which needs no other file, and return it."""
    settings = {"GO111MODULE": "off", "GOFLAGS": "", "CGO_ENABLED": "0"}
    settings |= {each: str(directory / each) for each in ("GOPATH", "HOME")}
    command = [go, "build", "-o", directory / name, HERE / "peers" / "go" / name / "main.go"]
    subprocess.run(command, env={**os.environ, **settings}, check=True, timeout=300)
    return directory / name


def build_box(go: str, directory: Path) -> Path:
    """Build ``peers/go/box`` and return an archive that holds it and nothing else: an image."""
    build_static(go, "box", directory)
    subprocess.run(["tar", "-cf", directory / "box.tar", "-C", directory, "box"], check=True)
    return directory / "box.tar"
