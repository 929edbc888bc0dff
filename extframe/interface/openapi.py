"""Describe interfaces as an OpenAPI document, for plugin authors in other languages. Knows declarations, no files."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from types import NoneType
from typing import Any, cast, get_args

import msgspec

from ..protocol import ACTIVATE, CONFIGURE
from .declarations import Declaration, declarations
from .docstrings import argument_descriptions, split_docstring
from .json_types import is_stream, structs_in
from .methods import Method
from .results import ERR, message_fields

VERSIONS = ("3.1.0", "3.0.3")
"""The supported versions of OpenAPI."""

Schema = dict[str, Any]

_REFERENCE = "#/components/schemas/"
_ERROR = {
    "type": "object",
    "description": "A failed call. Send it with status 500, or another one from 400.",
    "properties": {"Err": {"type": "string", "description": "What went wrong, for the user of the host."}},
    "required": ["Err"],
}
_MANIFEST_DESCRIPTION = "The extension points that the plugin implements."


def openapi(*interfaces: type, version: str = "3.1.0") -> dict[str, Any]:
    """Return the OpenAPI document of a plugin that implements ``interfaces``.

    Its schemas describe what a peer must send: keys without a default are required, lists and maps may be null as Go
    sends them, and unknown keys are allowed. Descriptions are docstrings. The same interfaces always give the same
    document, key by key.

    Args:
        interfaces: interfaces, or their async mirrors.
        version: the version of OpenAPI, 3.1.0 or 3.0.3.

    Raises:
        TypeError: an argument is not an interface, or two have a method with the same wire name.
        ValueError: the version is not supported.
    """
    if version not in VERSIONS:
        raise ValueError(f"OpenAPI {version} is not supported; choose {' or '.join(VERSIONS)}")
    found = tuple(dict.fromkeys(each for interface in interfaces for each in declarations(interface)))
    if not found:
        raise TypeError("openapi() takes at least one interface")
    document = _document(found, version)
    if version.startswith("3.0"):
        from .openapi_3_0 import as_3_0

        document = as_3_0(document)
    return cast("dict[str, Any]", msgspec.json.decode(msgspec.json.encode(document)))


def _document(found: tuple[Declaration, ...], version: str) -> dict[str, Any]:
    methods = [method for each in found for method in each.methods]
    paths: dict[str, Any] = {f"/{ACTIVATE}": _activation(found)}
    if any(each.settings for each in found):
        paths[f"/{CONFIGURE}"] = _configuration(found)
    for each in found:
        for method in each.methods:
            if f"/{method.wire}" in paths:
                raise TypeError(f"two interfaces have the method {method.wire}; describe them in a document for each")
            paths[f"/{method.wire}"] = {"post": _operation(each, method)}
    points = ", ".join(each.implements for each in found)
    schemas = {"PluginError": _ERROR, "PluginManifest": _manifest(found), **_schemas(found, methods)}
    return {
        "openapi": version,
        "info": {
            "title": points,
            "version": str(max(each.version for each in found)),
            "description": "\n\n".join(map(_interface_text, found)),
        },
        "tags": [{"name": each.implements} for each in found],
        "paths": paths,
        "components": {"schemas": schemas},
    }


def _interface_text(found: Declaration) -> str:
    text, _ = split_docstring(found.interface)
    return text or f"Plugins that implement {found.implements}."


# --- operations ---------------------------------------------------------------------------------------


def _activation(found: tuple[Declaration, ...]) -> Schema:
    return {
        "post": {
            "operationId": _identifier(ACTIVATE),
            "summary": "The handshake: return the extension points that the plugin implements.",
            "tags": [each.implements for each in found],
            "responses": {"200": _content("The manifest.", _ref("PluginManifest")), **_errors()},
        }
    }


def _manifest(found: tuple[Declaration, ...]) -> Schema:
    versions = {each.implements: list(each.accepts) for each in found if each.accepts != (1,)}
    names = {"type": "array", "items": {"type": "string"}, "description": _MANIFEST_DESCRIPTION}
    example: Schema = {"Implements": [each.implements for each in found]}
    properties: Schema = {"Implements": names}
    if versions:
        properties["Versions"] = {
            "type": "object",
            "additionalProperties": {"type": "array", "items": {"type": "integer", "minimum": 1}},
            "description": "The versions of each extension point that the plugin speaks; [1] if it has no entry.",
        }
        example["Versions"] = versions
    settings = [each.implements for each in found if each.settings is not None]
    if settings:
        properties["Settings"] = {**names, "description": "The extension points for which the plugin takes settings."}
        example["Settings"] = settings
    return {"type": "object", "properties": properties, "required": ["Implements"], "example": example}


def _configuration(found: tuple[Declaration, ...]) -> Schema:
    """Return the call that gives a plugin its settings, those of all interfaces in one object."""
    with_settings = [each for each in found if each.settings is not None]
    parts = [_ref(each.settings.__name__) for each in with_settings if each.settings is not None]
    settings = parts[0] if len(parts) == 1 else {"allOf": parts}
    body = {"type": "object", "properties": {"Settings": settings}, "required": ["Settings"]}
    return {
        "post": {
            "operationId": _identifier(CONFIGURE),
            "summary": "Take the settings of the plugin, before any other call but the handshake.",
            "description": "Until then the plugin answers the other calls with status 428.",
            "tags": [each.implements for each in with_settings],
            "requestBody": {"required": True, **_json(body)},
            "responses": {"200": _content("The settings are in effect.", {"type": "object"}), **_errors()},
        }
    }


def _operation(found: Declaration, method: Method) -> Schema:
    text, _ = split_docstring(method.function)
    summary, _, rest = text.partition("\n\n")
    notes = [rest] if rest else []
    if method.rpc.optional:
        notes.append("A plugin may omit this method; it then answers with status 404.")
    if method.rpc.since > 1:
        notes.append(f"Since version {method.rpc.since}.")
    operation: Schema = {"operationId": _identifier(method.wire), "tags": [found.implements]}
    if summary:
        operation["summary"] = " ".join(summary.split())
    if notes:
        operation["description"] = "\n\n".join(notes)
    if method.signature.parameters:
        operation["requestBody"] = {"required": True, **_json(_ref(method.request.__name__))}
    elif method.rpc.empty_object:
        operation["requestBody"] = {"required": False, **_json({"type": "object"})}
    operation["responses"] = {"200": _success(method), **_errors()}
    return operation


def _success(method: Method) -> Schema:
    if method.stream is None:
        return _content("Success.", {"type": "object"} if method.rpc.ignore_reply else _ref(_reply_name(method)))
    if method.rpc.stream is None:
        record = _ref(_record_name(method))
        text = 'Records as JSON lines. A last line {"Err": "..."} reports an error.'
    else:
        record, text = {"type": "string", "format": "binary"}, "Records in an encoding of their own."
    return {"description": text, "content": {method.stream.content_type: {"schema": record}}}


def _errors() -> Schema:
    return {"default": _content("The call failed.", _ref("PluginError"))}


def _content(description: str, schema: Schema) -> Schema:
    return {"description": description, **_json(schema)}


def _json(schema: Schema) -> Schema:
    return {"content": {"application/json": {"schema": schema}}}


def _ref(name: str) -> Schema:
    return {"$ref": f"{_REFERENCE}{name}"}


def _identifier(wire: str) -> str:
    return re.sub(r"\W", "", wire, flags=re.ASCII)


def _reply_name(method: Method) -> str:
    return method.reply.__name__


def _record_name(method: Method) -> str:
    return _identifier(method.wire) + "Record"


# --- schemas of messages ------------------------------------------------------------------------------


def _schemas(found: tuple[Declaration, ...], methods: list[Method]) -> dict[str, Schema]:
    """Return the schemas of all requests, replies, records and messages by their names."""
    requests = [method.request for method in methods if method.signature.parameters]
    replies = [_reply_struct(method) for method in methods if method.stream is None and not method.rpc.ignore_reply]
    records = {_record_name(each): get_args(each.result)[0] for each in methods if each.stream and not each.rpc.stream}
    settings = list(dict.fromkeys(each.settings for each in found if each.settings is not None))
    types = [*requests, *replies, *records.values(), *settings]
    references, components = msgspec.json.schema_components(types, ref_template=_REFERENCE + "{name}")
    documented = _documented(found, types)
    made = {name: _message(schema, *documented.get(name, ("", {}))) for name, schema in components.items()}
    tail = references[len(requests) + len(replies) : len(types) - len(settings)]
    made.update({name: _value(schema) for name, schema in zip(records, tail, strict=True)})
    return {name: made[name] for name in sorted(made)}


def _reply_struct(method: Method) -> type[msgspec.Struct]:
    """Return the reply as a plugin sends it; unlike `Method.reply` it requires the result."""
    fields: list[Any] = []
    if method.rpc.returns:
        may_be_missing = _is_optional(method.result)
        default = None if may_be_missing else msgspec.NODEFAULT
        fields = [("result", method.result, msgspec.field(name=method.rpc.returns, default=default))]
    elif method.result is not NoneType:
        fields = message_fields(method.result)
    if ERR in method.reply.__struct_fields__:
        fields.append((ERR, str, msgspec.field(name="Err", default="")))
    return msgspec.defstruct(_reply_name(method), fields)


def _is_optional(kind: Any) -> bool:
    """Return whether a peer may omit the key of a ``kind``: None, or a message of defaults, means the same."""
    if isinstance(kind, type) and issubclass(kind, msgspec.Struct):
        return not any(field.required or _is_marked(field.type) for field in msgspec.structs.fields(kind))
    return kind is Any or NoneType in get_args(kind)


def _is_marked(kind: Any) -> bool:
    """Return whether the schema of a field says that it is required although it has a default."""
    notes = [note for note in getattr(kind, "__metadata__", ()) if isinstance(note, msgspec.Meta)]
    return any((note.extra_json_schema or {}).get("required") is True for note in notes)


def _documented(found: Iterable[Declaration], types: Iterable[Any]) -> dict[str, tuple[str, Mapping[str, str]]]:
    """Return the description of each schema and those of its properties, by its name."""
    texts: dict[str, tuple[str, Mapping[str, str]]] = {}
    for struct in structs_in(types):
        text, by_field = split_docstring(struct) if "__doc__" in vars(struct) else ("", {})
        texts[struct.__name__] = text, _by_key(struct, by_field)
    for each in found:
        arguments = argument_descriptions(each)
        for method in each.methods:
            texts[method.request.__name__] = "", _by_key(method.request, _with_since(arguments(method), method))
            err = {"Err": 'What went wrong; "" or absent if the call succeeded.'} if ERR in _names(method.reply) else {}
            if not method.rpc.returns and method.result is not NoneType and not is_stream(method.result):
                text, fields = texts.get(method.result.__name__, ("", {}))
                texts[_reply_name(method)] = text, {**fields, **err}
            else:
                texts[_reply_name(method)] = "", err
    return texts


def _with_since(descriptions: Mapping[str, str], method: Method) -> dict[str, str]:
    notes = {name: f"Since version {since}." for name, since in method.newer.items()}
    return {
        **descriptions,
        **{name: f"{descriptions[name]} {note}" if name in descriptions else note for name, note in notes.items()},
    }


def _names(struct: type[msgspec.Struct]) -> tuple[str, ...]:
    return struct.__struct_fields__


def _by_key(struct: type[msgspec.Struct], by_field: Mapping[str, str]) -> dict[str, str]:
    keys = {each.name: each.encode_name for each in msgspec.structs.fields(struct)}
    return {keys[name]: text for name, text in by_field.items() if name in keys}


def _message(schema: Schema, text: str, descriptions: Mapping[str, str]) -> Schema:
    """Return the schema of an object as a peer may send it, with descriptions."""
    if schema.get("type") != "object" or "properties" not in schema:
        return _value(schema)
    properties: dict[str, Schema] = {}
    required = list(schema.get("required", ()))
    for key, each in schema["properties"].items():
        properties[key] = _value(each)
        if properties[key].pop("required", None) is True:
            required.append(key)
        if key in descriptions:
            properties[key]["description"] = descriptions[key]
    made = {**({"description": text} if text else {}), "type": "object", "properties": properties}
    if required:
        made["required"] = required
    return made


def _value(schema: Schema) -> Schema:
    """Return the schema of a value: without zero defaults and titles, and with null for lists and maps."""
    made = {key: _inner(key, each) for key, each in schema.items() if key not in ("title", "description")}
    if "default" in made and made["default"] in (None, "", 0, False, [], {}):
        del made["default"]
    if made.get("type") == "object" and not made.keys() & {"properties", "additionalProperties"}:
        made["additionalProperties"] = True  # generators would take it for an object without keys
    options = made.get("anyOf", [])
    if len(options) == 2 and options[1] == {"type": "null"} and isinstance(options[0].get("type"), str):
        made = {**options[0], **{key: each for key, each in made.items() if key != "anyOf"}}
        made["type"] = [made["type"], "null"]
    elif len(options) == 2 and options[1] == {"type": "null"} and isinstance(options[0].get("type"), list):
        made = {**options[0], **{key: each for key, each in made.items() if key != "anyOf"}}
    elif made.get("type") in ("array", "object"):
        made["type"] = [made["type"], "null"]
    return made


def _inner(key: str, value: Any) -> Any:
    if key in ("items", "additionalProperties", "not") and isinstance(value, dict):
        return _value(value)
    if key in ("anyOf", "oneOf", "allOf", "prefixItems"):
        return [_value(each) for each in value]
    return value
