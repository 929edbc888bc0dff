"""A volume plugin, for the tour: each volume is a directory below one root. Knows no extframe, as few plugins do.

Run it as ``python directory_volumes.py /run/docker/plugins/directories.sock /srv/volumes``.
"""

from __future__ import annotations

import json
import os
import sys
from collections.abc import Callable
from http.server import BaseHTTPRequestHandler
from pathlib import Path
from socketserver import ThreadingUnixStreamServer
from typing import Any

Message = dict[str, Any]


class Volumes:
    """What the plugin does. ``methods`` says which function takes the JSON object of which request."""

    def __init__(self, root: Path) -> None:
        self.root = root
        self.users: dict[str, set[str]] = {}  # by volume
        self.methods: dict[str, Callable[[Message], Message]] = {
            "/Plugin.Activate": lambda asked: {"Implements": ["VolumeDriver"]},
            "/VolumeDriver.Capabilities": lambda asked: {"Capabilities": {"Scope": "local"}},
            "/VolumeDriver.Create": self._create,
            "/VolumeDriver.Remove": self._remove,
            "/VolumeDriver.Mount": self._mount,
            "/VolumeDriver.Unmount": self._unmount,
            "/VolumeDriver.Path": lambda asked: {"Mountpoint": str(self._directory(asked))},
            "/VolumeDriver.Get": lambda asked: {"Volume": _described(self._directory(asked))},
            "/VolumeDriver.List": lambda asked: {"Volumes": [_described(each) for each in self.root.iterdir()]},
        }

    def _create(self, asked: Message) -> Message:
        name = asked["Name"]
        if Path(name).name != name:
            raise ValueError(f"{name!r} is no name for a directory")
        (self.root / name).mkdir(exist_ok=True)
        return {}

    def _remove(self, asked: Message) -> Message:
        directory = self._directory(asked)
        if self.users.get(directory.name):
            raise ValueError(f"volume {directory.name!r} is in use")
        directory.rmdir()
        return {}

    def _mount(self, asked: Message) -> Message:
        directory = self._directory(asked)
        self.users.setdefault(directory.name, set()).add(asked["ID"])
        return {"Mountpoint": str(directory)}

    def _unmount(self, asked: Message) -> Message:
        self.users.get(self._directory(asked).name, set()).discard(asked["ID"])
        return {}

    def _directory(self, asked: Message) -> Path:
        for directory in self.root.iterdir():
            if directory.name == asked["Name"]:
                return directory
        raise ValueError(f"no volume {asked['Name']!r}")


def _described(directory: Path) -> Message:
    return {"Name": directory.name, "Mountpoint": str(directory)}


def serve(socket: str, volumes: Volumes) -> None:
    """Answer requests on a unix socket until the process ends."""

    class Requests(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"  # connections are kept

        def do_POST(self) -> None:
            asked = json.loads(self.rfile.read(int(self.headers["Content-Length"])) or "{}")
            if self.path not in volumes.methods:
                self.answer(404, {"Err": f"no method {self.path}"})
                return
            try:
                self.answer(200, volumes.methods[self.path](asked))
            except (OSError, ValueError) as error:
                self.answer(500, {"Err": str(error)})

        def answer(self, status: int, reply: Message) -> None:
            body = json.dumps(reply).encode()
            self.send_response(status)
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

        def log_message(self, format: str, *arguments: object) -> None:
            """Say nothing."""

    with ThreadingUnixStreamServer(socket + ".new", Requests) as server:
        os.replace(socket + ".new", socket)  # takes the place of what an earlier process left over, if one did
        server.serve_forever()


if __name__ == "__main__":
    serve(sys.argv[1], Volumes(Path(sys.argv[2])))
