"""Sends any bytes to a plugin, valid HTTP or not, each exchange within a deadline. Knows HTTP, and no rules."""

from __future__ import annotations

import os
import socket
from collections.abc import Iterator
from contextlib import contextmanager

from ..client.connection import Connection
from ..client.http1 import UNIX_HOST, Limits, RequestWriter, Response, ResponseParser
from ..client.replies import whole
from ..client.sockets import connect
from ..concurrency import deadlines
from ..errors import ConnectionLost, ProtocolError
from ..protocol import ACTIVATE, Address, TLSConfig

LIMITS = Limits(headers=64 << 10, body=16 << 20)


class RawClient:
    """Opens a connection for every exchange, and keeps all responses.

    Args:
        address: the plugin's address.
        tls: the TLS settings for it.
        timeout: seconds for each step: connecting, and an exchange.

    Attributes:
        host: the Host header that it sends.
        responses: all responses, each with the path of its request.
        over_tls: whether its connections are TLS.
        handshake_status: the status of the plugin's responses to the handshake.
    """

    def __init__(self, address: Address, tls: TLSConfig | None, timeout: float) -> None:
        self.host = UNIX_HOST if address.path else address.host_header
        self.responses: list[tuple[str, Response]] = []
        self.timeout = timeout
        self.handshake_status = 200
        self._address = address
        self._writer = RequestWriter(self.host)
        self.over_tls = address.tls
        self._context = None
        if address.tls:
            from ..client.tls import client_context

            self._context = client_context(tls)

    def request(self, method: str, body: bytes = b"") -> bytes:
        """Return a call as Docker's engine sends it."""
        return self._writer.request(f"/{method}", body)

    def call(self, method: str, body: bytes = b"") -> Response:
        """Call a method over a new connection and return the response."""
        return self.exchange(self.request(method, body))

    def handshake(self) -> Response:
        """Call ``Plugin.Activate``."""
        return self.call(ACTIVATE)

    def exchange(self, data: bytes) -> Response:
        """Send ``data`` over a new connection and return the response."""
        with self.connected() as connection:
            self.send(connection, data)
            return self.receive(connection, data)

    @contextmanager
    def connected(self) -> Iterator[Connection]:
        """Connect, and close the connection afterwards."""
        deadline = deadlines.after(self.timeout)
        sock = connect(self._address, deadline)
        if self._context is None:
            connection = Connection(sock)
        else:
            from ..client.tls import handshake

            connection = handshake(sock, self._context, self._address.host.partition("%")[0], deadline)
        try:
            yield connection
        finally:
            connection.close()

    def send(self, connection: Connection, data: bytes) -> None:
        """Send ``data``. If the plugin responds before it has read everything, the rest is not sent."""
        connection.send(data, deadlines.after(self.timeout))

    def half_close(self, connection: Connection) -> None:
        """Close the sending side of a connection that is not TLS."""
        with socket.socket(fileno=os.dup(connection.fileno())) as sock:
            sock.shutdown(socket.SHUT_WR)

    def receive(self, connection: Connection, request: bytes) -> Response:
        """Return the response to a request.

        Raises:
            CallTimeout: the response is not complete in time.
            ConnectionLost: the connection ended before or within the response.
            ProtocolError: the response is not HTTP, is framed wrongly, or exceeds the limits.
        """
        deadline = deadlines.after(self.timeout)
        parser = ResponseParser(LIMITS)
        while not parser.done:
            data = connection.receive(deadline, parser.phase)
            if data:
                parser.feed(data)
            else:
                parser.end(clean=not connection.cut)
        response = whole(parser.response)
        if not parser.complete:  # the engine accepts it if its JSON is complete; podman does not
            if response.fault:
                raise ProtocolError(response.fault)
            raise ConnectionLost("the connection ended before the announced end of the body")
        self.responses.append((_path(request), response))
        return response


def _path(request: bytes) -> str:
    words = request[:300].split(b" ", 2)
    return words[1].decode("latin-1").lstrip("/") if len(words) == 3 else ""
