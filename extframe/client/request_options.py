"""RequestOptions: what a request has in addition to its path and its body. No I/O."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any, Literal

from ..errors import SpecError

HTTPMethod = Literal["POST", "GET"]

RequestHeaders = tuple[tuple[bytes, bytes], ...]
"""Pairs of a name and a value, as they are sent."""

_HTTP_METHODS = ("POST", "GET")
_NAME = re.compile(r"[!#$%&'*+\-.^_`|~0-9A-Za-z]+")
_VALUE = re.compile(r"[\t -~\x80-\xff]*")  # neither a line end nor NUL may reach the head of a request

_SET_BY_CLIENT = {
    "accept-encoding", "connection", "content-length", "expect", "host", "keep-alive", "te", "trailer",
    "transfer-encoding", "upgrade",
}  # fmt: skip
"""Headers that frame the request or its response, or belong to the connection."""


class RequestOptions:
    """The options of one call. Most calls have none, which is None instead of an object.

    Args:
        http_method: ``POST`` or ``GET``.
        headers: to send in addition to the client's own; ``User-Agent`` and ``Accept`` replace those.
        arguments: of the call; a GET request has none.

    Raises:
        SpecError: a header is invalid, or is set by the client; does not quote its value, which may be a secret.
        ValueError: the HTTP method is not supported, or is GET and there are arguments.
        TypeError: ``headers`` is not a mapping of text to text.
    """

    __slots__ = ("encoded_headers", "http_method", "is_plain")

    def __init__(
        self, http_method: HTTPMethod = "POST", headers: Mapping[str, str] | None = None, arguments: object = None
    ) -> None:
        if http_method not in _HTTP_METHODS:
            raise ValueError(f"http_method={http_method!r} is invalid: expected {' or '.join(_HTTP_METHODS)}")
        if http_method == "GET" and arguments is not None:
            raise ValueError("a GET request has no body: write the arguments into the query of its path")
        self.http_method: HTTPMethod = http_method
        self.encoded_headers: RequestHeaders = () if headers is None else encode_headers(headers)
        self.is_plain = False
        """Whether the request is the one that is sent without options."""

    def begin_attempt(self, address: object) -> Any:
        """Begin an attempt at an address, and return its ``ExchangeRecord``; None unless the call is observed."""
        return None

    def name_of(self, path: str) -> str:
        """Return what errors call the method with this path: ``VolumeDriver.List``, ``GET /health``."""
        return path.lstrip("/") if self.http_method == "POST" else f"GET {path}"


def encode_headers(headers: Mapping[str, str]) -> RequestHeaders:
    """Return headers as they are sent.

    Raises:
        SpecError: a name or a value is invalid, or the client sets this header.
        TypeError: it is not a mapping of text to text.
    """
    if not isinstance(headers, Mapping):
        raise TypeError(f"headers is a {type(headers).__name__}; expected a mapping of names to values")
    return tuple(_encode_header(name, value) for name, value in headers.items())


def _encode_header(name: object, value: object) -> tuple[bytes, bytes]:
    if not (isinstance(name, str) and isinstance(value, str)):
        raise TypeError(f"the header {name!r} has a {type(value).__name__} as value; expected a str for both")
    if not _NAME.fullmatch(name):
        raise SpecError(f"{name!r} is not a valid name of a header: expected letters, digits and hyphens")
    if name.lower() in _SET_BY_CLIENT:
        raise SpecError(f"the header {name} is set by the client and cannot be given")
    if not _VALUE.fullmatch(value):
        raise SpecError(f"the value of the header {name} is invalid: expected Latin-1 text without control characters")
    return name.encode("ascii"), value.encode("latin-1")
