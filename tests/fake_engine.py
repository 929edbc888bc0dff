"""Docker's engine as far as `DockerPlugins` asks it: its list of managed plugins, its data directory, its events."""

from __future__ import annotations

import json
import queue
import socketserver
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler
from pathlib import Path
from typing import Any
from urllib.parse import parse_qs, urlsplit

from extframe.testing import FakePlugin


class FakeEngine:
    """An engine that serves at ``DIRECTORY/api.sock`` while it runs, and has its plugins' sockets in ``DIRECTORY/s``.

    Attributes:
        root: what it says its data directory is.
        failure: a status and a message with which it answers everything, if set.
        requests: the paths that it was asked for.
        since: the times from which its events were requested.
    """

    def __init__(self, directory: Path) -> None:
        self.address = f"unix://{directory}/api.sock"
        self.sockets = directory / "s"
        self.root = "/data"
        self.failure: tuple[int, str] | None = None
        self.requests: list[str] = []
        self.since: list[float] = []
        self._plugins: dict[str, dict[str, Any]] = {}
        self._running: dict[str, FakePlugin] = {}
        self._events: list[dict[str, Any]] = []
        self._followers: list[queue.Queue[dict[str, Any] | None]] = []
        self._server: _Server | None = None
        self.start()

    def start(self) -> None:
        """Serve."""
        self._server = _Server(self.address.removeprefix("unix://"), _handler(self))
        threading.Thread(target=self._server.serve_forever, args=(0.01,), daemon=True).start()

    def stop(self) -> None:
        """Stop serving, and end every stream of events. The plugins go on."""
        if self._server is not None:
            self._server.shutdown()
            self._server.server_close()
            Path(self.address.removeprefix("unix://")).unlink()
            self._server = None
        for follower in [*self._followers]:
            follower.put(None)

    def close(self) -> None:
        self.stop()
        for name in list(self._running):
            self.disable(name)

    def install(self, name: str, *types: object, plugin_id: str = "", socket: str = "p.sock", **config: Any) -> str:
        """Install a plugin, disabled, and return its id."""
        plugin_id = plugin_id or f"{len(self._plugins) + 1:02x}" * 32
        interface = {"Types": [*types], "Socket": socket, **config.pop("interface", {})}
        config = {"Interface": interface, "PropagatedMount": "", "Mounts": None, **config}
        self._plugins[name] = {"Id": plugin_id, "Name": name, "Enabled": False, "Config": config, "Settings": {}}
        return plugin_id

    def enable(self, name: str, **answers: object) -> FakePlugin:
        """Start a plugin, which answers these methods of VolumeDriver."""
        plugin = self._plugins[name]
        socket: str = plugin["Config"]["Interface"]["Socket"]
        directory = self.sockets / plugin["Id"]
        directory.mkdir(parents=True, exist_ok=True)
        self._running[name] = running = FakePlugin(directory, socket.removesuffix(".sock"))
        running.answer("Plugin.Activate", b"404 page not found")
        for method, answer in answers.items():
            running.answer(f"VolumeDriver.{method}", answer)
        plugin["Enabled"] = True
        self._emit("enable", plugin)
        return running

    def disable(self, name: str) -> None:
        """Stop a plugin, and remove its socket."""
        self._running.pop(name).close()
        self._plugins[name]["Enabled"] = False
        self._emit("disable", self._plugins[name])

    def _emit(self, action: str, plugin: dict[str, Any]) -> None:
        actor = {"ID": plugin["Id"], "Attributes": {"name": plugin["Name"]}}
        event = {"Type": "plugin", "Action": action, "Actor": actor, "timeNano": time.time_ns()}
        self._events.append(event)
        for follower in [*self._followers]:
            follower.put(event)

    # In the threads of the server.

    def answer(self, path: str) -> object:
        return {"/plugins": [*self._plugins.values()], "/info": {"DockerRootDir": self.root}}[path]

    @contextmanager
    def followed(self, since: float) -> Iterator[queue.Queue[dict[str, Any] | None]]:
        events: queue.Queue[dict[str, Any] | None] = queue.Queue()
        self._followers.append(events)
        self.since.append(since)
        for event in [*self._events]:
            if event["timeNano"] > since * 1e9:
                events.put(event)
        try:
            yield events
        finally:
            self._followers.remove(events)


class _Server(socketserver.ThreadingUnixStreamServer):
    daemon_threads = True


def _handler(engine: FakeEngine) -> type[BaseHTTPRequestHandler]:
    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def do_GET(self) -> None:
            parts = urlsplit(self.path)
            engine.requests.append(parts.path)
            if engine.failure is not None:
                self._send(engine.failure[0], {"message": engine.failure[1]})
            elif parts.path == "/events":
                self._stream(parse_qs(parts.query))
            else:
                self._send(200, engine.answer(parts.path))

        def _send(self, status: int, value: object) -> None:
            body = json.dumps(value).encode()
            self.send_response(status)
            self.send_header("Content-Length", str(len(body)))
            self.send_header("Connection", "close")  # so that `stop` stops everything
            self.end_headers()
            self.wfile.write(body)

        def _stream(self, query: dict[str, list[str]]) -> None:
            assert json.loads(query["filters"][0]) == {"type": ["plugin"]}
            self.send_response(200)
            self.send_header("Transfer-Encoding", "chunked")
            self.end_headers()
            with engine.followed(float(query["since"][0])) as events:
                while (event := events.get()) is not None:
                    line = json.dumps(event).encode() + b"\n"
                    self.wfile.write(b"%x\r\n%s\r\n" % (len(line), line))
            self.close_connection = True

        def log_message(self, *arguments: object) -> None:
            pass

    return Handler
