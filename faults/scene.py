"""The scene of a fault: a plugin directory, faulty servers, and the clients under test, extframe's and moby's.

Leaving the scene closes everything that it created.
"""

from __future__ import annotations

import os
import socket
from contextlib import ExitStack
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

from certificates import Authority
from faultserver import Behaviour, FaultServer, Peer
from moby import Moby
from scripted_plugin import ok, scripted

from extframe import Client, LocalRegistry, PluginManager

POINT = "VolumeDriver"
GET, CREATE = "VolumeDriver.Get", "VolumeDriver.Create"
PHOTOS = {"Name": "photos"}
VOLUME = b'{"Volume": {"Name": "photos", "Mountpoint": "/mnt/photos"}}'
GOOD = scripted()


def silent_but_for_handshakes(peer: Peer) -> None:
    """Answer only ``Plugin.Activate``."""
    while request := peer.read_request():
        if request.path != "/Plugin.Activate":
            peer.hang()
        peer.send(ok({"Implements": [POINT]}))


class Scene:
    """The scene of one fault.

    Args:
        short: do less of everything, in a run that only checks that everything works.
        moby: the program with moby's client; None for a scene of extframe.
    """

    def __init__(self, *, short: bool = False, moby: Path | None = None) -> None:
        self.short = short
        self.directory = self.outside = Path()
        self._moby = moby
        self._stack = ExitStack()

    def __enter__(self) -> Scene:
        own = self._stack.enter_context(TemporaryDirectory(prefix="ef-", ignore_cleanup_errors=True))
        self.directory = Path(own, "plugins")
        self.directory.mkdir()
        self.outside = self.directory.parent
        return self

    def __exit__(self, *_: object) -> None:
        self._stack.close()

    def several(self, number: int, short: int) -> int:
        """Return ``number``, or ``short`` in a short run."""
        return short if self.short else number

    def patience(self, seconds: float) -> float:
        """Return a deadline in seconds; a short run, which may share the machine, has 2 s more."""
        return seconds + 2 if self.short else seconds

    # Faulty plugins.

    def server(self, behaviour: Behaviour, **options: Any) -> FaultServer:
        """Start a server: over TCP if ``kind`` is "tcp", else at ``path``, by default outside the plugin directory."""
        if options.get("kind") != "tcp":
            options.setdefault("path", str(self.outside / f"server{len(list(self.outside.iterdir()))}.sock"))
        return self._stack.enter_context(FaultServer(behaviour, **options))

    def plugin(self, name: str = "p", behaviour: Behaviour = GOOD, **options: Any) -> FaultServer:
        """Start a server in the plugin directory. It replaces a plugin of that name atomically."""
        server = self.server(behaviour, path=str(self.outside / f"{name}.new"), **options)
        path = self.directory / f"{name}.sock"
        os.rename(server.path, path)
        server.path = str(path)
        return server

    def dead(self, name: str = "dead") -> None:
        """Create a socket without a listener, as kill -9 leaves it."""
        with socket.socket(socket.AF_UNIX) as sock:
            sock.bind(str(self.directory / f"{name}.sock"))

    def spec(self, name: str, content: str) -> Path:
        """Write a spec file; the name includes the extension."""
        path = self.directory / name
        path.write_text(content)
        return path

    def authority(self, name: str, *hosts: str) -> Authority:
        """Create a certificate authority; it may itself be a server at ``hosts``."""
        return Authority(self.directory, name, *hosts)

    # The clients under test.

    def client(self, address: str, **options: Any) -> Client:
        """Create a client of extframe."""
        return self._stack.enter_context(Client(address, **options))

    def manager(self, **options: Any) -> PluginManager:
        """Create a manager of extframe, with the installed handlers."""
        registry = LocalRegistry(self.directory, [self.directory])
        return self._stack.enter_context(PluginManager(registry, **options))

    def moby(self, **environment: str) -> Moby:
        """Start moby's client."""
        if self._moby is None:
            raise RuntimeError("this scene has no moby")
        moby = Moby(self._moby, self.directory, cap=8.0 if self.short else 20.0, **environment)
        self._stack.callback(moby.close)
        return moby
