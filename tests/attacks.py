"""What a hostile client does to a plugin, and what the plugin's process uses meanwhile. Knows no extframe."""

from __future__ import annotations

import contextlib
import os
import resource
import socket
from collections.abc import Iterator
from pathlib import Path

from peak_memory import PeakMemory

MIB = 1 << 20


def dial(path: str, timeout: float = 30.0) -> socket.socket:
    """Connect to a unix socket."""
    connection = socket.socket(socket.AF_UNIX)
    connection.settimeout(timeout)
    connection.connect(path)
    return connection


def send_until_closed(connection: socket.socket, head: bytes, piece: bytes, size: int) -> int:
    """Send ``size`` bytes in pieces; return how many were sent before the plugin closed the connection."""
    sent = 0
    with contextlib.suppress(OSError):
        connection.sendall(head)
        while sent < size:
            connection.sendall(piece)
            sent += len(piece)
    return sent


def header_lines(path: str, size: int = 200 * MIB) -> int:
    """Send header lines without end."""
    with dial(path) as connection:
        return send_until_closed(connection, b"POST /Lab.Rest HTTP/1.1\r\n", b"A: b\r\n" * 10_000, size)


def one_header(path: str, size: int = 120 * MIB) -> int:
    """Send one header without end."""
    with dial(path) as connection:
        return send_until_closed(connection, b"POST /Lab.Rest HTTP/1.1\r\nA: ", b"x" * 65_536, size)


def trailers(path: str, size: int = 200 * MIB) -> int:
    """Send trailers without end."""
    head = b"POST /Lab.Rest HTTP/1.1\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n"
    with dial(path) as connection:
        return send_until_closed(connection, head, b"A: b\r\n" * 10_000, size)


def chunk_extensions(path: str, size: int = 100 * MIB) -> int:
    """Send a chunk header without end."""
    head = b"POST /Lab.Rest HTTP/1.1\r\nTransfer-Encoding: chunked\r\n\r\n1;"
    with dial(path) as connection:
        return send_until_closed(connection, head, b"x" * 65_536, size)


def pipelined(path: str, size: int = 100 * MIB) -> int:
    """Send further requests without end while the first one runs."""
    first = b'POST /Lab.Work HTTP/1.1\r\nContent-Length: 14\r\n\r\n{"Seconds": 5}'
    with dial(path, timeout=1.0) as connection:
        return send_until_closed(connection, first, b"POST /Lab.Rest HTTP/1.1\r\n\r\n" * 2000, size)


@contextlib.contextmanager
def bodies_without_end(path: str, count: int = 40, size: int = 16 * MIB) -> Iterator[None]:
    """Leave ``count`` bodies one byte short of their end."""
    with contextlib.ExitStack() as stack:
        for _ in range(count):
            connection = stack.enter_context(dial(path))
            head = b"POST /Lab.Work HTTP/1.1\r\nContent-Length: %d\r\n\r\n" % size
            send_until_closed(connection, head, bytes(size - 1), size - 1)
        yield


@contextlib.contextmanager
def unread_responses(path: str, count: int = 30) -> Iterator[None]:
    """Ask for ``count`` responses of 10 MiB and read none of them."""
    with contextlib.ExitStack() as stack:
        for _ in range(count):
            connection = stack.enter_context(dial(path))
            connection.sendall(b"POST /Lab.Large HTTP/1.1\r\n\r\n")
        yield


@contextlib.contextmanager
def silent_connections(path: str, count: int = 1100) -> Iterator[int]:
    """Open ``count`` connections and say nothing. Yields how many could be opened."""
    with contextlib.ExitStack() as stack:
        opened = 0
        with contextlib.suppress(OSError):
            for _ in range(count):
                stack.enter_context(dial(path, timeout=1.0))
                opened += 1
        yield opened


@contextlib.contextmanager
def many_descriptors(count: int = 4096) -> Iterator[None]:
    """Let this process open that many descriptors."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (min(max(soft, count), hard), hard))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))


class Usage:
    """What a process has used since this was made."""

    def __init__(self, process: int) -> None:
        self._process = process
        self._cpu = self._seconds()
        self._memory = PeakMemory(process)

    @property
    def grown(self) -> float:
        """By how many MiB memory has grown at its peak."""
        return self._memory.growth() / MIB

    @property
    def cpu(self) -> float:
        """Seconds of CPU."""
        return self._seconds() - self._cpu

    def _seconds(self) -> float:
        fields = Path(f"/proc/{self._process}/stat").read_text().rpartition(")")[2].split()
        return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")
