"""Find values that JSON would change: bytes in an Any, NaN, infinity. Knows types and values, no methods."""

from __future__ import annotations

import dataclasses
import functools
import math
import os
import types
from collections.abc import Callable, Iterable, Mapping
from typing import Annotated, Any, Union, get_args, get_origin, get_type_hints, is_typeddict

import msgspec

FaultFinder = Callable[[Any], str | None]
"""Returns where in a value JSON would change it, and why: ``['a'][1]: nan cannot be sent as JSON``; else None."""

_ARRAYS = (list, tuple, set, frozenset)
_UNCHANGED = frozenset([str, int, bool, types.NoneType])


def fault_finder(kind: Any) -> FaultFinder | None:
    """Return the function that finds what JSON would change in a ``kind``; None if a ``kind`` cannot contain it."""
    origin, members = get_origin(kind), get_args(kind)
    if kind is Any or kind in (list, dict, tuple):
        return fault_in_any
    if kind is float:
        return fault_in_float
    if origin in _GENERIC:
        return _GENERIC[origin](members)
    if isinstance(kind, type) and issubclass(kind, msgspec.Struct):
        return _struct_finder(kind)
    if dataclasses.is_dataclass(kind) or is_typeddict(kind) or hasattr(kind, "_fields"):
        return functools.partial(_fault_in_fields, {name: fault_finder(each) for name, each in _hints(kind)})
    return None


def fault_in_float(value: Any) -> str | None:
    """Return why a number cannot be sent; None if it can."""
    if isinstance(value, float) and not math.isfinite(value):
        return f": {value} cannot be sent as JSON"
    return None


def fault_in_any(value: Any) -> str | None:
    """Return where and why a value of type Any would not arrive as it is; None if it does.

    A tuple arrives as a list, a path as text, and a message or a dataclass as a dict.
    """
    if type(value) in _UNCHANGED:
        return None
    if isinstance(value, float):
        return fault_in_float(value)
    if isinstance(value, dict):
        return _fault_in_keys(value) or _first(fault_in_any, value.items())
    if isinstance(value, list | tuple):
        return _first(fault_in_any, enumerate(value))
    if isinstance(value, msgspec.Struct):
        return _fault_in_fields(dict.fromkeys(value.__struct_fields__, fault_in_any), value)
    if dataclasses.is_dataclass(value):
        return _fault_in_fields({field.name: fault_in_any for field in dataclasses.fields(value)}, value)
    if isinstance(value, str | int) or (isinstance(value, os.PathLike) and isinstance(os.fspath(value), str)):
        return None
    return _unsendable(value)


def _unsendable(value: object) -> str:
    name = type(value).__name__
    if isinstance(value, bytes | bytearray | memoryview):
        return f": {name} cannot be sent as JSON in an Any; declare a parameter or a field of a Message as bytes"
    return f": {name} cannot be sent as JSON in an Any; convert it to str, int, float, bool, list or dict"


def _fault_in_keys(value: dict[Any, Any]) -> str | None:
    wrong = next((key for key in value if not isinstance(key, str)), "")
    return None if wrong == "" else f": expected str keys, got {type(wrong).__name__}"


def _first(find: FaultFinder, items: Iterable[tuple[Any, Any]]) -> str | None:
    for key, item in items:
        found = find(item)
        if found is not None:
            return f"[{key!r}]{found}"
    return None


# --- types that consist of others ---------------------------------------------------------------------


def _in_items(members: tuple[Any, ...]) -> FaultFinder | None:
    find = fault_finder(members[0])
    if find is None:
        return None

    def find_in(value: Any) -> str | None:
        if isinstance(value, _ARRAYS):
            for item in value:
                if find(item) is not None:
                    return _first(find, enumerate(value))
        return None

    return find_in


def _in_tuple(members: tuple[Any, ...]) -> FaultFinder | None:
    if members[-1:] == (...,):
        return _in_items(members)
    finders = [fault_finder(member) for member in members]
    if not any(finders):
        return None

    def find(value: Any) -> str | None:
        for index, (find_item, item) in enumerate(
            zip(finders, value, strict=False) if isinstance(value, _ARRAYS) else ()
        ):
            found = find_item(item) if find_item else None
            if found is not None:
                return f"[{index}]{found}"
        return None

    return find


def _in_map(members: tuple[Any, ...]) -> FaultFinder | None:
    find_key = _fault_in_keys if members[0] is Any else None
    find_value = fault_finder(members[1])
    if find_key is None and find_value is None:
        return None

    def find(value: Any) -> str | None:
        if not isinstance(value, dict):
            return None
        return (find_key and find_key(value)) or (find_value and _first(find_value, value.items()))

    return find


def _in_union(members: tuple[Any, ...]) -> FaultFinder | None:
    finders = [(_class_of(member), find) for member in members if (find := fault_finder(member)) is not None]
    if not finders:
        return None

    def find_in(value: Any) -> str | None:
        for cls, find in finders:
            if isinstance(value, cls):
                return find(value)
        return None

    return find_in


def _class_of(kind: Any) -> type:
    kind = get_args(kind)[0] if get_origin(kind) is Annotated else kind
    found = get_origin(kind) or kind
    return found if isinstance(found, type) and not is_typeddict(found) else object if found is Any else dict


def _in_annotated(members: tuple[Any, ...]) -> FaultFinder | None:
    return fault_finder(members[0])


_GENERIC: Mapping[Any, Callable[[tuple[Any, ...]], FaultFinder | None]] = {
    list: _in_items,
    set: _in_items,
    frozenset: _in_items,
    tuple: _in_tuple,
    dict: _in_map,
    Union: _in_union,
    types.UnionType: _in_union,
    Annotated: _in_annotated,
}


def _hints(kind: Any) -> Iterable[tuple[str, Any]]:
    return get_type_hints(kind).items()


def _fault_in_fields(finders: Mapping[str, FaultFinder | None], value: Any) -> str | None:
    for name, find in finders.items():
        item = value.get(name) if isinstance(value, dict) else getattr(value, name, None)
        found = find(item) if find and item is not None else None
        if found is not None:
            return f".{name}{found}"
    return None


@functools.cache
def _struct_finder(kind: type[msgspec.Struct]) -> FaultFinder:
    fields: list[tuple[str, str, FaultFinder]] = []
    is_known = False

    def find_in(value: Any) -> str | None:
        nonlocal is_known
        if not is_known:  # on first use only: a message type may contain itself
            fields.extend(_fields_of(kind))
            is_known = True
        if isinstance(value, kind):
            for name, _, find in fields:
                item = getattr(value, name)
                if item and (found := find(item)) is not None:  # most are empty
                    return f".{name}{found}"
        elif isinstance(value, dict):  # accepted as a result
            return _first_in_object(fields, value)
        return None

    return find_in


def _fields_of(kind: type[msgspec.Struct]) -> list[tuple[str, str, FaultFinder]]:
    known = msgspec.structs.fields(kind)
    return [(each.name, each.encode_name, find) for each in known if (find := fault_finder(each.type)) is not None]


def _first_in_object(fields: list[tuple[str, str, FaultFinder]], value: dict[Any, Any]) -> str | None:
    found = ((name, find(value.get(key))) for name, key, find in fields)
    return next((f".{name}{fault}" for name, fault in found if fault is not None), None)
