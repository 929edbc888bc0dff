"""ASGI's words, and how a body is read and an answer sent. Knows no drivers and no server."""

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
STREAM = (b"content-type", b"application/octet-stream")
CLOSE = (b"connection", b"close")

DISCARDED = 64 << 20  # bytes of a body over the limit that are read and forgotten before the answer


class Gone(Exception):
    """The client hung up before it had sent its request."""


class TooLarge(Exception):
    """The request's body is over the limit. What is over it was forgotten."""


async def read_body(receive: Receive, limit: int) -> bytes:
    """Return the request's body.

    Raises:
        Gone: it did not come whole.
        TooLarge: it has more than ``limit`` bytes.
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
        # What is too large is read on, for a while: a client that is still sending would not see the answer.
        if size > limit + DISCARDED:
            break
        message = await receive()
    else:
        raise Gone
    if size > limit:
        raise TooLarge
    return b"".join(pieces)


async def send_json(send: Send, status: int, body: bytes, *headers: tuple[bytes, bytes]) -> None:
    """Send an answer whose body is JSON."""
    length = (b"content-length", b"%d" % len(body))
    await send({"type": "http.response.start", "status": status, "headers": [JSON, length, *headers]})
    await send({"type": "http.response.body", "body": body})


async def send_error(send: Send, status: int, words: str, *headers: tuple[bytes, bytes]) -> None:
    """Send an answer that says what went wrong, where each subsystem looks for it: IPAM reads ``Error``."""
    # A file name that is not UTF-8 puts surrogates into an OSError's text, which JSON cannot hold.
    words = words.encode(errors="replace").decode()
    await send_json(send, status, encode_json({"Err": words, "Error": words}), *headers)
