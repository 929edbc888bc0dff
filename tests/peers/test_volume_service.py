"""examples/volume_service with real programs: its ASGI application under uvicorn, its volumes from rclone."""

from __future__ import annotations

import http.client
import json
import os
import socket
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager
from pathlib import Path
from typing import Any

import pytest

EXAMPLE = Path(__file__).parents[2] / "examples" / "volume_service"


class Service:
    """The running application."""

    def __init__(self, port: int) -> None:
        self._port = port

    @contextmanager
    def open(self, method: str, path: str, body: object = None) -> Iterator[http.client.HTTPResponse]:
        with closing(http.client.HTTPConnection("127.0.0.1", self._port, timeout=60)) as connection:
            connection.request(method, path, None if body is None else json.dumps(body))
            with connection.getresponse() as response:
                yield response

    def request(self, method: str, path: str, body: object = None) -> tuple[int, Any]:
        with self.open(method, path, body) as response:
            content = response.read()
            return response.status, json.loads(content) if content else None


class Rclone:
    """An rclone that keeps everything in one directory."""

    def __init__(self, program: str, directory: Path, start: Callable[..., Any]) -> None:
        self.files, self.mounts = directory / "files", directory / "mounts"
        self.plugins = directory / "plugins"
        for each in (self.files, self.mounts, self.plugins):
            each.mkdir()
        configuration = directory / "rclone.conf"
        configuration.write_text("[here]\ntype = local\n")
        options = ("--base-dir", self.mounts, "--cache-dir", directory / "cache", "--no-spec", "-v")
        address = self.plugins / "rclone.sock"
        command = (program, "serve", "docker", *options, "--socket-addr", address)
        self.process = start(*command, RCLONE_CONFIG=configuration)
        self.process.wait_for(r"Serving unix socket: (\S+)")

    def close(self) -> None:
        self.process.stop()
        for mount in self.mounts.iterdir():
            if os.path.ismount(mount):
                subprocess.run(["fusermount3", "-u", "-z", mount], check=True, timeout=30)


@pytest.fixture
def rclone(need: Callable[[str], str], start: Callable[..., Any], short_path: Path) -> Iterator[Rclone]:
    running = Rclone(need("rclone"), short_path, start)
    yield running
    running.close()


@pytest.fixture
def service(rclone: Rclone, start: Callable[..., Any]) -> Service:
    pytest.importorskip("starlette")
    with socket.socket() as listening:
        listening.bind(("127.0.0.1", 0))
        port = listening.getsockname()[1]
    program = [sys.executable, "-m", "uvicorn", "--app-dir", EXAMPLE, "app:app", "--port", str(port)]
    process = start(*program, PLUGIN_DIR=rclone.plugins)
    process.wait_for("Uvicorn running on")
    return Service(port)


def test_volumes_are_created_and_listed_and_errors_have_the_plugins_words(service: Service, rclone: Rclone) -> None:
    assert service.request("GET", "/volumes") == (200, {"rclone": []})
    assert service.request("PUT", "/volumes/rclone/photos", {"remote": f"here:{rclone.files}"}) == (201, None)
    assert service.request("GET", "/volumes") == (200, {"rclone": ["photos"]})
    status, answer = service.request("PUT", "/volumes/rclone/bad", {"remote": "nowhere:"})
    assert status == 502
    assert "didn't find section in config file" in answer["error"]
    status, answer = service.request("DELETE", "/volumes/missing/photos")
    assert status == 404
    assert "no plugin 'missing'" in answer["error"]
    assert service.request("DELETE", "/volumes/rclone/photos") == (204, None)
    assert service.request("GET", "/volumes") == (200, {"rclone": []})


@pytest.mark.device("/dev/fuse")
def test_a_volume_is_mounted_at_the_path_in_the_response(service: Service, rclone: Rclone) -> None:
    (rclone.files / "holiday.txt").write_text("sun")
    assert service.request("PUT", "/volumes/rclone/photos", {"remote": f"here:{rclone.files}"}) == (201, None)
    status, answer = service.request("POST", "/volumes/rclone/photos/mount")
    assert (status, answer) == (200, {"path": str(rclone.mounts / "photos")})
    assert Path(answer["path"], "holiday.txt").read_text() == "sun"
    assert service.request("DELETE", "/volumes/rclone/photos/mount") == (204, None)
    assert not os.path.ismount(answer["path"])


def test_what_happens_to_plugins_is_streamed(service: Service, rclone: Rclone) -> None:
    assert service.request("GET", "/volumes") == (200, {"rclone": []})
    with service.open("GET", "/events") as response:
        assert json.loads(response.readline()) == {"plugins": ["rclone"]}
        rclone.process.stop()
        kinds = [json.loads(response.readline())["kind"] for _ in range(2)]
        assert kinds == ["lost", "removed"]
