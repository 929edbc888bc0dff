"""Settings of plugins: a table of keys, validated against the message that an interface declares. No I/O."""

from __future__ import annotations

import enum
import re
import types
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from typing import Annotated, Any, Literal, Protocol, Union, get_args, get_origin

import msgspec

from ..protocol import as_json as path_as_text
from ..text import quoted, text_of
from .json_types import check_type
from .messages import Message

METHOD = "configure"
"""The method of a driver that takes the settings."""

DOCKER_POINTS = frozenset(
    [
        "VolumeDriver",
        "NetworkDriver",
        "IpamDriver",
        "authz",
        "LogDriver",
        "MetricsCollector",
        "secretprovider",
        "GraphDriver",
    ]
)
"""The extension points of Docker's engine, which sends no settings."""

HIDDEN = "***"


class _Method(Protocol):
    @property
    def name(self) -> str: ...


class _Declaration(Protocol):
    """The part of a ``Declaration`` that is needed here."""

    @property
    def implements(self) -> str: ...
    @property
    def methods(self) -> Iterable[_Method]: ...


class SettingsFault(Exception):
    """A setting is invalid. ``key`` leads to it: ``database.port``; "" if the fault is not that of one key."""

    def __init__(self, key: str, fault: str) -> None:
        super().__init__(fault)
        self.key = key
        self.fault = fault


# --- declaring them -----------------------------------------------------------------------------------


def check_settings(cls: type, declared: _Declaration, kind: Any) -> type[Message] | None:
    """Return the settings message of an interface, whose values its ``repr`` hides from now on.

    Raises:
        TypeError: it is not a message that JSON can carry, the extension point is one of Docker's, or a remote method
            has the name of the method that takes settings.
    """
    if kind is None:
        return None
    if not (isinstance(kind, type) and issubclass(kind, Message)):
        raise TypeError(f"{cls.__name__}: settings={kind!r} is invalid: expected a class that subclasses Message")
    if declared.implements in DOCKER_POINTS:
        raise TypeError(f"{cls.__name__}: omit settings=; {declared.implements} is Docker's, and Docker sends none")
    if any(method.name == METHOD for method in declared.methods):
        raise TypeError(f"{cls.__name__}: rename the remote method {METHOD}; plugins take their settings by this name")
    try:
        check_type(kind)
    except TypeError as wrong:
        raise TypeError(f"{cls.__name__}: settings={kind.__name__}: {wrong}") from None
    _hide_values(kind)
    return kind


def _hide_values(kind: Any) -> None:
    """Let the ``repr`` of a message, and what rich prints, show no values: some of them are secrets."""
    if kind.__repr__ is msgspec.Struct.__repr__:
        kind.__repr__ = _repr_without_values
        kind.__rich_repr__ = lambda self: ((name, _Hidden()) for name in self.__struct_fields__)


def _repr_without_values(self: Any) -> str:
    return f"{type(self).__name__}({', '.join(f'{name}={HIDDEN}' for name in self.__struct_fields__)})"


class _Hidden:
    def __repr__(self) -> str:
        return HIDDEN


# --- reading them -------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Given:
    """The value of one setting. ``is_text`` says whether numbers and the like may be written as text."""

    value: Any
    is_text: bool = False


def read_settings(
    given: Mapping[str, Given], kinds: Iterable[type[Message]], *, strict: bool = True
) -> tuple[list[Message], dict[str, Any]]:
    """Return a message of each kind, made of the settings that it declares, and the settings as JSON spells them.

    A key is a field's name or its key in JSON, in any case. Fields that are not given keep their defaults and are not
    among the settings to send.

    Args:
        given: the settings by key.
        kinds: the messages.
        strict: whether each key must be that of a field.

    Raises:
        SettingsFault: a key is unknown, missing, given twice or has an invalid value.
    """
    tables = [(kind, _names(kind)) for kind in kinds]
    found: list[dict[str, Any]] = [{} for _ in tables]
    sent: dict[str, Any] = {}
    for key, each in given.items():
        known = zip(tables, found, strict=True)
        owners = [(table[key.lower()], values) for (_, table), values in known if key.lower() in table]
        if not owners and strict:
            raise unknown_key(key, key, (field.name for kind, _ in tables for field in msgspec.structs.fields(kind)))
        if not owners:
            sent[key] = each.value
        for field, values in owners:
            if field.name in values:
                raise SettingsFault(key, f"is given twice, as {field.name!r} and {field.encode_name!r}")
            values[field.name] = _converted(each, field.type, key)
            sent[field.encode_name] = as_json(values[field.name])
    return [_message(kind, values) for (kind, _), values in zip(tables, found, strict=True)], sent


def unknown_key(path: str, key: str, known: Iterable[str]) -> SettingsFault:
    """Return the fault of a key that no field has."""
    from difflib import get_close_matches

    names = list(dict.fromkeys(known))
    close = get_close_matches(key.lower(), names, n=1)
    expected = f"did you mean {close[0]!r}?" if close else f"expected one of {', '.join(names) or 'none'}"
    return SettingsFault(path, f"is unknown; {expected}")


def required_keys(kind: type[Message]) -> list[str]:
    """Return the names of the settings without a default."""
    return [field.name for field in msgspec.structs.fields(kind) if field.required]


def field_names(kind: type[Message]) -> list[str]:
    """Return the keys of all settings, in lower case: names of fields, and their keys in JSON."""
    return list(_names(kind))


