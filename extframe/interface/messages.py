"""Messages: typed JSON objects, decoded as leniently as Docker's engine decodes them. Knows no methods."""

from __future__ import annotations

import enum
import functools
import re
import types
from collections.abc import Callable, Mapping
from datetime import datetime, timedelta, timezone
from typing import TYPE_CHECKING, Annotated, Any, Literal, NamedTuple, Union, get_args, get_origin

import msgspec

from ..errors import ProtocolError
from ..protocol import as_json
from ..text import text_of

if TYPE_CHECKING:
    from msgspec import StructMeta as _StructMeta
    from typing_extensions import dataclass_transform as _transform
else:
    _StructMeta = type(msgspec.Struct)

    def _transform(**_):  # typing has it from Python 3.11
        return lambda cls: cls


@_transform(kw_only_default=True, field_specifiers=(msgspec.field,))
class _KeywordOnly(_StructMeta):
    """Makes the fields of messages keyword-only, which msgspec's Structs do not inherit."""

    def __new__(cls, name: str, bases: tuple[type, ...], namespace: dict[str, Any], **options: Any) -> Any:
        return super().__new__(cls, name, bases, namespace, **{"kw_only": True, **options})


@_transform(kw_only_default=True, field_specifiers=(msgspec.field,))  # mypy looks here, pyright at the metaclass
class Message(msgspec.Struct, metaclass=_KeywordOnly, rename="pascal", forbid_unknown_fields=True, frozen=True):
    """The base class of JSON objects in requests and replies: a frozen msgspec Struct with keys in PascalCase.

    The field ``created_at`` is ``CreatedAt`` in JSON; to use another key, write
    ``id: str = msgspec.field(default="", name="ID")``. Give every field a default, because peers may omit any of
    them. Fields are keyword arguments. Subclasses repeat ``frozen=True`` for type checkers. With ``omit_defaults=True``
    fields that have their default value are not sent, except those with ``default_factory=str`` and the like.
    """


# --- encoding -----------------------------------------------------------------------------------------


_encoder = msgspec.json.Encoder(enc_hook=as_json)


def encode(value: object) -> bytes:
    """Return ``value`` as one line of compact JSON; paths are text.

    Raises:
        TypeError: JSON cannot carry it.
        ValueError: it contains itself, or is nested too deeply.
    """
    try:
        return _encoder.encode(value) + b"\n"
    except RecursionError:
        raise ValueError("it contains a circular reference, or is nested too deeply for JSON") from None


# --- lenient decoding ---------------------------------------------------------------------------------

Reader = Callable[[Any], Any]
"""Takes a decoded JSON value and returns it typed; raises `Misfit`."""


class Misfit(Exception):
    """A JSON value does not have its type. ``steps`` lead from the value up to the root: ``[".Name", "[3]"]``."""

    def __init__(self, text: str, *steps: str) -> None:
        super().__init__(text)
        self.steps = list(steps)

    def within(self, step: str) -> Misfit:
        """Add the step that leads to the value from the object or list that holds it."""
        self.steps.append(step)
        return self


def read(value: object, as_kind: Reader) -> Any:
    """Return a whole decoded body, typed. The lists in ``value`` are emptied, to free their items early.

    Raises:
        ProtocolError: the body does not have that type; the message has the path, such as ``$.Volumes[3]``.
    """
    try:
        return as_kind(value)
    except Misfit as wrong:
        raise ProtocolError(f"{wrong} - at `${''.join(reversed(wrong.steps))}`") from None
    except RecursionError:  # a message type that contains itself, nested as deeply as JSON allows
        raise ProtocolError("Expected less nesting - at `$`") from None


def reader(kind: Any) -> Reader:
    """Return the function that converts decoded JSON to ``kind`` as leniently as Go's decoder does.

    Keys of messages match case-insensitively and unknown keys are ignored; null counts as absent, also inside
    lists and maps; the choices of an enum or a Literal match case-insensitively. The rest is up to msgspec.
    """
    origin, members = get_origin(kind), get_args(kind)
    if origin in _MAKERS:
        return _MAKERS[origin](kind, members)
    if isinstance(kind, type) and issubclass(kind, msgspec.Struct):
        return _struct_reader(kind)
    if isinstance(kind, type) and issubclass(kind, enum.Enum):
        return _choice_reader(kind, {member.value: member for member in kind})
    return _leaf_reader(kind)


_AS_DECODED = (str, int, bool, dict)  # types whose values are the decoder's own


def _exact(kind: Any) -> Any:
    """Return the type of the values that need no conversion to ``kind``; None if there is none."""
    return kind if kind in (str, int, bool, dict) else None


def _leaf_reader(kind: Any) -> Reader:
    exact = _exact(kind)

    def read(value: Any) -> Any:
        if type(value) is exact:
            return value
        try:
            return msgspec.convert(value, kind)
        except msgspec.ValidationError as wrong:
            text, _, inner = str(wrong).partition(" - at `$")
            raise Misfit(text, inner.rstrip("`")) from None

    return read


class _Field(NamedTuple):
    name: str
    key: str
    exact: Any
    reader: Reader

    def read(self, item: Any) -> Any:
        try:
            return self.reader(item)
        except Misfit as wrong:
            raise wrong.within(f".{self.key}") from None


_SPELLINGS_LIMIT = 256


class _Fields(dict[str, "_Field | None"]):
    """The fields of a message by their key as JSON spells it, None for unknown keys. Remembers spellings once seen."""

    def __init__(self, kind: type[msgspec.Struct]) -> None:
        self._kind = kind

    @functools.cached_property
    def _known(self) -> Mapping[str, _Field]:
        # On first use only: a message type may contain itself.
        fields = msgspec.structs.fields(self._kind)
        return {
            each.encode_name.lower(): _Field(each.name, each.encode_name, _exact(each.type), reader(each.type))
            for each in fields
        }

    def __missing__(self, key: str) -> _Field | None:
        field = self._known.get(key.lower())
        if len(self) < _SPELLINGS_LIMIT:
            self[key] = field
        return field


