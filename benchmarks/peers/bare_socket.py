"""A bare blocking socket, the lower bound: the request is prepared, the response is counted and not parsed."""

import socket
import threading
from collections.abc import Callable

from . import BODY, METHOD, path_of

REQUEST = b"POST /%b HTTP/1.1\r\nHost: plugin\r\nContent-Length: %d\r\n\r\n%b" % (METHOD.encode(), len(BODY), BODY)


def connect(address: str, ca: str) -> Callable[[], object]:
    """Connect to a unix socket, or to TCP without TLS. Each thread has its own connection."""
    sock = _connected(address)
    sock.sendall(REQUEST)
    response = b""
    while not _is_whole(response):
        response += sock.recv(1 << 16)
    size = len(response)
    own = threading.local()
    own.sock = sock

    def call() -> None:
        sock: socket.socket = own.sock if hasattr(own, "sock") else connect_here()
        sock.sendall(REQUEST)
        received = 0
        while received < size:
            received += len(sock.recv(1 << 16))

    def connect_here() -> socket.socket:
        own.sock = _connected(address)
        return own.sock

    return call


def _connected(address: str) -> socket.socket:
    if address.startswith("unix:"):
        sock = socket.socket(socket.AF_UNIX)
        sock.connect(path_of(address))
        return sock
    host, _, port = address.removeprefix("tcp://").rpartition(":")
    sock = socket.create_connection((host, int(port)))
    sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    return sock


def _is_whole(response: bytes) -> bool:
    head, end, body = response.partition(b"\r\n\r\n")
    if not end:
        return False
    length = [line for line in head.lower().split(b"\r\n") if line.startswith(b"content-length:")]
    return len(body) == int(length[0][15:]) if length else body.endswith(b"0\r\n\r\n")
