"""The reply of a method as a msgspec Struct, and how the result is taken out of it. Knows no client and no driver."""

from __future__ import annotations

from collections.abc import Callable
from types import NoneType
from typing import Annotated, Any, get_args, get_origin

import msgspec

from ..errors import RemoteError
from .markers import rpc
from .messages import Message

ERR, ERROR = "_err", "_error"
_ENVELOPE = {ERR: "Err", ERROR: "Error"}  # IPAM plugins report errors under Error; others that use it mean the same


def reply_struct(wire: str, marker: rpc, result: Any) -> type[msgspec.Struct]:
    """Return the Struct of a method's reply: its result, and ``Err`` and ``Error`` unless the result has its own.

    ``wire`` is the method's wire name, ``result`` the type of its result, NoneType for a stream.
    """
    fields = [_result_field(marker, result)] if marker.returns else message_fields(result)
    taken = {field.name.lower() for _, _, field in fields}
    # A message with its own Err or Error field defines what it means: authz's Err does not fail the call.
    if taken.isdisjoint(key.lower() for key in _ENVELOPE.values()):
        fields += [(name, str | None, msgspec.field(default=None, name=key)) for name, key in _ENVELOPE.items()]
    return msgspec.defstruct(wire.replace(".", "") + "Reply", fields, forbid_unknown_fields=True)


def _result_field(marker: rpc, kind: Any) -> tuple[str, Any, Any]:
    if marker.check is not None:
        return "result", kind | None, msgspec.field(default=None, name=marker.returns)
    return "result", kind, msgspec.field(name=marker.returns, **_zero_value(kind))


def _zero_value(kind: Any) -> dict[str, Any]:
    """Return the default of a field of type ``kind`` as keyword arguments; none if the type has no zero value."""
    kind = get_args(kind)[0] if get_origin(kind) is Annotated else kind
    if kind is Any or NoneType in get_args(kind):
        return {"default": None}
    make = get_origin(kind) or kind
    if make in (str, bytes, bool, int, float, list, dict):
        return {"default_factory": make}
    if isinstance(make, type) and issubclass(make, msgspec.Struct):
        required = any(field.required for field in msgspec.structs.fields(make))
        return {} if required else {"default_factory": make}
    return {}


def message_fields(kind: Any) -> list[tuple[str, Any, Any]]:
    """Return the fields of a Message that is a whole reply; none for NoneType."""
    if kind is NoneType:
        return []
    if not (isinstance(kind, type) and issubclass(kind, Message)):
        raise TypeError(f"the result is {kind}; name its key in the reply with returns=, or return a Message")
    return [(field.name, field.type, _copied(field)) for field in msgspec.structs.fields(kind)]


def _copied(field: msgspec.structs.FieldInfo) -> Any:
    if field.required:
        return msgspec.field(name=field.encode_name)
    if field.default is not msgspec.NODEFAULT:
        return msgspec.field(default=field.default, name=field.encode_name)
    return msgspec.field(default_factory=field.default_factory, name=field.encode_name)


def result_getter(reply_type: type[msgspec.Struct], marker: rpc, kind: Any) -> Callable[[Any], Any]:
    """Return the function that takes the result out of a decoded reply; it raises RemoteError if that is an error."""
    names = reply_type.__struct_fields__
    has_envelope = ERR in names
    own = [name for name in names if name not in _ENVELOPE]

    def build(reply: Any) -> Any:
        return kind(**{name: getattr(reply, name) for name in own})

    take: Callable[[Any], Any] = build
    if marker.returns:
        take = _take_result
    elif kind is NoneType:
        take = _take_nothing

    def result_of(reply: Any) -> Any:
        if has_envelope and (reply._err or reply._error):
            raise RemoteError(reply._err or reply._error, status=200)
        return take(reply)

    return result_of


def _take_result(reply: Any) -> Any:
    return reply.result


def _take_nothing(reply: Any) -> None:
    return None
