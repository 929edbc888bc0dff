"""Check that the arguments of a call have the declared types, before they are sent. Sends nothing."""

from __future__ import annotations

import os
import types
from collections.abc import Callable, Mapping
from typing import Annotated, Any, Union, get_args, get_origin

import msgspec

from .lossless import FaultFinder, fault_finder, fault_in_any, fault_in_float

Check = Callable[[Any, str], Any]
"""Takes a value and its place, such as ``opts['size']``; returns the value to send, or raises TypeError."""


def check_of(kind: Any) -> Check:
    """Return the function that checks values of type ``kind``.

    Exact builtin types are compared; everything else is up to msgspec's strict conversion. A path is accepted for a
    ``str``.
    """
    origin, members = get_origin(kind), get_args(kind)
    if origin in _GENERIC:
        return _GENERIC[origin](kind, members)
    if origin is None and kind in _EXACT:
        return _EXACT[kind]
    if isinstance(kind, type) and issubclass(kind, msgspec.Struct):
        return _struct_check(kind)
    return _converting(kind)


def exact_type(kind: Any) -> type | None:
    """Return the type whose own instances, not those of subclasses, need no check; None if there is no such type."""
    return kind if kind in (str, bytes, bool, int) else None


def _wrong(expected: object, value: object, place: str) -> TypeError:
    name = expected.__name__ if isinstance(expected, type) else expected
    shown = "None" if value is None else type(value).__name__
    return TypeError(f"{place}: expected {name}, got {shown}")


def _check_str(value: Any, place: str) -> Any:
    if type(value) is str:
        return value
    if isinstance(value, os.PathLike):
        path = os.fspath(value)
        if type(path) is str:
            return path
    if isinstance(value, str):
        return str.__str__(value)
    raise _wrong(str, value, place)


def _check_bytes(value: Any, place: str) -> Any:
    if isinstance(value, bytes | bytearray | memoryview):
        return value
    raise _wrong(bytes, value, place)


def _check_bool(value: Any, place: str) -> Any:
    if type(value) is bool:
        return value
    raise _wrong(bool, value, place)


def _check_int(value: Any, place: str) -> Any:
    if type(value) is int:
        return value
    if isinstance(value, bool) or not isinstance(value, int):
        raise _wrong(int, value, place)
    return int(value)


def _check_float(value: Any, place: str) -> Any:
    if isinstance(value, bool) or not isinstance(value, int | float):
        raise _wrong(float, value, place)
    return _unchanged(value, fault_in_float, place)


def _check_any(value: Any, place: str) -> Any:
    return _unchanged(value, fault_in_any, place)


def _unchanged(value: Any, find_fault: FaultFinder, place: str) -> Any:
    """Return a value that arrives as it is."""
    fault = find_fault(value)
    if fault is not None:
        raise TypeError(place + fault)
    return value


_EXACT: Mapping[Any, Check] = {
    str: _check_str,
    bytes: _check_bytes,
    bool: _check_bool,
    int: _check_int,
    float: _check_float,
    Any: _check_any,
}

_BYTES = (bytes, bytearray, memoryview)
"""Types that a conversion leaves as they are: a str is not a base64 form of bytes."""


def _converting(kind: Any) -> Check:
    find_fault = fault_finder(kind)

    def check(value: Any, place: str) -> Any:
        try:
            converted = msgspec.convert(value, kind, builtin_types=_BYTES)
        except msgspec.ValidationError as wrong:
            text, _, inner = str(wrong).partition(" - at `$")
            raise TypeError(f"{place}{inner.rstrip('`')}: {text[:1].lower()}{text[1:].replace('`', '')}") from None
        return converted if find_fault is None else _unchanged(converted, find_fault, place)

    return check


def _list_check(kind: Any, members: tuple[Any, ...]) -> Check:
    check_item, exact = check_of(members[0]), exact_type(members[0])

    def check(value: Any, place: str) -> Any:
        if not isinstance(value, list | tuple):
            raise _wrong(list, value, place)
        if all(type(item) is exact for item in value):
            return value
        return [check_item(item, f"{place}[{index}]") for index, item in enumerate(value)]

    return check


def _dict_check(kind: Any, members: tuple[Any, ...]) -> Check:
    if members[0] is not str:
        return _converting(kind)
    check_item, exact = check_of(members[1]), exact_type(members[1])

    def check(value: Any, place: str) -> Any:
        if not isinstance(value, dict):
            raise _wrong(dict, value, place)
        is_exact = True
        for key, item in value.items():
            if type(key) is not str:
                raise _wrong("str keys", key, place)
            is_exact = is_exact and type(item) is exact
        if is_exact:
            return value
        return {key: check_item(item, f"{place}[{key!r}]") for key, item in value.items()}

    return check


def _union_check(kind: Any, members: tuple[Any, ...]) -> Check:
    solid = [member for member in members if member is not types.NoneType]
    if len(solid) != 1 or len(solid) == len(members):
        return _converting(kind)
    check_solid = check_of(solid[0])
    return lambda value, place: None if value is None else check_solid(value, place)


def _annotated_check(kind: Any, members: tuple[Any, ...]) -> Check:
    if any(isinstance(note, msgspec.Meta) for note in members[1:]):
        return _converting(kind)
    return check_of(members[0])


_GENERIC: Mapping[Any, Callable[[Any, tuple[Any, ...]], Check]] = {
    list: _list_check,
    dict: _dict_check,
    Union: _union_check,
    types.UnionType: _union_check,
    Annotated: _annotated_check,
}


def _struct_check(kind: type[msgspec.Struct]) -> Check:
    checks: list[tuple[str, Check]] = []

    def check(value: Any, place: str) -> Any:
        if not isinstance(value, kind):
            raise _wrong(kind, value, place)
        if not checks:  # on first use only: a message type may contain itself
            checks.extend((field.name, check_of(field.type)) for field in msgspec.structs.fields(kind))
        changed = {}
        for name, check_field in checks:
            known = getattr(value, name)
            checked = check_field(known, f"{place}.{name}")
            if checked is not known and checked != known:
                changed[name] = checked
        return msgspec.structs.replace(value, **changed) if changed else value

    return check
