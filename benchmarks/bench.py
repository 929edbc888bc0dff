"""Everything that a suite needs: programs to call and to call them with, and a note of what is not there."""

from __future__ import annotations

import json
import sys
from contextlib import ExitStack
from dataclasses import dataclass, field
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

from measure import Contender, Figure, Round
from programs import Child, MissingError, build

HERE = Path(__file__).parent


@dataclass
class Server:
    """A plugin in a process of its own."""

    address: str
    ca: str = ""


@dataclass
class Report:
    """What a suite found: figures, plots, and lines of words."""

    figures: list[Figure] = field(default_factory=list)
    plots: list[dict[str, Any]] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)
    steps: list[dict[str, Any]] = field(default_factory=list)

    def add(self, *figures: Figure | None) -> None:
        """Add figures; None is one of something that is not there."""
        self.figures += [figure for figure in figures if figure is not None]


class Bench:
    """A run. Processes that were started in a ``with`` block of it end with the block.

    Args:
        short: only show that everything runs.
        go: whether Go programs may be built; without them a plugin in Python is called.
    """

    def __init__(self, *, short: bool = False, go: bool = True) -> None:
        self.short = short
        self.skipped: dict[str, str] = {}
        self.directory = Path()
        self._go = go
        self._built: dict[str, Path | MissingError] = {}
        self._stack = ExitStack()

    def __enter__(self) -> Bench:
        self.directory = Path(self._stack.enter_context(TemporaryDirectory(prefix="bench-")))
        return self

    def __exit__(self, *_: object) -> None:
        self._stack.close()

    def several(self, number: int) -> int:
        """Return how many of something to do: ``number``, and in a short run next to none."""
        return min(number, 3) if self.short else number

    def child(self, *command: str | Path) -> Child:
        """Start a process."""
        child = Child([str(word) for word in command])
        self._stack.callback(child.close)
        return child

    def skip(self, what: str, reason: object) -> None:
        """Note that something is not measured, and why."""
        self.skipped[what] = str(reason)

    # Programs to call.

    def place(self, scheme: str = "unix") -> str:
        """Return an address that nobody listens at."""
        if scheme != "unix":
            return f"{scheme}://127.0.0.1:0"
        return f"unix://{self.directory}/{len(list(self.directory.iterdir()))}.sock"

    def server(self, scheme: str = "unix", *, padding: int = 0) -> Server:
        """Start the plugin that is called: in Go, and where there is no Go, in Python (unix sockets only)."""
        place = self.place(scheme)
        try:
            program = self.built("server")
        except MissingError as missing:
            if scheme != "unix" or padding:
                raise
            self.skip("the Go server (a plugin in Python is called in its place)", missing)
            return self.plugin("extframe_async", place)
        ca = str(self.directory / "ca.pem") if scheme == "https" else ""
        child = self.child(program, "-listen", place, "-padding", str(padding), "-ca", ca)
        return Server(child.line(), ca)

    def plugin(self, name: str, place: str = "") -> Server:
        """Start the plugin in ``plugins/NAME.py``."""
        place = place or self.place()
        child = self.child(sys.executable, HERE / "plugins" / f"{name}.py", place.removeprefix("unix://"))
        first = json.loads(child.line())
        if "skip" in first:
            raise MissingError(first["skip"])
        return Server(place)

    def plugin_or_none(self, name: str) -> Server | None:
        """Start the plugin in ``plugins/NAME.py``; None where it cannot run, and why is noted."""
        try:
            return self.plugin(name)
        except MissingError as missing:
            self.skip(name, missing)
            return None

    def many(self, count: int) -> Path:
        """Start ``count`` plugins in one process, and return the directory of their sockets."""
        directory = self.directory / f"many-{count}"
        directory.mkdir()
        self.child(self.built("server"), "-listen", f"unix://{directory}", "-count", str(count)).line()
        return directory

    # Programs that call.

    def contender(self, peer: str, server: Server, calls: int, threads: int = 1) -> Contender | None:
        """Start ``peers/PEER.py``, or moby's client; None where it is not there, and why is noted."""
        try:
            child = self._moby(server) if peer == "moby" else self._peer(peer, server)
        except MissingError as missing:
            self.skip(peer, missing)
            return None
        return self.round_of(child, calls, threads)

    def round_of(self, child: Child, calls: int, threads: int = 1) -> Contender:
        """Return a function that lets a peer make a round of calls."""
        asked = {"calls": 20 * threads if self.short else calls, "threads": threads}
        return lambda: Round(**child.ask(**asked))

    def contenders(self, server: Server, calls: int, *peers: str, threads: int = 1) -> dict[str, Contender]:
        """Start all peers that are there."""
        found = {peer: self.contender(peer, server, calls, threads) for peer in peers}
        return {peer: contender for peer, contender in found.items() if contender is not None}

    def _peer(self, peer: str, server: Server) -> Child:
        child = self.child(sys.executable, HERE / "peer.py", peer, server.address, server.ca)
        return self._ready(child)

    def _moby(self, server: Server) -> Child:
        return self._ready(self.child(self.built("client"), "call", server.address, *filter(None, [server.ca])))

    def _ready(self, child: Child) -> Child:
        first = json.loads(child.line())
        if "skip" in first:
            raise MissingError(first["skip"])
        return child

    # Go.

    def built(self, program: str) -> Path:
        """Return ``go/PROGRAM`` as an executable.

        Raises:
            MissingError: it cannot be built here.
        """
        if program not in self._built:
            try:
                self._built[program] = self._build(program)
            except MissingError as missing:
                self._built[program] = missing
        built = self._built[program]
        if isinstance(built, MissingError):
            raise built
        return built

    def _build(self, program: str) -> Path:
        if not self._go:
            raise MissingError("--no-go was given")
        source = HERE / "go" / program / "main.go"
        return build(source, self.directory / f"go-{program}", moby=program == "client")
