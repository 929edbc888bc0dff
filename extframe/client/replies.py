"""What the bytes of a reply mean: JSON of a type, an error in the plugin's words, a cut. Knows no connections."""

from __future__ import annotations

import functools
from collections.abc import Callable, Mapping
from http import HTTPStatus
from typing import TYPE_CHECKING, Any

import msgspec

from ..errors import ConnectionLost, ProtocolError, RemoteError
from ..protocol import decode_json, error_in, error_words, excerpt

if TYPE_CHECKING:
    from .http1 import Response

UNTYPED: Any = object()
"""What ``reply`` is where a caller does not give it."""

TEXT_LIMIT = 2000  # characters of an error page that stand in a message; an Err stands there whole

Reader = Callable[[bytes], Any]
"""Takes the body of a reply with status 200."""

_object_decoder = msgspec.json.Decoder(dict[str, Any] | None)
_fields_decoder = msgspec.json.Decoder(dict[str, msgspec.Raw])


@functools.lru_cache(maxsize=512)
def reader_of(reply: Any) -> Reader:
    """Return the function that reads a body as ``reply``, which is what `Client.call` takes under this name.

    Raises:
        TypeError: msgspec knows no such type.
    """
    special = _SPECIAL_READERS.get(reply)
    if special is not None:
        return special
    decoder = msgspec.json.Decoder(reply)
    kind = msgspec.inspect.type_info(reply)
    # To msgspec any class is a type, and a value that is no instance of it is the plugin's mistake.
    if isinstance(kind, msgspec.inspect.CustomType) and not any(issubclass(each, kind.cls) for each in _JSON_TYPES):
        raise TypeError(f"no reply is ever a {reply!r}; expected a type that msgspec reads from JSON, such as a Struct")

    def read_typed(body: bytes) -> Any:
        _refuse_err(_fields(body))
        if _is_empty(body):
            raise ProtocolError("the reply is empty, where JSON was expected")
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
    """Return the members of an object, their values unread; nothing where ``body`` is no object."""
    try:
        return _fields_decoder.decode(body)
    except (ValueError, RecursionError):  # whoever wants to read it as something will say what is wrong
        return {}


# --- replies that are errors --------------------------------------------------------------------------


_ERR_KEYS = ("err", "error")
_NO_WORDS = ("", None, msgspec.Raw(b'""'), msgspec.Raw(b"null"))


def _refuse_err(fields: Mapping[str, Any]) -> None:
    """Raise what a 200 reply says of a failure, as the engine's callers do method by method."""
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
    """Return the error that a reply with a status other than 200 is; ``location`` is its header of that name."""
    words = error_words(body, limit=TEXT_LIMIT) or _phrase(status)
    if 300 <= status < 400:
        words += f"; redirects are not followed, and this one leads to {location!r}"
    return RemoteError(words, status=status)


def _phrase(status: int) -> str:
    try:
        return HTTPStatus(status).phrase
    except ValueError:
        return "no reason given"


def is_whole(status: int, body: bytes) -> bool:
    """Whether a reply that ended before its announced end can be used: an error, or complete JSON.

    The engine accepts these too.
    """
    if status != 200:
        return True
    try:
        decode_json(body)
    except ProtocolError:
        return False
    return True


def whole(response: Response) -> Response:
    """Return a response that is one, or that can be used as one.

    Raises:
        ConnectionLost: it ended before its announced end, in the middle of its JSON.
    """
    if not response.complete and not is_whole(response.status, response.body):
        raise ConnectionLost(f"the reply ended after {len(response.body)} bytes: {excerpt(response.body)}")
    return response


def body_of(response: Response) -> bytes:
    """Return the body of a response that is no error.

    Raises:
        RemoteError: its status is another than 200; in the plugin's words.
    """
    if response.status != 200:
        raise refusal(response.status, response.header("Location"), response.body)
    return response.body
