"""Explain interfaces: signatures, fields and example messages, from their declarations. Prints nothing."""

from __future__ import annotations

import inspect
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from types import NoneType, UnionType
from typing import TYPE_CHECKING, Annotated, Any, Union, get_args, get_origin

from ..interface.openapi import openapi

if TYPE_CHECKING:
    from ..interface.declarations import Declaration
    from ..interface.methods import Method

Schema = Mapping[str, Any]

_SAMPLES: Mapping[str, str] = {  # by a key, or its last word
    "name": "photos", "id": "c1", "mountpoint": "/mnt/photos", "path": "/mnt/photos", "file": "/run/log/c1",
    "scope": "local", "address": "10.0.0.2/24", "pool": "10.0.0.0/24", "gateway": "10.0.0.1", "uri": "/_ping",
    "addressipv6": "fd00::2/64", "gatewayipv6": "fd00::1", "destination": "10.1.0.0/16", "hop": "10.0.0.254",
}  # fmt: skip


@dataclass(frozen=True)
class Field:
    """A key of a message.

    Args:
        key: its name on the wire.
        type: its type, in words.
        required: whether the sender must send it.
        description: what it means, in one paragraph.
        fields: the keys of the messages in it.
    """

    key: str
    type: str
    required: bool
    description: str
    fields: tuple[Field, ...] = ()


def signature_of(method: Method) -> str:
    """Return a method's signature as Python code, without what is for the wire only."""
    parameters = [_parameter(each) for each in method.signature.parameters.values()]
    return f"{method.name}({', '.join(parameters)}) -> {_type_text(method.result)}"


def _parameter(parameter: inspect.Parameter) -> str:
    text = f"{parameter.name}: {_type_text(parameter.annotation)}"
    if parameter.default is parameter.empty:
        return text
    shown = repr(parameter.default)
    return f"{text} = {shown if len(shown) <= 20 else '...'}"


def _type_text(kind: Any) -> str:
    if kind in (None, NoneType):
        return "None"
    if get_origin(kind) is Annotated:
        return _type_text(get_args(kind)[0])
    if get_origin(kind) in (UnionType, Union):
        return " | ".join(map(_type_text, get_args(kind)))
    name = getattr(get_origin(kind) or kind, "__name__", str(kind))
    arguments = ", ".join(map(_type_text, get_args(kind)))
    return f"{name}[{arguments}]" if arguments else name


class Messages:
    """The requests and replies of an interface, as its OpenAPI document describes them."""

    def __init__(self, found: Declaration) -> None:
        document = openapi(found.interface)
        self._paths: Schema = document["paths"]
        self._schemas: Schema = document["components"]["schemas"]

    def request(self, method: Method) -> Schema | None:
        """Return the schema of the request; None if its body is empty."""
        operation = self._operation(method)
        return self._json_schema(operation["requestBody"]) if "requestBody" in operation else None

    def reply(self, method: Method) -> Schema:
        """Return the schema of the reply, or of a record of a stream."""
        return self._json_schema(self._operation(method)["responses"]["200"])

    def _operation(self, method: Method) -> Any:
        return self._paths[f"/{method.wire}"]["post"]

    def _json_schema(self, content: Schema) -> Schema:
        (media,) = content["content"].values()
        return self._resolved(media["schema"])

    def _resolved(self, schema: Schema) -> Schema:
        if "$ref" in schema:
            found: Schema = self._schemas[_referred(schema)]
            return found
        return schema

    def fields(self, schema: Schema, *, within: tuple[str, ...] = ()) -> tuple[Field, ...]:
        """Return the keys of a message. A message inside itself is not described again."""
        required = schema.get("required", ())
        return tuple(
            Field(
                key,
                self._type_of(each),
                key in required,
                _plain(each.get("description", "")),
                self._inner(each, within),
            )
            for key, each in schema.get("properties", {}).items()
        )

    def _inner(self, schema: Schema, within: tuple[str, ...]) -> tuple[Field, ...]:
        name = next(_references(schema), None)
        if name is None or name in within:
            return ()
        return self.fields(self._schemas[name], within=(*within, name))

    def _type_of(self, schema: Schema) -> str:
        if "$ref" in schema:
            return _referred(schema)
        if "enum" in schema:
            return " or ".join(map(repr, schema["enum"]))
        if "anyOf" in schema:
            return " or ".join(self._type_of(each) for each in schema["anyOf"] if each != {"type": "null"})
        kinds = schema.get("type", "any")
        kind = kinds if isinstance(kinds, str) else kinds[0]
        if kind == "array":
            return f"list of {self._type_of(schema.get('items', {}))}"
        if kind == "object" and isinstance(schema.get("additionalProperties"), dict):
            return f"map of {self._type_of(schema['additionalProperties'])}"
        if kind == "string" and schema.get("contentEncoding") == "base64":
            return "string, base64"
        return kind

    # Examples.

    def example(self, schema: Schema, *, key: str = "", within: tuple[str, ...] = ()) -> Any:
        """Return a value of a schema: a message with its required keys, or with some of the others if it has none."""
        if "default" in schema:
            return schema["default"]
        if "enum" in schema:
            return schema["enum"][0]
        if "anyOf" in schema:
            return self.example(schema["anyOf"][0], key=key, within=within)
        if "$ref" in schema:
            name = _referred(schema)
            return {} if name in within else self.example(self._schemas[name], key=key, within=(*within, name))
        kinds = schema.get("type", "object")
        kind = kinds if isinstance(kinds, str) else kinds[0]
        if kind == "array":
            return [self.example(schema.get("items", {}), key=key.removesuffix("s"), within=within)]
        if kind == "object":
            properties = schema.get("properties", {})
            keys = schema.get("required") or [each for each in properties if each != "Err"][: 2 if key else None]
            return {each: self.example(properties[each], key=each, within=within) for each in keys}
        return {"integer": 1, "number": 1.5, "boolean": True, "null": None}.get(kind, _sample_text(schema, key))


def _referred(schema: Schema) -> str:
    return str(schema["$ref"]).rpartition("/")[2]


def _references(schema: Schema) -> Iterator[str]:
    """Yield the names of the messages in a schema."""
    if "$ref" in schema:
        yield _referred(schema)
    for each in (schema.get("items"), schema.get("additionalProperties"), *schema.get("anyOf", ())):
        if isinstance(each, dict):
            yield from _references(each)


def _sample_text(schema: Schema, key: str) -> str:
    if schema.get("format") == "date-time":
        return "2026-01-31T12:00:00Z"
    if schema.get("contentEncoding") == "base64":
        return "cGhvdG9z"
    last = (re.findall(r"[A-Z]+(?![a-z])|[A-Z]?[a-z0-9]+", key) or [key])[-1]
    default = "/path" if schema.get("pattern") == "^/" else key.lower()
    return _SAMPLES.get(key.lower()) or _SAMPLES.get(last.lower(), default)


def _plain(text: str) -> str:
    return text.replace("``", "`")
