"""A server whose behaviour is a function of the connection: every fault of a peer, on real sockets. Knows no extframe.

    with FaultServer(answer(b'{"Volumes": []}')) as server:
        Client(server.address).call("VolumeDriver.List")
        assert server.requests[0].path == "/VolumeDriver.List"

A behaviour takes a `Peer`, the server's end of one connection, and may read, write, wait or end as it likes; when
it returns the connection is closed. `in_turn` gives each connection its own. `server.behaviour` may be replaced at
any time, which counts from the next connection on.
"""

from __future__ import annotations

import contextlib
import os
import shutil
import socket
import ssl
import struct
import tempfile
import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from types import TracebackType
from typing import Any


@dataclass(frozen=True)
class Request:
    """One request as it came: the head with its last empty line, and the body, unchunked where it was chunked."""

    head: bytes
    body: bytes

    @property
    def path(self) -> str:
        return self.head.split(b" ", 2)[1].decode()

    @property
    def headers(self) -> list[tuple[str, str]]:
        """The headers in their order, names and values as they came."""
        lines = self.head.decode("latin-1").split("\r\n")[1:-2]
        return [(name, value) for name, _, value in (line.partition(": ") for line in lines)]


class Peer:
    """The server's end of one connection."""

    def __init__(self, connection: socket.socket, server: FaultServer, number: int) -> None:
        self.socket = connection
        self.server = server
        self.number = number  # the first connection is 0
        self._unread = b""

    def read_request(self) -> Request | None:
        """Return the next request, which the server remembers too; None where the client closed before its end."""
        try:
            head = self._read_until(b"\r\n\r\n")
            request = Request(head, self._read_body(head.lower()))
        except EOFError:
            return None
        self.server.requests.append(request)
        return request

    def read_head(self) -> bytes:
        """Return a request's head and leave its body unread."""
        return self._read_until(b"\r\n\r\n")

    def send(self, data: bytes) -> None:
        self.socket.sendall(data)

    def drip(self, data: bytes, pause: float) -> None:
        """Send ``data`` a byte at a time."""
        for index in range(len(data)):
            self.send(data[index : index + 1])
            self.wait(pause)

    def wait(self, seconds: float) -> None:
        """Sleep; a server that is being closed ends the connection instead."""
        if self.server.closing.wait(seconds):
            raise EOFError

    def hang(self) -> None:
        """Do nothing, and keep the connection, until the server is closed."""
        self.server.closing.wait()

    def reset(self) -> None:
        """End a TCP connection with RST."""
        self.socket.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        self.socket.close()

    def wait_closed(self, timeout: float = 30.0) -> bool:
        """Whether the client ends the connection within ``timeout``; what it sends until then is dropped."""
        self.socket.settimeout(timeout)
        try:
            while self.socket.recv(65536):
                pass
        except TimeoutError:
            return False
        except OSError:
            pass
        return True

    def _read_body(self, head: bytes) -> bytes:
        if b"\r\ntransfer-encoding: chunked\r\n" in head:
            return b"".join(self._read_chunks())
        _, found, rest = head.partition(b"\r\ncontent-length:")
        return self._read_exactly(int(rest.split(b"\r\n", 1)[0])) if found else b""

    def _read_chunks(self) -> Iterator[bytes]:
        while size := int(self._read_until(b"\r\n"), 16):
            yield self._read_exactly(size)
            self._read_exactly(2)
        self._read_until(b"\r\n")

    def _read_until(self, end: bytes) -> bytes:
        while end not in self._unread:
            self._receive()
        found, _, self._unread = self._unread.partition(end)
        return found + end

    def _read_exactly(self, size: int) -> bytes:
        while len(self._unread) < size:
            self._receive()
        data, self._unread = self._unread[:size], self._unread[size:]
        return data

    def _receive(self) -> None:
        data = self.socket.recv(1 << 20)
        if not data:
            raise EOFError
        self._unread += data


Behaviour = Callable[[Peer], Any]


