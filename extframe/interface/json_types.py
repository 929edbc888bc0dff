"""Which types JSON can carry, checked when an interface is declared. Knows no methods."""

from __future__ import annotations

import collections.abc
import types
from collections.abc import Iterable
from typing import Annotated, Any, Literal, Union, get_args, get_origin

import msgspec

_PLAIN = frozenset([str, bytes, bool, int, float, list, dict, type(None)])
_BYTES = frozenset([bytes, bytearray])
_STREAMS = (collections.abc.Iterator, collections.abc.Iterable, collections.abc.Generator)
_ASYNC_STREAMS = (collections.abc.AsyncIterator, collections.abc.AsyncIterable, collections.abc.AsyncGenerator)


def is_stream(kind: Any) -> bool:
    """Return whether a type is that of an iterator, async or not."""
    return (get_origin(kind) or kind) in _STREAMS or is_async_stream(kind)


def is_async_stream(kind: Any) -> bool:
    """Return whether a type is that of an async iterator."""
    return (get_origin(kind) or kind) in _ASYNC_STREAMS


def check_type(kind: Any, seen: frozenset[Any] = frozenset()) -> None:
    """Check that JSON can carry values of a type.

    Raises:
        TypeError: it cannot; the message names the type inside that is at fault.
    """
    if is_stream(kind):
        raise TypeError(
            f"{kind} is not a JSON type; a stream is the whole result of a method: Iterator[T], or for records in an "
            "encoding of their own @rpc(..., stream=StreamCodec(...))"
        )
    _check_bytes(kind)
    members = _members(kind)
    if members is None:
        _check_leaf(kind)
    elif kind not in seen:
        for member in members:
            check_type(member, seen | {kind})


def _check_bytes(kind: Any) -> None:
    """Refuse a union in which bytes, which are base64 text in JSON, are indistinguishable from text."""
    members = get_args(kind) if get_origin(kind) in (Union, types.UnionType) else ()
    if not _BYTES.isdisjoint(members) and (str in members or Any in members):
        raise TypeError(
            f"{kind} is ambiguous in JSON, where bytes are base64 text: declare bytes, str, or a Message with "
            "a field for each"
        )


def _members(kind: Any) -> Iterable[Any] | None:
    """Return the types that a type consists of, None if it is not known here."""
    origin, arguments = get_origin(kind), get_args(kind)
    if kind is Any or origin is Literal or (origin is None and kind in _PLAIN):
        return ()
    if origin is Annotated:
        return arguments[:1]
    if origin is not None:
        return [each for each in arguments if each is not ...]
    if isinstance(kind, type) and issubclass(kind, msgspec.Struct):
        return [field.type for field in msgspec.structs.fields(kind)]
    return None


def _check_leaf(kind: Any) -> None:
    from msgspec import inspect  # takes a millisecond, and most interfaces do without it

    try:
        is_known = not isinstance(inspect.type_info(kind), inspect.CustomType)
    except TypeError:
        is_known = False
    if not is_known:
        name = getattr(kind, "__qualname__", kind)
        raise TypeError(f"{name} is not a JSON type: use str, int, list, dict, a Message or another type of msgspec's")


def structs_in(kinds: Iterable[Any]) -> list[type[msgspec.Struct]]:
    """Return the Structs that types contain, themselves included, each once."""
    found: dict[type[msgspec.Struct], None] = {}
    pending = list(kinds)
    while pending:
        kind = pending.pop(0)
        if kind in found:
            continue
        if isinstance(kind, type) and issubclass(kind, msgspec.Struct):
            found[kind] = None
        pending.extend(_members(kind) or ())
    return list(found)
