"""Decodes replies: JSON of a type, the plugin's error messages, truncated bodies. Knows no connections."""

from __future__ import annotations

import functools
from collections.abc import Callable, Mapping
from http import HTTPStatus
from time import monotonic
from typing import TYPE_CHECKING, Any

import msgspec

from ..errors import CallTimeout, ConnectionLost, ProtocolError, RemoteError
from ..protocol import check_decoded_size, decode_json, error_in, error_words, excerpt
from ..text import UNCHECKED, quoted

if TYPE_CHECKING:
    from .http1 import Response

UNTYPED: Any = object()
"""The value of ``reply`` if a caller does not pass it."""

TEXT_LIMIT = 2000  # characters of an error page quoted in a message; an Err is quoted whole

ERROR_PAGE_LIMIT = 64 * 1024  # bytes read of an error response to a streaming call

Reader = Callable[[bytes], Any]
"""Decodes the body of a reply with status 200."""

_object_decoder = msgspec.json.Decoder(dict[str, Any] | None)
_fields_decoder = msgspec.json.Decoder(dict[str, msgspec.Raw])


@functools.lru_cache(maxsize=512)
def reader_of(reply: Any) -> Reader:
    """Return the function that decodes a body as ``reply``, the argument of `Client.call`.

    Raises:
        TypeError: msgspec knows no such type.
    """
    special = _SPECIAL_READERS.get(reply)
    if special is not None:
        return special
    decoder = msgspec.json.Decoder(reply)
    kind = msgspec.inspect.type_info(reply)
    # msgspec accepts any class as a type, and would blame the plugin for a value that is not an instance of it.
    if isinstance(kind, msgspec.inspect.CustomType) and not any(issubclass(each, kind.cls) for each in _JSON_TYPES):
        raise TypeError(f"reply={reply!r} is invalid: expected a type that msgspec decodes from JSON, such as a Struct")

    def read_typed(body: bytes) -> Any:
        _refuse_err(_fields(body))
        if _is_empty(body):
            raise ProtocolError("the reply is empty; expected JSON")
        return _decode(body, decoder)

    return read_typed


def _read_object(body: bytes) -> dict[str, Any]:
    if _is_empty(body):
        return {}
    answer: dict[str, Any] = _decode(body, _object_decoder) or {}
    _refuse_err(answer)
    return answer


def _read_nothing(body: bytes) -> None:
    _refuse_err(_fields(body))


_JSON_TYPES = (dict, list, str, int, float, bool, type(None))

_SPECIAL_READERS: Mapping[Any, Reader] = {
    UNTYPED: _read_object,
    None: _read_nothing,
    type(None): _read_nothing,
    msgspec.Raw: msgspec.Raw,
}


def _is_empty(body: bytes) -> bool:
    return not body or body.isspace()


def _decode(body: bytes, decoder: msgspec.json.Decoder[Any]) -> Any:
    try:
        return decode_json(body, decoder)
    except msgspec.ValidationError as wrong:
        raise ProtocolError(f"{wrong}: {excerpt(body)}") from wrong


def _fields(body: bytes) -> dict[str, Any]:
    """Return the members of an object with undecoded values; empty if ``body`` is not an object."""
    if len(body) > UNCHECKED:
        check_decoded_size(body)
    try:
        return _fields_decoder.decode(body)
    except (ValueError, RecursionError):
        pass
    try:
        fields: dict[str, Any] = decode_json(body, _fields_decoder)
    except (ProtocolError, msgspec.ValidationError):  # decoding it as the expected type reports the error
        return {}
    return fields


# --- replies that are errors --------------------------------------------------------------------------


_ERR_KEYS = ("err", "error")
_NO_WORDS = ("", None, msgspec.Raw(b'""'), msgspec.Raw(b"null"))


def _refuse_err(fields: Mapping[str, Any]) -> None:
    """Raise the failure that a 200 reply reports, as the engine does for each method."""
    for key, item in fields.items():
        if key.lower() in _ERR_KEYS and item not in _NO_WORDS:
            _refuse_words({key: _value(item) for key, item in fields.items() if key.lower() in _ERR_KEYS})


def _refuse_words(fields: Mapping[str, Any]) -> None:
    words = error_in(fields)
    if words:
        raise RemoteError(words, status=200)
    for key, item in fields.items():
        if key.lower() == "err":
            _refuse_no_text(key, item)


def _refuse_no_text(key: str, item: Any) -> None:
    try:
        msgspec.convert(item, str | None)
    except msgspec.ValidationError as wrong:
        raise ProtocolError(f"{wrong} - at `$.{key}`") from wrong


def _value(item: Any) -> Any:
    return decode_json(bytes(item)) if isinstance(item, msgspec.Raw) else item


def refusal(status: int, location: str | None, body: bytes) -> RemoteError:
    """Return the error for a reply with a status other than 200; ``location`` is its Location header."""
    words = error_words(body, limit=TEXT_LIMIT) or _phrase(status)
    if location is not None and 300 <= status < 400:
        words += f"; redirects are not followed (Location: {quoted(location)})"
    elif status in _REDIRECTS:
        words += "; it is a redirect without a Location"
    return RemoteError(words, status=status)


_REDIRECTS = (301, 302, 303, 307, 308)


def _phrase(status: int) -> str:
    try:
        return HTTPStatus(status).phrase
    except ValueError:
        return "no reason given"


def is_whole(status: int, body: bytes) -> bool:
    """Return whether a truncated reply can be used: it is an error, or begins with a complete JSON value.

    The engine accepts these, too.
    """
    if status != 200:
        return True
    try:
        decode_json(body)
    except ProtocolError:
        return False
    return True


def whole(response: Response) -> Response:
    """Return a response that is complete, or usable although it is truncated.

    Raises:
        ConnectionLost: it ended before its announced end, in the middle of its JSON.
        ProtocolError: its body is framed or compressed wrongly, and its JSON incomplete.
    """
    if not response.complete and not is_whole(response.status, response.body):
        if response.fault:
            raise ProtocolError(response.fault)
        raise ConnectionLost(f"the reply ended after {len(response.body)} bytes: {excerpt(response.body)}")
    return response


def decoded(response: Response, read: Reader, deadline: float) -> Any:
    """Return what ``read`` makes of the body of a response. A response that is too late is not decoded.

    Raises:
        RemoteError, ProtocolError: the response is an error, or is not what ``read`` expects.
        CallTimeout: ``deadline``, a ``time.monotonic()`` value, has passed.
    """
    body = body_of(response)
    if monotonic() >= deadline:
        raise CallTimeout("timed out before the response was decoded", phase="decode")
    return read(body)


def body_of(response: Response) -> bytes:
    """Return the body of a response with status 200.

    Raises:
        RemoteError: its status is not 200; has the plugin's error message.
    """
    if response.status != 200:
        raise refusal(response.status, response.header("Location"), response.body)
    return response.body
