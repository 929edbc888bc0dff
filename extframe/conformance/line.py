"""A line to one plugin, for requests of any bytes, each within a deadline. Knows HTTP, and no rules."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

from ..client.connection import Connection, connect
from ..client.http1 import UNIX_HOST, Limits, RequestWriter, Response, ResponseParser
from ..concurrency import deadlines
from ..errors import ConnectionLost
from ..protocol import Address, TLSConfig

LIMITS = Limits(headers=64 << 10, body=16 << 20)


class Line:
    """The way to a plugin.

    Args:
        address: where it listens.
        tls: how it is verified.
        timeout: seconds for each step: connecting, and an exchange.

    Attributes:
        answers: every answer that came, with the path that it was asked at.
    """

    def __init__(self, address: Address, tls: TLSConfig | None, timeout: float) -> None:
        self.host = UNIX_HOST if address.path else address.authority
        self.answers: list[tuple[str, Response]] = []
        self.timeout = timeout
        self._address = address
        self._writer = RequestWriter(self.host)
        self._context = None
        if address.tls:
            from ..client.tls import client_context

            self._context = client_context(tls)

    def request(self, method: str, body: bytes = b"") -> bytes:
        """Return a call as Docker's engine sends it."""
        return self._writer.request(f"/{method}", body)

    def call(self, method: str, body: bytes = b"") -> Response:
        """Call a method, over a connection of its own."""
        return self.exchange(self.request(method, body))

    def exchange(self, *pieces: bytes) -> Response:
        """Send what is perhaps a request, over a connection of its own, and return the answer."""
        with self.connected() as connection:
            for piece in pieces:
                self.send(connection, piece)
            return self.receive(connection, pieces[0])

    @contextmanager
    def connected(self) -> Iterator[Connection]:
        """Give a connection, and close it."""
        deadline = deadlines.after(self.timeout)
        sock = connect(self._address, deadline)
        if self._context is None:
            connection = Connection(sock)
        else:
            from ..client.tls import handshake

            connection = handshake(sock, self._context, self._address.host, deadline)
        try:
            yield connection
        finally:
            connection.close()

    def send(self, connection: Connection, data: bytes) -> None:
        """Send some bytes. A plugin that answers before it has taken all of them gets no more."""
        connection.send(data, deadlines.after(self.timeout))

    def receive(self, connection: Connection, request: bytes) -> Response:
        """Return the answer to a request.

        Raises:
            CallTimeout: it has not come whole.
            ConnectionLost: the connection ended before it, or within it.
            ProtocolError: it is not HTTP, or over the limits.
        """
        deadline = deadlines.after(self.timeout)
        parser = ResponseParser(LIMITS)
        while not parser.done:
            data = connection.receive(deadline, parser.phase)
            if data:
                parser.feed(data)
            else:
                parser.end(clean=not connection.cut)
        answer = parser.response
        if not answer.complete:
            raise ConnectionLost("the connection ended before the body that was announced")
        self.answers.append((_path(request), answer))
        return answer


def _path(request: bytes) -> str:
    words = request[:300].split(b" ", 2)
    return words[1].decode("latin-1").lstrip("/") if len(words) == 3 else ""
