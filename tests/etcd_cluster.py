"""A cluster of etcd nodes on loopback. Knows no extframe."""

from __future__ import annotations

import base64
import itertools
import json
import random
import signal
import socket
import ssl
import subprocess
import time
import urllib.error
import urllib.request
from contextlib import suppress
from pathlib import Path
from typing import Any


def free_ports(count: int) -> list[int]:
    """Return ports that the system gives to no other socket, also while a node does not run."""
    lowest = int(Path("/proc/sys/net/ipv4/ip_local_port_range").read_text().split()[0])
    candidates = random.sample(range(min(10_000, lowest - 1), lowest), min(lowest - 1024, 1000))
    return list(itertools.islice(filter(_is_free, candidates), count))


def _is_free(port: int) -> bool:
    with suppress(OSError), socket.create_server(("127.0.0.1", port)):
        return True
    return False


class EtcdCluster:
    """Nodes that can be killed, stopped and started again, each by its number."""

    def __init__(
        self, etcd: str, directory: Path, nodes: int = 3, *, tls: ssl.SSLContext | None = None, **options: str
    ):
        self._etcd = etcd
        self._directory = directory
        ports = free_ports(2 * nodes)
        self.clients, self._peers = ports[:nodes], ports[nodes:]
        self._options = options
        self._tls = tls
        self._scheme = "http" if tls is None else "https"
        self._running: dict[int, subprocess.Popen[bytes]] = {}
        for number in range(nodes):
            self.start(number)
        for number in range(nodes):
            self.wait_for(number)

    @property
    def url(self) -> str:
        return f"etcd://{','.join(f'127.0.0.1:{port}' for port in self.clients)}/extframe/"

    def start(self, number: int) -> None:
        peer = f"http://127.0.0.1:{self._peers[number]}"
        client = f"{self._scheme}://127.0.0.1:{self.clients[number]}"
        members = ",".join(f"n{index}=http://127.0.0.1:{port}" for index, port in enumerate(self._peers))
        options: dict[str, object] = {
            "name": f"n{number}",
            "data-dir": self._directory / f"n{number}",
            "listen-peer-urls": peer,
            "initial-advertise-peer-urls": peer,
            "listen-client-urls": client,
            "advertise-client-urls": client,
            "initial-cluster": members,
            "heartbeat-interval": 50,
            "election-timeout": 500,
        }
        options |= {name.replace("_", "-"): value for name, value in self._options.items()}
        command = [self._etcd, *(f"--{name}={value}" for name, value in options.items())]
        with (self._directory / f"n{number}.log").open("ab") as log:
            self._running[number] = subprocess.Popen(command, stdin=subprocess.DEVNULL, stdout=log, stderr=log)

    def signal(self, number: int, how: int) -> None:
        process = self._running[number]
        process.send_signal(how)
        if how in (signal.SIGKILL, signal.SIGTERM):
            process.wait()

    def close(self) -> None:
        for process in self._running.values():
            process.kill()
            process.wait()

    def wait_for(self, number: int, timeout: float = 120.0) -> None:
        """Wait until a node answers."""
        deadline = time.monotonic() + timeout
        while not self._answers(number):
            assert time.monotonic() < deadline, (self._directory / f"n{number}.log").read_text()
            time.sleep(0.05)

    def _answers(self, number: int) -> bool:
        try:
            self.call("kv/range", {"key": encode("x")}, node=number)
        except OSError:
            return False
        return True

    def leader(self) -> int:
        """Return the number of the leading node."""
        for number in range(len(self.clients)):
            status = self.call("maintenance/status", {}, node=number)
            if status["leader"] == status["header"]["member_id"]:
                return number
        raise AssertionError("no node leads")

    def call(
        self, path: str, arguments: dict[str, Any], *, node: int = 0, timeout: float = 10.0, **headers: str
    ) -> dict[str, Any]:
        request = urllib.request.Request(
            f"{self._scheme}://127.0.0.1:{self.clients[node]}/v3/{path}", json.dumps(arguments).encode(), headers
        )
        deadline = time.monotonic() + 30
        while True:
            try:
                with urllib.request.urlopen(request, timeout=timeout, context=self._tls) as response:
                    found: dict[str, Any] = json.load(response)
                    return found
            except urllib.error.HTTPError as failed:  # noqa: PERF203 - each request may fail
                # On a busy machine the nodes elect another leader at any moment, and answer 503 meanwhile.
                if failed.code not in (503, 504) or time.monotonic() > deadline:
                    raise
                time.sleep(0.05)

    def put(self, key: str, value: object, *, node: int = 0, **headers: str) -> int:
        text = value if isinstance(value, str) else json.dumps(value)
        reply = self.call("kv/put", {"key": encode(key), "value": encode(text)}, node=node, **headers)
        return int(reply["header"]["revision"])

    def delete(self, key: str, *, node: int = 0) -> None:
        self.call("kv/deleterange", {"key": encode(key)}, node=node)


def encode(text: str) -> str:
    return base64.b64encode(text.encode()).decode()