def _names(kind: type[msgspec.Struct]) -> dict[str, msgspec.structs.FieldInfo]:
    fields = msgspec.structs.fields(kind)
    return {field.encode_name.lower(): field for field in fields} | {field.name.lower(): field for field in fields}


def _message(kind: type[Message], values: Mapping[str, Any]) -> Message:
    for name in required_keys(kind):
        if name not in values:
            field = next(each for each in msgspec.structs.fields(kind) if each.name == name)
            raise SettingsFault(name, f"is missing; expected {_shown(field.type)}")
    try:
        return kind(**values)
    except (TypeError, ValueError) as wrong:  # raised by a __post_init__
        shown = [text for value in values.values() for text in texts_in(as_json(value))]
        raise SettingsFault("", redacted(text_of(wrong), shown)) from None


def as_json(value: Any) -> Any:
    """Return a value as decoded JSON has it: a time is text, a message a dict.

    Raises:
        TypeError: JSON cannot carry it.
    """
    return msgspec.to_builtins(value, str_keys=True, enc_hook=path_as_text)


def _spelled(value: Any, kind: Any, path: str) -> Any:
    """Return a value with the keys of messages inside it as JSON spells them."""
    origin, members = get_origin(kind), get_args(kind)
    if origin is Annotated:
        return _spelled(value, members[0], path)
    if origin in (Union, types.UnionType):
        solid = [member for member in members if member is not types.NoneType]
        return _spelled(value, solid[0], path) if len(solid) == 1 else value
    if isinstance(value, list | tuple) and origin in (list, tuple, set, frozenset) and members:
        return [_spelled(item, members[0], f"{path}[{index}]") for index, item in enumerate(value)]
    if isinstance(value, Mapping) and origin is dict:
        return {key: _spelled(item, members[1], f"{path}.{key}") for key, item in value.items()}
    if isinstance(value, Mapping) and isinstance(kind, type) and issubclass(kind, msgspec.Struct):
        return _spelled_struct(value, kind, path)
    return value


def _spelled_struct(value: Mapping[str, Any], kind: type[msgspec.Struct], path: str) -> dict[str, Any]:
    names, spelled = _names(kind), {}
    for key, item in value.items():
        field = names.get(key.lower())
        if field is None:
            raise unknown_key(f"{path}.{key}", key, (each.name for each in msgspec.structs.fields(kind)))
        spelled[field.encode_name] = _spelled(item, field.type, f"{path}.{key}")
    return spelled


_CHOICE = re.compile(r"Invalid (?:enum )?value ")


def _converted(given: Given, kind: Any, path: str) -> Any:
    value = _spelled(given.value, kind, path)
    try:
        return msgspec.convert(value, kind, strict=not given.is_text)
    except msgspec.ValidationError as wrong:
        text, _, inner = text_of(wrong).partition(" - at `$")
        if _CHOICE.match(text):  # it contains the value
            text = "it is not one of the choices" if inner else f"expected {_shown(kind)}"
        if not text.startswith("Expected"):
            text = redacted(text, texts_in(value))  # that of a __post_init__ may contain it, too
        fault = f"is invalid: {text[:1].lower()}{text[1:].replace('`', '')}"
        raise SettingsFault(path + inner.rstrip("`"), fault) from None


def _shown(kind: Any) -> str:
    if get_origin(kind) is Literal:
        return "one of " + ", ".join(map(repr, get_args(kind)))
    if isinstance(kind, type) and issubclass(kind, enum.Enum):
        return "one of " + ", ".join(repr(member.value) for member in kind)
    if get_origin(kind) is Annotated:
        return _shown(get_args(kind)[0])
    return kind.__name__ if isinstance(kind, type) and not get_args(kind) else str(kind)


# --- hiding them --------------------------------------------------------------------------------------

_SHORT = 4  # a value with fewer characters is replaced only where it is a whole word
_LINE = 8  # characters of a line that is replaced by itself


def texts_in(value: Any) -> Iterator[str]:
    """Yield the texts and numbers in a decoded value."""
    if isinstance(value, str):
        yield value
    elif isinstance(value, int | float) and not isinstance(value, bool):
        yield repr(value)
    elif isinstance(value, Mapping):
        for item in value.values():
            yield from texts_in(item)
    elif isinstance(value, list | tuple):
        for item in value:
            yield from texts_in(item)


def redacted(text: str, values: Iterable[str]) -> str:
    """Return ``text`` without the values of settings.

    >>> redacted("the password 'hunter2' is wrong", ["hunter2"])
    "the password '***' is wrong"
    """
    for form in sorted({form for value in values for form in _forms(value)}, key=len, reverse=True):
        pattern = re.escape(form) if len(form) >= _SHORT else rf"(?<!\w){re.escape(form)}(?!\w)"
        text = re.sub(pattern, HIDDEN, text)
    return text


def _forms(value: str) -> Iterator[str]:
    """Yield the forms in which messages show a text: as it is, and with escape sequences."""
    lines = [line for line in value.splitlines() if len(line) >= _LINE]  # a message may show one line of a key
    for form in (value.strip(), *lines):
        if form:
            yield form
            yield repr(form)[1:-1]
            yield form.replace("\\", "\\\\").replace('"', '\\"')  # in JSON


def described(fault: SettingsFault, place: str = "", within: str = "") -> str:
    """Return the text of an error: ``PLACE: key 'port' is invalid: expected int, got str``."""
    key = f"key {quoted(within + fault.key)} " if fault.key else ""
    return f"{place}: {key}{fault.fault}" if place else f"{key}{fault.fault}"
