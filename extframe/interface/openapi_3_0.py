"""Rewrite an OpenAPI 3.1 document as 3.0, whose schemas are not JSON Schema. Knows no interfaces."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

Schema = dict[str, Any]

_NULL = {"type": "null"}
_MAPS = frozenset(["properties", "schemas", "paths", "responses", "content"])
_VALUES = frozenset(["default", "enum", "example", "description", "required"])


def as_3_0(value: Any) -> Any:
    """Return a document, or a part of it, in the terms of 3.0."""
    if isinstance(value, list):
        return [as_3_0(each) for each in value]
    if not isinstance(value, dict):
        return value
    made = {key: _part(key, each) for key, each in value.items()}
    for rewrite in _REWRITES:
        made = rewrite(made)
    return made


def _part(key: str, value: Any) -> Any:
    if key in _VALUES:
        return value
    if key in _MAPS and isinstance(value, dict):  # its keys are names, not terms
        return {name: as_3_0(each) for name, each in value.items()}
    return as_3_0(value)


def _nullable_type(schema: Schema) -> Schema:
    if not isinstance(schema.get("type"), list):
        return schema
    (kind,) = (kind for kind in schema["type"] if kind != "null")
    return {**schema, "type": kind, "nullable": True}


def _nullable_choice(schema: Schema) -> Schema:
    options = schema.get("anyOf")
    if not isinstance(options, list) or _NULL not in options:
        return schema
    # "nullable" allows null only next to "type", so a reference needs an alternative that is only null.
    rest = [option for option in options if option != _NULL]
    return {**schema, "anyOf": [*rest, {"type": "object", "nullable": True, "enum": [None]}]}


def _base64(schema: Schema) -> Schema:
    if schema.get("contentEncoding") != "base64":
        return schema
    return {**{key: each for key, each in schema.items() if key != "contentEncoding"}, "format": "byte"}


def _constant(schema: Schema) -> Schema:
    return {("enum" if key == "const" else key): ([each] if key == "const" else each) for key, each in schema.items()}


def _exclusive_bounds(schema: Schema) -> Schema:
    made = dict(schema)
    for bound, exclusive in (("minimum", "exclusiveMinimum"), ("maximum", "exclusiveMaximum")):
        if isinstance(made.get(exclusive), int | float):
            made[bound], made[exclusive] = made[exclusive], True
    return made


def _tuple(schema: Schema) -> Schema:
    if not isinstance(schema.get("prefixItems"), list):
        return schema
    others = {key: each for key, each in schema.items() if key not in ("prefixItems", "items")}
    return {**others, "items": {"anyOf": schema["prefixItems"]}}


def _reference_with_siblings(schema: Schema) -> Schema:
    if not isinstance(schema.get("$ref"), str) or len(schema) == 1:
        return schema
    return {"allOf": [{"$ref": schema["$ref"]}], **{key: each for key, each in schema.items() if key != "$ref"}}


def _key_patterns(schema: Schema) -> Schema:
    return {key: each for key, each in schema.items() if key != "propertyNames"}


_REWRITES: tuple[Callable[[Schema], Schema], ...] = (
    _nullable_type,
    _nullable_choice,
    _base64,
    _constant,
    _exclusive_bounds,
    _tuple,
    _reference_with_siblings,
    _key_patterns,
)
