"""ASGI types, reading request bodies and sending responses. Knows no drivers and no server."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, MutableMapping
from typing import Any

from ..protocol import encode_json

Scope = MutableMapping[str, Any]
Message = MutableMapping[str, Any]
Receive = Callable[[], Awaitable[Message]]
Send = Callable[[Message], Awaitable[None]]
App = Callable[[Scope, Receive, Send], Awaitable[None]]

JSON = (b"content-type", b"application/vnd.docker.plugins.v1.1+json")
CLOSE = (b"connection", b"close")

DISCARD_LIMIT = 64 << 20  # bytes of a body over the limit that are read and dropped before the response


class Disconnected(Exception):
    """The client disconnected before it had sent its request."""


class TooLarge(Exception):
    """The request body exceeds the limit. What is over it was dropped."""


async def read_body(receive: Receive, limit: int) -> bytes:
    """Return the request body.

    Raises:
        Disconnected: it is incomplete.
        TooLarge: it exceeds ``limit`` bytes.
    """
    message = await receive()
    if message["type"] == "http.request" and not message.get("more_body", False):
        body: bytes = message.get("body", b"")
        if len(body) > limit:
            raise TooLarge
        return body
    return await _read_pieces(message, receive, limit)


async def _read_pieces(message: Message, receive: Receive, limit: int) -> bytes:
    pieces: list[bytes] = []
    size = 0
    while message["type"] == "http.request":
        piece = message.get("body", b"")
        size += len(piece)
        if size <= limit:
            pieces.append(piece)
        if not message.get("more_body", False):
            break
        # A client that is still sending would not see the response, so a body that is too large is read for a while.
        if size > limit + DISCARD_LIMIT:
            break
        message = await receive()
    else:
        raise Disconnected
    if size > limit:
        raise TooLarge
    return b"".join(pieces)


async def send_json(send: Send, status: int, body: bytes, *headers: tuple[bytes, bytes]) -> None:
    """Send a JSON response."""
    length = (b"content-length", b"%d" % len(body))
    await send({"type": "http.response.start", "status": status, "headers": [JSON, length, *headers]})
    await send({"type": "http.response.body", "body": body})


async def send_error(send: Send, status: int, message: str, *headers: tuple[bytes, bytes]) -> None:
    """Send an error response."""
    await send_json(send, status, encode_error(message), *headers)


def encode_error(message: str) -> bytes:
    """Return the body of an error response, with the keys that hosts read: ``Err``, and ``Error`` for IPAM."""
    # An OSError with a file name that is not UTF-8 has surrogates in its text, which JSON cannot represent.
    message = message.encode(errors="replace").decode()
    return encode_json({"Err": message, "Error": message})
