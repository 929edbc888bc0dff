"""The environment of a suite: the servers, the clients, and a list of what is not available."""

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
    """A plugin in a separate process."""

    address: str
    ca: str = ""


@dataclass
class Report:
    """The results of a suite: figures, plots and notes."""

    figures: list[Figure] = field(default_factory=list)
    plots: list[dict[str, Any]] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)
    steps: list[dict[str, Any]] = field(default_factory=list)

    def add(self, *figures: Figure | None) -> None:
        """Add figures; None is the figure of a peer that is not available."""
        self.figures += [figure for figure in figures if figure is not None]


class Bench:
    """A run, as a context manager that ends the processes it started.

    Args:
        short: only check that everything runs.
        go: whether to build Go programs; without them a plugin in Python is called.
        long: repeat as often as the targets say, for minutes.
    """

    def __init__(self, *, short: bool = False, go: bool = True, long: bool = False) -> None:
        self.short = short
        self.long = long and not short
        self.patience = (
            0.0 if short else 20.0
        )  # seconds per comparison, to wait for moments in which the machine is quiet
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
        """Return ``number``, at most 3 in a short run."""
        return min(number, 3) if self.short else number

    def child(self, *command: str | Path) -> Child:
        """Start a process."""
        child = Child([str(word) for word in command])
        self._stack.callback(child.close)
        return child

    def skip(self, what: str, reason: object) -> None:
        """Record that something is not measured, and why."""
        self.skipped[what] = str(reason)

    # Servers.

    def place(self, scheme: str = "unix") -> str:
        """Return an unused address."""
        if scheme != "unix":
            return f"{scheme}://127.0.0.1:0"
        return f"unix://{self.directory}/{len(list(self.directory.iterdir()))}.sock"

    def server(self, scheme: str = "unix", *, padding: int = 0) -> Server:
        """Start the plugin to call: in Go or, without Go, in Python (unix sockets only)."""
        place = self.place(scheme)
        try:
            program = self.built("server")
        except MissingError as missing:
            if scheme != "unix" or padding:
                raise
            self.skip("the Go server (a plugin in Python replaces it)", missing)
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
        """Start the plugin in ``plugins/NAME.py``; if it cannot run, record why and return None."""
        try:
            return self.plugin(name)
        except MissingError as missing:
            self.skip(name, missing)
            return None

    def many(self, count: int) -> Path:
        """Start ``count`` plugins in one process and return the directory of their sockets."""
        directory = self.directory / f"many-{count}"
        directory.mkdir()
        self.child(self.built("server"), "-listen", f"unix://{directory}", "-count", str(count)).line()
        return directory

    # Clients.

    def contender(self, peer: str, server: Server, calls: int, threads: int = 1) -> Contender | None:
        """Start ``peers/PEER.py`` or moby's client; if it is not available, record why and return None."""
        try:
            child = self._moby(server) if peer == "moby" else self._peer(peer, server)
        except MissingError as missing:
            self.skip(peer, missing)
            return None
        return self.round_of(child, calls, threads)

    def round_of(self, child: Child, calls: int, threads: int = 1) -> Contender:
        """Return a function that runs one round of calls in a peer."""
        request = {"calls": 20 * threads if self.short else calls, "threads": threads}
        return lambda: Round(**child.ask(**request))

    def contenders(self, server: Server, calls: int, *peers: str, threads: int = 1) -> dict[str, Contender]:
        """Start all available peers."""
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