@dataclass
class FaultServer:
    """Listens from construction to `close`; one thread accepts and each connection has one.

    ``kind`` is "unix" or "tcp"; ``path`` is where a unix socket is made (a directory of its own otherwise);
    with ``tls`` the connections are wrapped before the behaviour gets them. ``accepting=False`` makes a server
    that listens and never accepts.
    """

    behaviour: Behaviour
    kind: str = "unix"
    path: str = ""
    tls: ssl.SSLContext | None = None
    backlog: int = 64
    accepting: bool = True
    requests: list[Request] = field(default_factory=list)
    connections: int = 0  # that were accepted
    errors: list[BaseException] = field(default_factory=list)  # of behaviours: TLS failures, broken pipes
    closing: threading.Event = field(default_factory=threading.Event)

    def __post_init__(self) -> None:
        self._directory = ""
        if self.kind == "unix" and not self.path:
            self._directory = tempfile.mkdtemp(prefix="ef-")
            self.path = os.path.join(self._directory, "plugin.sock")
        family = socket.AF_UNIX if self.kind == "unix" else socket.AF_INET
        self._listener = socket.socket(family, socket.SOCK_STREAM)
        self._listener.bind(self.path if self.kind == "unix" else ("127.0.0.1", 0))
        self._listener.listen(self.backlog)
        self._open: set[socket.socket] = set()
        self._threads: list[threading.Thread] = []
        if self.accepting:
            self._start(self._accept)

    @property
    def port(self) -> int:
        return int(self._listener.getsockname()[1])

    @property
    def address(self) -> str:
        """What a spec file would say."""
        if self.kind == "unix":
            return f"unix://{self.path}"
        return f"{'https' if self.tls else 'tcp'}://127.0.0.1:{self.port}"

    def open_sockets(self) -> set[str]:
        """Return the server's sockets, as /proc/self/fd names them."""
        names = set()
        for sock in [self._listener, *self._open]:
            with contextlib.suppress(OSError):  # closed meanwhile
                names.add(os.readlink(f"/proc/self/fd/{sock.fileno()}"))
        return names

    def close(self) -> None:
        """End every connection and thread; the address is dead from then on. The file of a unix socket stays."""
        self.closing.set()
        for sock in [self._listener, *self._open]:
            with contextlib.suppress(OSError):
                sock.shutdown(socket.SHUT_RDWR)
        for thread in self._threads:
            thread.join(10)
        self._listener.close()
        if self._directory:
            shutil.rmtree(self._directory, ignore_errors=True)

    def __enter__(self) -> FaultServer:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, tb: TracebackType | None) -> None:
        self.close()

    def _start(self, target: Callable[..., None], *arguments: object) -> None:
        thread = threading.Thread(target=target, args=arguments, daemon=True)
        self._threads.append(thread)
        thread.start()

    def _accept(self) -> None:
        while True:
            try:
                connection, _ = self._listener.accept()
            except OSError:
                return
            self._open.add(connection)
            self.connections += 1
            self._start(self._serve, connection, self.connections - 1)
            if self.closing.is_set():  # close() may not have seen it
                with contextlib.suppress(OSError):
                    connection.shutdown(socket.SHUT_RDWR)

    def _serve(self, connection: socket.socket, number: int) -> None:
        sock = connection
        try:
            if self.tls is not None:
                sock = self.tls.wrap_socket(connection, server_side=True)
                self._open.add(sock)
            self.behaviour(Peer(sock, self, number))
        except (OSError, EOFError) as error:
            self.errors.append(error)
        finally:
            sock.close()
            self._open -= {connection, sock}


def reply(body: bytes = b"{}", *, status: str = "200 OK", headers: str = "", length: int | None = None) -> bytes:
    """Return an answer with Content-Length, which ``length`` makes a lie. ``headers``: lines, each with its CRLF."""
    size = len(body) if length is None else length
    return f"HTTP/1.1 {status}\r\nContent-Length: {size}\r\n{headers}\r\n".encode() + body