@functools.cache
def _struct_reader(kind: type[msgspec.Struct]) -> Reader:
    fields, make = _Fields(kind), _constructor(kind)

    # Large replies are lists of thousands of messages, most fields of which are text: those are taken at once.
    def read(value: Any) -> Any:
        if type(value) is not dict:
            raise _unexpected("object", value)
        found = {}
        for key, item in value.items():
            field = fields[key]
            if field is not None and item is not None:
                found[field.name] = item if type(item) is field.exact else field.read(item)
        return make(found)

    return read


def _constructor(kind: type[msgspec.Struct]) -> Callable[[dict[str, Any]], Any]:
    required = [(field.name, field.encode_name) for field in msgspec.structs.fields(kind) if field.required]

    def make(found: dict[str, Any]) -> Any:
        for name, key in required:
            if name not in found:
                raise Misfit(f"Object missing required field `{key}`")
        try:
            return kind(**found)
        except (TypeError, ValueError) as wrong:  # raised by a __post_init__
            raise Misfit(text_of(wrong)) from None

    return make


def _list_reader(kind: Any, members: tuple[Any, ...]) -> Reader:
    read_item = reader(members[0])

    def read(value: Any) -> Any:
        if not isinstance(value, list):
            raise _unexpected("array", value)
        items, index = [], 0
        try:
            for index, item in enumerate(value):
                # A null crashes Docker's engine and Podman alike (moby volume/drivers/adapter.go).
                if item is not None:
                    items.append(read_item(item))
                    value[index] = None
        except Misfit as wrong:
            raise wrong.within(f"[{index}]") from None
        return items

    return read


def _map_reader(kind: Any, members: tuple[Any, ...]) -> Reader:
    if members[0] is not str:
        return _leaf_reader(kind)
    if members[1] is Any:
        return _leaf_reader(dict)
    read_item = reader(members[1])

    def read(value: Any) -> Any:
        if not isinstance(value, dict):
            raise _unexpected("object", value)
        items, key = {}, ""
        try:
            for key, item in value.items():
                if item is not None:
                    items[key] = read_item(item)
        except Misfit as wrong:
            raise wrong.within(f"[{key!r}]") from None
        return items

    return read


def _union_reader(kind: Any, members: tuple[Any, ...]) -> Reader:
    solid = [member for member in members if member is not type(None)]
    return reader(solid[0]) if len(solid) == 1 else _leaf_reader(kind)


def _literal_reader(kind: Any, members: tuple[Any, ...]) -> Reader:
    return _choice_reader(kind, {member: member for member in members})


def _annotated_reader(kind: Any, members: tuple[Any, ...]) -> Reader:
    constrained = any(isinstance(note, msgspec.Meta) for note in members[1:])
    return _leaf_reader(kind) if constrained else reader(members[0])


_MAKERS: Mapping[Any, Callable[[Any, tuple[Any, ...]], Reader]] = {
    list: _list_reader,
    dict: _map_reader,
    Union: _union_reader,
    types.UnionType: _union_reader,
    Literal: _literal_reader,
    Annotated: _annotated_reader,
}


def _choice_reader(kind: Any, choices: Mapping[Any, Any]) -> Reader:
    by_text = {text.lower(): choice for text, choice in choices.items() if isinstance(text, str)}
    read_exactly = _leaf_reader(kind)

    def read(value: Any) -> Any:
        choice = by_text.get(value.lower()) if isinstance(value, str) else None
        return read_exactly(value) if choice is None else choice

    return read


_JSON_NAMES = {str: "str", bool: "bool", int: "int", float: "float", list: "array", dict: "object", type(None): "null"}


def _unexpected(expected: str, value: object) -> Misfit:
    return Misfit(f"Expected `{expected}`, got `{_JSON_NAMES[type(value)]}`")


# --- times --------------------------------------------------------------------------------------------

ZERO_TIME = "0001-01-01T00:00:00Z"
"""Go's zero time: a time that was never set."""

_TIME = re.compile(
    r"(\d{4}-\d\d-\d\d)[T ](\d\d:\d\d:\d\d)(?:[.,](\d{1,9}))? ?(?:(Z)|([+-]\d\d):?(\d\d))(?: .*)?", re.IGNORECASE
)


def parse_time(text: str) -> datetime | None:
    """Parse a time to the microsecond; return None for Go's zero time and for text that is not a time.

    Accepts RFC 3339 and the format in which Go prints times.

    >>> parse_time("2016-09-28 17:10:31.123456789 +0200 CEST m=+0.01").isoformat()
    '2016-09-28T17:10:31.123456+02:00'
    """
    found = _TIME.fullmatch(text.strip())
    if found is None or text.startswith("0001-01-01"):
        return None
    date, clock, fraction, utc, hours, minutes = found.groups()
    try:
        local = datetime.fromisoformat(f"{date}T{clock}.{(fraction or '')[:6]:0<6}")
        offset = timedelta() if utc else timedelta(hours=int(hours), minutes=int(hours[0] + minutes))
        return local.replace(tzinfo=timezone(offset))
    except ValueError:  # 31 February, or an offset of a day or more
        return None


def format_time(time: datetime) -> str:
    """Return ``time`` in RFC 3339, the format that Go parses.

    Raises:
        ValueError: it has no time zone.
    """
    if time.tzinfo is None:
        raise ValueError(f"{time!r} has no time zone; use datetime.now(timezone.utc)")
    return time.isoformat().replace("+00:00", "Z")