def chunked(*chunks: bytes) -> bytes:
    """Return an answer in chunks."""
    head = b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n"
    return head + b"".join(b"%x\r\n%b\r\n" % (len(chunk), chunk) for chunk in (*chunks, b""))


# --- behaviours ---------------------------------------------------------------------------------------


def answer(body: bytes = b"{}", **options: Any) -> Behaviour:
    """Answer every request of the connection, which is kept open. Options as for `reply`."""
    return answer_with(lambda request: reply(body, **options))


def answer_with(function: Callable[[Request], bytes]) -> Behaviour:
    """Answer every request with the bytes that ``function`` makes of it."""

    def behaviour(peer: Peer) -> None:
        while request := peer.read_request():
            peer.send(function(request))

    return behaviour


def answer_and_close(body: bytes = b"{}", *, announced: bool = True) -> Behaviour:
    """Answer one request and close, with ``Connection: close`` in the answer or, not ``announced``, without."""
    return send_and_close(reply(body, headers="Connection: close\r\n" if announced else ""))


def send_and_close(data: bytes) -> Behaviour:
    """Read one request, send these bytes, whatever they are, and close: half a header, garbage, half a body."""

    def behaviour(peer: Peer) -> None:
        if peer.read_request():
            peer.send(data)

    return behaviour


def send_and_hang(data: bytes) -> Behaviour:
    """Read one request, send these bytes and be silent: after half a header, after half a body."""

    def behaviour(peer: Peer) -> None:
        if peer.read_request():
            peer.send(data)
            peer.hang()

    return behaviour


def drip(data: bytes = reply(b'{"Err": ""}'), pause: float = 0.05) -> Behaviour:
    """Answer every request a byte at a time."""

    def behaviour(peer: Peer) -> None:
        while peer.read_request():
            peer.drip(data, pause)

    return behaviour


def endless(head: bytes, piece: bytes) -> Behaviour:
    """Read one request, send ``head`` and then ``piece`` for as long as the client takes it."""

    def behaviour(peer: Peer) -> None:
        if peer.read_request():
            peer.send(head)
            while not peer.server.closing.is_set():
                peer.send(piece)

    return behaviour


def hang(peer: Peer) -> None:
    """Accept, read nothing and say nothing."""
    peer.hang()


def read_and_hang(peer: Peer) -> None:
    """Read one request and say nothing."""
    send_and_hang(b"")(peer)


def close_at_once(peer: Peer) -> None:
    """Accept and close."""


def close_after_read(peer: Peer) -> None:
    """Read one request and close without a response."""
    peer.read_request()


def reset_after_read(peer: Peer) -> None:
    """Read one request and reset the connection (TCP)."""
    peer.read_request()
    peer.reset()


def successively(*behaviours: Behaviour) -> Behaviour:
    """The first connection gets the first behaviour, and so on; all later ones get the last."""

    def behaviour(peer: Peer) -> None:
        behaviours[min(peer.number, len(behaviours) - 1)](peer)

    return behaviour


in_turn = successively


# --- without a response to connecting ------------------------------------------------------------------


@contextlib.contextmanager
def full_backlog(server: FaultServer) -> Iterator[None]:
    """Connect until no further connection comes about: to a server that listens with backlog=0 and accepts none."""
    with contextlib.ExitStack() as stack:
        for _ in range(4):
            sock = stack.enter_context(socket.socket(socket.AF_UNIX if server.path else socket.AF_INET))
            sock.setblocking(False)
            sock.connect_ex(server.path or ("127.0.0.1", server.port))
        yield


# --- waiting ------------------------------------------------------------------------------------------


def eventually(condition: Callable[[], object], timeout: float = 30.0) -> bool:
    """Whether ``condition`` becomes true within ``timeout`` seconds."""
    end = time.monotonic() + timeout
    while not condition():
        if time.monotonic() > end:
            return False
        time.sleep(0.005)
    return True
